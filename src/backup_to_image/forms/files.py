"""Files of the worker that parameters name: they lie in its directories, and are never named by a path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from backup_to_image.errors import UsageError
from backup_to_image.model import LaunchOrder
from backup_to_image.settings import Settings
from backup_to_image.steps.policy_file import PolicyFile, read_policy
from backup_to_image.steps.runbook.file import RunbookFile, read_runbook
from backup_to_image.yamlfile import load_file

__all__ = ["files_in", "launch_order", "policies_of", "policy_named", "runbook_named"]

_SUFFIXES = (".yaml", ".yml")


def launch_order(name: str, settings: Settings) -> LaunchOrder:
    """The launch order of that file name in the worker's directory, never from anywhere else. Raises UsageError."""
    return load_file(_file_of(name, "launch order", "launch", settings), LaunchOrder, "launch order")


def policy_named(name: str, settings: Settings) -> PolicyFile:
    """The policy of that file name in the worker's directory, never from anywhere else. Raises UsageError."""
    return read_policy(_file_of(name, "policy", "policies", settings))


def runbook_named(name: str, settings: Settings) -> RunbookFile:
    """The runbook of that file name in the worker's directory, never from anywhere else. Raises UsageError."""
    return read_runbook(_file_of(name, "runbook", "runbooks", settings))


def policies_of(settings: Settings, *, tell: Callable[[str], None]) -> list[PolicyFile]:
    """Every policy in the worker's directory; one that cannot be read is told and left out."""
    folder = settings.directory("policies")
    found: list[PolicyFile] = []
    for path in files_in(folder) if folder else ():
        try:
            found.append(read_policy(path))
        except UsageError as error:
            tell(f"warning: {'; '.join(error.problems)}")
    return found


def _file_of(name: str, what: str, key: Literal["launch", "policies", "runbooks"], settings: Settings) -> Path:
    """A file that a parameter names, in the worker's directory for such files."""
    folder, name = settings.directory(key), name.strip()
    if folder is None:
        raise UsageError(
            f"{what.capitalize()} {name!r}: the worker has no directory for such files.",
            action=f"Add this to {settings.file or 'b2i.yaml'} on the worker: `directories: {{{key}: PATH}}`.",
        )
    there = [path.name for path in files_in(folder)]
    wanted = [name] if name.endswith(_SUFFIXES) else [name + suffix for suffix in _SUFFIXES]
    path = next((folder / one for one in wanted if one in there), None)
    # Only the directory's own entries are looked up, so `..` and `/` lead nowhere; a link may not lead out either.
    if path is None or not path.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{what.capitalize()} {name!r} is none of the worker's: {', '.join(there) or 'there are none'}.",
            action="Write the file's name as it is listed there.",
        )
    return path


def files_in(folder: Path) -> list[Path]:
    """What people wrote into a directory of the worker, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix in _SUFFIXES)
