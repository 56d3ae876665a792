"""Both sides of sharing: whom an image is shared with, what is said to an offer, and both together."""
