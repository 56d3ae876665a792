"""`b2i export`: refused, with what to do instead."""

from __future__ import annotations

from backup_to_image.cli.never import BLANK, refusing_command

__all__ = ["BLANK", "command"]

command = refusing_command("export", "exported", "IMG.0128")
