"""`b2i replicate`: refused, with what to do instead."""

from __future__ import annotations

from backup_to_image.cli.never import BLANK, refusing_command

__all__ = ["BLANK", "command"]

command = refusing_command("replicate", "replicated", "IMG.0130")
