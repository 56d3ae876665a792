"""A night and its plan as pages in Markdown, for Prefect's UI: bounded, however large the fleet; what needs somebody first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, tzinfo

from backup_to_image.console import Console
from backup_to_image.model.night import NightPlan, NightReport, ServerNight
from backup_to_image.night_pages.plan import PlanRow, plan_rows, plan_sentence, quota_line
from backup_to_image.night_pages.words import (
    OUTCOMES,
    Group,
    count_words,
    groups,
    night_span,
    quota_words,
    summary,
    verdict,
)
from backup_to_image.pages.words import length, moment, short

__all__ = ["night_markdown", "plan_markdown"]

_NO_CONSOLE = Console()
_MOST_ROWS = 100
"""Servers that a list names one by one."""
_WHOLE_FLEET = 50
"""A fleet up to this size is listed whole."""
_MOST_GROUPS = 40
_MOST_IDS = 20
_LONGEST = 400
_LONGEST_NAME = 128
_MARKS = {"good": "✅", "look": "⚠️", "bad": "❌"}
# What Markdown would read as markup or make a link of; an underscore inside a word is neither.
_MARKUP = re.compile(r"[\\`*\[\]<>|~&@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|:(?=//)|(?<=www)\.|^[#+-]|^\d+(?=[.)])", re.IGNORECASE)
_COMMAND = re.compile(r"`([^`]+)`")


def night_markdown(report: NightReport, tz: tzinfo = UTC, console: Console = _NO_CONSOLE) -> str:
    """A night on one page: the verdict, what needs somebody and what to do, then what there is to know besides.

    `console`: where links to the servers lead.
    """
    told = verdict(report)
    parts = [
        f"# {_MARKS[told.level]} {told.headline}",
        f"**{_text(summary(report))}**",
        f"{_text(night_span(report, tz))}, at most {report.images_at_once} images at a time."
        + (f" The deadline was {moment(report.deadline, tz)}." if report.outcome == "still_running" else ""),
    ]
    if not report.servers:
        parts.append("**What to do:** look at `servers` in the policy; `b2i nightly --dry-run` shows whom it means.")
    parts += _list("Needs somebody", [one for one in report.servers if one.bad], _MOST_ROWS)
    if report.left_behind:
        parts += ["## Left behind by drills", "\n".join(f"* {_text(one)}" for one in report.left_behind[:_WHOLE_FLEET])]
    parts += _doubtful(report)
    if report.servers:
        parts += [
            "## Counts",
            "\n".join(["| | servers |", "|---|--:|", *(f"| {word} | {n:,} |" for word, n in count_words(report))]),
        ]
    parts += _list("Skipped", report.with_outcome("skipped"), _WHOLE_FLEET)
    parts += _verified(report) + _retired(report)
    if quota := quota_words(report):
        parts += ["## Quota", quota]
    if report.notes:
        notes = [f"* {_text(note)}" for note in report.notes[:_WHOLE_FLEET]] + _more(len(report.notes) - _WHOLE_FLEET, "notes")
        parts += ["## Notes", "\n".join(notes)]
    parts += _fleet(report, tz, console)
    parts += [console.lists] if console.lists else []
    return "\n\n".join(parts) + "\n"


def plan_markdown(plan: NightPlan) -> str:
    """What a night would do, on one page: what speaks against it, who would be left out and why, the quota, then the others."""
    rows = plan_rows(plan)
    parts = ["# Refused: nothing would be made" if plan.refusals else "# What the night would do", _text(plan_sentence(plan))]
    if plan.refusals:
        parts.append("\n".join(f"* **{_text(str(refusal))}**" for refusal in plan.refusals[:_MOST_ROWS]))
    parts.append(quota_line(plan))
    if plan.notes:
        parts.append("\n".join(f"* {_text(note)}" for note in plan.notes[:_MOST_ROWS]))
    left_out = [row for row in rows if row.action in {"refuse", "skip"}]
    parts += _plan_table("Would get no image", left_out, _MOST_ROWS)
    parts += _plan_table("Would get one", [row for row in rows if row.action not in {"refuse", "skip"}], _MOST_ROWS)
    return "\n\n".join(parts) + "\n"


def _plan_table(heading: str, rows: Sequence[PlanRow], most: int) -> list[str]:
    if not rows:
        return []
    table = ["| Server | What | Why | What to do |", "|---|---|---|---|"]
    table += [f"| {_name(row.server)} | {row.what} | {_text(row.why)} | {_text(row.advice)} |" for row in rows[:most]]
    more = Counter(row.what for row in rows[most:])
    rest = ["Not listed: " + ", ".join(f"{number:,}x {what}" for what, number in more.items()) + "."] if more else []
    return [f"## {heading}: {len(rows):,}", "\n".join(table), *rest]


def _list(heading: str, servers: Sequence[ServerNight], most: int) -> list[str]:
    """Servers by cause, at most so many by name, the others as numbers by their code."""
    if not servers:
        return []
    parts, room = [f"## {heading}: {len(servers):,}"], most
    unlisted: Counter[str] = Counter()
    for number, group in enumerate(groups(servers)):
        named = group.servers[: room if number < _MOST_GROUPS else 0]
        room -= len(named)
        if named:
            parts.append(_group(group, named))
        if len(group.servers) > len(named):
            cause = f"{OUTCOMES[group.outcome]} {_code(group.code)}".strip()
            unlisted[cause] += len(group.servers) - len(named)
    if unlisted:
        causes = [f"{number:,}x {cause}" for cause, number in unlisted.most_common(_MOST_GROUPS)]
        parts.append(f"Not listed here, but in the page of the night: {', '.join(causes)}.")
    return parts


def _group(group: Group, named: Sequence[ServerNight]) -> str:
    """One cause: what it is, what to do, and whom it struck."""
    head = f"**{len(group.servers):,} {OUTCOMES[group.outcome]}**" + (f", {_code(group.code)}" if group.code else "")
    reason = group.common_reason
    lines = [head + (f": {_text(reason)}" if reason else ".")]
    if group.action:
        lines.append(f"**What to do:** {_text(group.action)}")
    if reason is None:
        servers = "\n".join(f"* {_name(one.server_name or one.server_id)}: {_text(one.reason)}" for one in named)
    else:
        servers = "* " + ", ".join(_name(one.server_name or one.server_id) for one in named)
    return "  \n".join(lines) + "\n\n" + servers


def _doubtful(report: NightReport) -> list[str]:
    doubtful = [one for one in report.servers if one.doubtful is not None]
    if not doubtful:
        return []
    lines = [f"* {_name(one.server_name)}: {_text(one.doubtful or '')}" for one in doubtful[:_WHOLE_FLEET]]
    words = "Kept, but not counted as good: launch one as a drill before you rely on it."
    return [f"## Doubtful images: {len(doubtful):,}", words, "\n".join(lines + _more(len(doubtful) - _WHOLE_FLEET, "images"))]


def _verified(report: NightReport) -> list[str]:
    rows = ["| Server | | Took | What was seen |", "|---|---|--:|---|"]
    drilled = sorted(((one, one.verified) for one in report.servers if one.verified), key=lambda pair: pair[1].ok)
    for one, drill in drilled[:_WHOLE_FLEET]:
        probes = [f"{probe.probe}: {'ok' if probe.ok else 'NO, ' + probe.answer}" for probe in drill.probes]
        seen = "; ".join(filter(None, (*probes, drill.reason)))
        mark = "ok" if drill.ok else "**NO**"
        rows.append(f"| {_name(one.server_name)} | {mark} | {length(drill.seconds)} | {_text(seen or 'not probed')} |")
    return [f"## Verified by a drill: {len(drilled):,}", "\n".join(rows)] if drilled else []


def _retired(report: NightReport) -> list[str]:
    gone = list(dict.fromkeys((*report.retired, *(image for one in report.servers for image in one.retired))))
    if not gone:
        return []
    heading = f"## Retention deleted {len(gone):,} image{'' if len(gone) == 1 else 's'}"
    few = len(gone) <= _MOST_IDS
    return [heading, ", ".join(_code(image) for image in gone) if few else "The page of the night names them."]


def _fleet(report: NightReport, tz: tzinfo, console: Console) -> list[str]:
    """Every server, where they are few; of a large fleet those that are of interest stand above."""
    if not report.servers:
        return []
    if len(report.servers) > _WHOLE_FLEET:
        return ["Servers with a good image are not listed here; the page of the night lists them all."]
    rows = ["| Server | | Image | Backup of |", "|---|---|---|---|"]
    for one in report.servers:
        image = f"{_text(one.image_name or '')} {_code(one.image_id or '')}".strip()
        taken = moment(one.backup_created_at, tz) if one.backup_created_at else ""
        page = console.page("server", one.server_id)
        server = f"[{_name(one.server_name or one.server_id)}]({page})" if page else _name(one.server_name or one.server_id)
        rows.append(f"| {server} | {OUTCOMES[one.outcome]} | {image} | {taken} |")
    return ["## Servers", "\n".join(rows)]


def _more(number: int, what: str) -> list[str]:
    return [f"* and {number:,} more {what}"] if number > 0 else []


def _text(text: str) -> str:
    """A text from outside: every character stands for itself, but what stands in backticks is shown as a command is."""
    pieces = _COMMAND.split(short(text, _LONGEST))
    return "".join(_code(piece) if number % 2 else _MARKUP.sub(_escaped, piece) for number, piece in enumerate(pieces))


def _escaped(match: re.Match[str]) -> str:
    return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"


def _name(name: str) -> str:
    return _MARKUP.sub(_escaped, short(name, _LONGEST_NAME))


def _code(text: str) -> str:
    return f"`{short(text, _LONGEST).replace('`', ' ').replace('|', ' ')}`" if text.strip() else ""
