"""A server's system disk, replaced by an image's."""
