"""The words that every page of a night shares: its verdict, its counts, what belongs together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from typing import NamedTuple

from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.pages.words import Verdict, length, offset, plain, short

__all__ = [
    "OUTCOMES",
    "Group",
    "count_words",
    "groups",
    "night_span",
    "quota_words",
    "summary",
    "title",
    "verdict",
]

OUTCOMES = {
    "failed": "failed",
    "late": "late",
    "partly": "partly done",
    "skipped": "skipped",
    "made": "made",
    "adopted": "there already",
}
"""What came of a server, in words; what needs somebody stands first."""
_MOST_NAMED = 3
_LONGEST_REASON = 100


class Group(NamedTuple):
    """Servers of which the same came for the same cause: one thing to do for all of them."""

    outcome: str
    code: str
    action: str
    servers: tuple[ServerNight, ...]

    @property
    def common_reason(self) -> str | None:
        """The reason, where it is the same words for each of them."""
        reasons = {one.reason for one in self.servers}
        return reasons.pop() if len(reasons) == 1 else None


def verdict(report: NightReport) -> Verdict:
    """What somebody has to know who reads one line only. It is never better than the worst of its servers."""
    bad, late = sum(one.bad for one in report.servers), len(report.with_outcome("late"))
    if report.outcome == "failed":
        none = report.servers and not _have(report)
        return Verdict("bad", f"Failed: {'no server has an image' if none else f'{_need(bad)}, more than the policy allows'}")
    if not report.servers:
        return Verdict("look", "Nothing was done: no server fits the policy")
    if report.outcome == "still_running":
        others = f", {_need(bad - late)}" if bad > late else ""
        return Verdict("look", (f"Not finished: the cloud still works for {_servers(late)}" if late else "Not finished") + others)
    if bad:
        return Verdict("look", f"{_need(bad)}, within what the policy allows")
    if report.left_behind:
        return Verdict("look", f"{_without_trouble(report).headline}; a drill has left something behind that is billed")
    return Verdict("look", "Partly done: see the notes") if report.outcome == "partly" else _without_trouble(report)


def _without_trouble(report: NightReport) -> Verdict:
    """Nobody failed; but whoever has no image, or a doubtful one, is told."""
    have, skipped = _have(report), len(report.with_outcome("skipped"))
    doubtful = sum(one.doubtful is not None for one in report.servers)
    if not have:
        return Verdict("look", f"No server has an image, {skipped:,} skipped")
    if skipped or doubtful:
        but = [f"{number:,} {words}" for number, words in ((doubtful, "of them doubtful"), (skipped, "skipped")) if number]
        return Verdict("look", f"{_servers(have)} {'has' if have == 1 else 'have'} an image, {', '.join(but)}")
    if report.outcome == "adopted":
        return Verdict("good", "Every server had its image already, nothing was left to make")
    return Verdict("good", "Every server has its image")


def title(report: NightReport) -> str:
    """Which night it is."""
    return f"{plain(report.policy)}, night of {plain(report.night)}"


def summary(report: NightReport) -> str:
    """A night in one sentence, for a state, an event and a notification: how many images, who is without and why, how long."""
    parts = [f"{_have(report):,} of {len(report.servers):,} images"]
    for outcome in ("failed", "late", "partly", "skipped"):
        those = report.with_outcome(outcome)
        if those:
            named = "" if outcome == "skipped" else f" ({_named(those)})"
            parts.append(f"{len(those):,} {OUTCOMES[outcome]}{named}")
    parts += [f"left behind by drills: {len(report.left_behind):,}"] if report.left_behind else []
    parts += [length(report.seconds), f"{report.requests:,} requests"]
    worst = {"failed": " failed", "still_running": " is not finished"}.get(report.outcome, "")
    return f"{title(report)}{worst}: {', '.join(parts)}."


def count_words(report: NightReport) -> list[tuple[str, int]]:
    """How many servers came out how; outcomes that nobody had are left out."""
    return [(words, number) for outcome, words in OUTCOMES.items() if (number := len(report.with_outcome(outcome)))]


def groups(servers: Iterable[ServerNight]) -> list[Group]:
    """Servers by outcome and cause: the worst outcome first, then the cause that struck most."""
    found: dict[tuple[str, str, str], list[ServerNight]] = {}
    for one in servers:
        found.setdefault((one.outcome, one.code, one.action), []).append(one)
    order = list(OUTCOMES)
    grouped = [
        Group(*cause, tuple(sorted(those, key=lambda one: (one.server_name, one.server_id)))) for cause, those in found.items()
    ]
    return sorted(grouped, key=lambda group: (order.index(group.outcome), -len(group.servers), group.code, group.action))


def night_span(report: NightReport, tz: tzinfo) -> str:
    """From when to when, on the zone's clock; where the clocks were changed in between, both offsets are told."""
    began, ended = report.began_at.astimezone(tz), report.ended_at.astimezone(tz)
    until = f"{ended:%H:%M}" if began.date() == ended.date() else f"{ended:%Y-%m-%d %H:%M}"
    first, last = offset(began, tz), offset(ended, tz)
    if first == last:
        return f"{began:%Y-%m-%d %H:%M} to {until} ({plain(str(tz))}, {first})"
    return f"{began:%Y-%m-%d %H:%M} {first} to {until} {last} ({plain(str(tz))}, the clocks were changed)"


def quota_words(report: NightReport) -> str | None:
    """How full the project is with images; None where nobody could read it."""
    quota = report.quota
    if quota is None:
        return None
    if quota.free is None:
        return f"When the night began, {quota.used:,} images existed; there is no limit."
    return f"When the night began, {quota.used:,} of {quota.limit:,} images existed, with room for {max(0, quota.free):,} more."


def _have(report: NightReport) -> int:
    return len(report.with_outcome("made", "adopted", "partly"))


def _servers(number: int) -> str:
    return "1 server" if number == 1 else f"{number:,} servers"


def _need(number: int) -> str:
    return f"{_servers(number)} {'needs' if number == 1 else 'need'} somebody"


def _cause(one: ServerNight) -> str:
    """The code and the cloud's words for it; what was being done to which id goes without saying beside the server's name."""
    _, code, words = one.reason.partition(one.code) if one.code else ("", "", "")
    return code + words if code and words else " ".join(filter(None, (one.code, one.reason)))


def _named(servers: tuple[ServerNight, ...]) -> str:
    """The first few by name, each with its code, or why; how many more. One alone is told in full."""
    words: list[str] = []
    for one in servers[:_MOST_NAMED]:
        why = short(_cause(one), _LONGEST_REASON) if len(servers) == 1 or not one.code else plain(one.code)
        words.append(": ".join(filter(None, (short(one.server_name or one.server_id, 64), why))))
    more = len(servers) - _MOST_NAMED
    return ", ".join(words) + (f" and {more:,} more" if more > 0 else "")
