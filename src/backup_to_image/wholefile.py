"""Files that are written as a whole or stay as they were, whenever the process ends; on disk when the call returns."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

__all__ = ["OWNER_ALONE", "create_whole", "write_whole"]

OWNER_ALONE = 0o600


def write_whole(path: Path, content: bytes, *, mode: int = OWNER_ALONE) -> None:
    """Replace a file as a whole, or leave it as it was. Raises OSError."""
    temporary = _unfinished(path, content, mode)
    try:
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def create_whole(path: Path, content: bytes, *, mode: int = OWNER_ALONE) -> bool:
    """Make a file with its content at once, unless it is there. Raises OSError."""
    temporary = _unfinished(path, content, mode)
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _unfinished(path: Path, content: bytes, mode: int) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return temporary


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
