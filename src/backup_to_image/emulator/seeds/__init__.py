"""Companies to start with, as YAML; `format.yaml` says what a seed may hold."""
