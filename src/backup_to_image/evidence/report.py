"""A record that somebody has: the run that it tells of, and whether it and its chain are as they were written."""

from __future__ import annotations

import re
from pathlib import Path

from backup_to_image.errors import UsageError
from backup_to_image.evidence.chain import verify
from backup_to_image.evidence.kept import page_of
from backup_to_image.evidence.record import Nonsense, load
from backup_to_image.model import Report
from backup_to_image.told.evidence import Seen, told_evidence
from backup_to_image.told.told import Told

__all__ = ["report_on"]

_DIGEST = re.compile(r"\s*[0-9a-fA-F]{16,64}\s*")
"""Sixteen digits are enough to tell records apart, and few enough to be typed from paper."""


def report_on(path: Path, *, verified: bool = False, head: str = "") -> Told:
    """Tell of the record in that file, and with `verified` whether all of its chain is whole; `head`: a hash that it has to hold.

    Raises UsageError where there is no such file, and without `verified` where it is no record.
    """
    if not path.exists():
        raise UsageError(f"{path}: there is no such file.", action="Name the record of a run, as its `evidence` says.")
    if path == page_of(path):
        raise UsageError(f"{path} is the page.", action=f"Name its record: {path.with_suffix('.json')}.")
    if head and not _DIGEST.fullmatch(head):
        raise UsageError(f"--head {head!r}: a hash has 64 hex digits, of which the first 16 at least are needed.")
    report: Report | None = None
    seen: Seen | None = None
    try:
        report = verify(path, head=head) if verified else None
        record = load(path)
        seen = Seen(record.content, record.run, record.measured, whole=record.whole)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from None
    except Nonsense as error:
        if report is None:
            raise UsageError(f"{path} is no record of a run: {error}.") from None
    page = page_of(path)
    return told_evidence(path, seen, page=page if page.exists() else None, verified=report)
