"""The evidence of a run as files: its record in the chain of its folder, and a page beside it."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from backup_to_image.evidence.bucket import copy_to_bucket, must_be_copyable
from backup_to_image.evidence.chain import FOR_ALL, append, no_access
from backup_to_image.evidence.page import evidence_html
from backup_to_image.journal import hold
from backup_to_image.model import Value
from backup_to_image.model.recovery import RunbookRun
from backup_to_image.steps.context import Context
from backup_to_image.steps.runbook.measure import measure
from backup_to_image.steps.runbook.run import Keep
from backup_to_image.wholefile import write_whole

__all__ = ["Kept", "keep_evidence", "keeper", "page_of"]

_PATIENCE = timedelta(minutes=5)
"""For others that write into the same folder, each for a moment."""


class Kept(Value):
    """Where a run's evidence lies."""

    record: Path
    page: Path
    sha256: str
    """Of the record: the hash to keep elsewhere, in a message or on paper."""


async def keep_evidence(run: RunbookRun, ctx: Context) -> Kept:
    """Write the record of a run and its page, once: the same run again has the evidence that it has.

    Where `directories.evidence` of the settings says, or in the user's state directory; then copy what `evidence_bucket` lacks,
    which may fail and is told. Raises EvidenceError where it cannot be written, with nothing half written; JournalError;
    StillRunning where others write there for longer than minutes.
    """
    folder = ctx.settings.evidence_folder(os.environ)
    ours = run.model_copy(update={"evidence": None, "evidence_sha256": None})
    async with hold(ctx.journal, "evidence", "", str(folder.resolve()), deadline=ctx.deadline(_PATIENCE)) as lease:
        record = await append(ours, measure(ours), folder, lease)
        path = folder / record.name
        page = page_of(path)
        with no_access(run, folder):
            if not page.exists():
                write_whole(page, evidence_html(record).encode(), mode=FOR_ALL)
    if ctx.settings.evidence_bucket:  # without the lease: a slow network keeps nobody from writing
        await copy_to_bucket(folder, ctx.settings.evidence_bucket, os.environ, tell=ctx.tell)
    return Kept(record=path, page=page, sha256=record.sha256)


def page_of(record: Path) -> Path:
    """Where the page of a record lies."""
    return record.with_suffix(".html")


def keeper(ctx: Context, *, begins: bool = True) -> Keep:
    """Keeps the evidence of whatever run ends here.

    Raises UsageError where a run `begins` whose evidence could not be copied to a bucket as the settings want: what is only
    taken down does not wait for that.
    """
    if begins:
        must_be_copyable(ctx.settings)

    async def keep(run: RunbookRun) -> tuple[str, str]:
        kept = await keep_evidence(run, ctx)
        return str(kept.record), kept.sha256

    return keep
