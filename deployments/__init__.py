"""Where and as whom the flows run; never what they do."""
