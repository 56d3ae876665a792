"""A server from an image: planned, launched once, held against its source, probed, and taken down again."""
