"""The night as a file: where somebody names one, or where the settings keep evidence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, tzinfo
from pathlib import Path

from backup_to_image.model.night import NightReport
from backup_to_image.night_pages.html import night_html
from backup_to_image.steps.context import Context

__all__ = ["keep_night", "write_night"]


def keep_night(report: NightReport, ctx: Context, tz: tzinfo = UTC, *, file: Path | None = None) -> Path | None:
    """Write the night as one self-contained HTML file, and say where; None where nobody wants it or it cannot be written.

    The same night again takes the place of the file. A page that cannot be written is told, and costs nobody his night.
    """
    folder = ctx.settings.directory("evidence")
    if file is None:
        if folder is None:
            return None
        file = folder / f"night-{report.policy}-{report.night}.html"
    return write_night(report, file, tz, tell=lambda words: ctx.tell(f"warning: {words}"))


def write_night(report: NightReport, file: Path, tz: tzinfo = UTC, *, tell: Callable[[str], None]) -> Path | None:
    """Write the night's page to a file; None, and told, where it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(night_html(report, tz), encoding="utf-8")
    except OSError as error:
        tell(f"the night's page cannot be written to {file}: {error.strerror}")
        return None
    return file
