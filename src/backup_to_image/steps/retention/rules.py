"""Which images stay and which may go: the rules alone, facts in, decisions out, no request anywhere.

Rules add up: an image that any rule keeps, stays. Whatever the rules say, these stay: the newest good image of a server and its
newest verified one, images that are held, protected, shared or in use by a running drill, and images that are not active, which
are the sweep's business. A backup lives as long as its image (BEHAVIOUR.md 10), so what stays here stays there too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime

from backup_to_image.model import Image, Value
from backup_to_image.model.policy import RetentionRules
from backup_to_image.steps.names import DOUBTFUL_TAG, HOLD_TAG, VERIFIED_TAG

__all__ = ["Candidate", "Decision", "decide"]


class Candidate(Value):
    """One image of ours, and what decides about it."""

    image: Image
    server_id: str
    taken_at: AwareDatetime
    """When its backup was made: the state of the server that it holds."""
    gb: int = 0
    """What its backup takes."""
    shared: bool = False
    in_drill: bool = False
    """Whether a drill server that runs was launched from it."""

    @property
    def good(self) -> bool:
        """Active, and nothing happened while it was made."""
        return self.image.status == "active" and DOUBTFUL_TAG not in self.image.tags

    @property
    def verified(self) -> bool:
        return self.good and VERIFIED_TAG in self.image.tags


class Decision(Value):
    """What becomes of one image, and by which rule."""

    image_id: str
    image_name: str
    server_id: str
    backup_id: str | None
    taken_at: AwareDatetime
    gb: int
    keep: bool
    rule: str
    """The rule that keeps it (the first one, where several do), or by which it goes."""


def decide(
    candidates: Iterable[Candidate],
    rules: RetentionRules,
    *,
    zone: ZoneInfo,
    now: datetime,
    vanished: Collection[str] = (),
) -> tuple[Decision, ...]:
    """A decision for every image: server by server, the newest first. The same facts always give the same decisions.

    `vanished` are the ids of servers that are proven to exist no more. Days, ISO weeks, months and years are those of `zone`.
    """
    by_server: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_server.setdefault(candidate.server_id, []).append(candidate)
    decisions: list[Decision] = []
    for server_id in sorted(by_server):
        newest_first = sorted(by_server[server_id], key=lambda one: (one.taken_at, one.image.id), reverse=True)
        kept = _kept(newest_first, rules, zone, now, gone=server_id in vanished)
        decisions += [_decision(one, kept.get(one.image.id), newest_first, gone=server_id in vanished) for one in newest_first]
    return tuple(decisions)


def _kept(
    newest_first: Sequence[Candidate], rules: RetentionRules, zone: ZoneInfo, now: datetime, *, gone: bool
) -> dict[str, str]:
    """The rule that keeps each image that stays."""
    kept: dict[str, str] = {}

    def keep(those: Iterable[Candidate], rule: str) -> None:
        for one in those:
            kept.setdefault(one.image.id, rule)

    good = [one for one in newest_first if one.good]
    keep((one for one in newest_first if one.image.status != "active"), "not active")
    keep((one for one in newest_first if HOLD_TAG in one.image.tags), "held")
    keep((one for one in newest_first if one.image.protected), "protected")
    keep((one for one in newest_first if one.shared), "shared")
    keep((one for one in newest_first if one.in_drill), "in a drill")
    keep(good[:1] or newest_first[:1], "newest good" if good else "newest, though none is good")
    keep([one for one in good if one.verified][:1], "newest verified")
    keep((one for one in newest_first if not good or one.taken_at > good[0].taken_at), "no newer one is good")
    if gone:
        if rules.vanished is None:
            keep(newest_first, "its server is gone, and no rule names such images")
        else:
            until = newest_first[0].taken_at + rules.vanished.keep_for
            keep(newest_first if now < until else (), "vanished.keep_for")
        return kept
    keep(good[: rules.keep_newest], f"keep_newest {rules.keep_newest}")
    if rules.max_age is not None:
        youngest = now - rules.max_age
        keep((one for one in newest_first if one.taken_at >= youngest), "max_age")
    for rule, period in _PERIODS.items():
        count: int = getattr(rules, rule)
        keep(_newest_of_each(good, count, zone, period), f"{rule} {count}")
    return kept


def _newest_of_each(
    good: Sequence[Candidate], count: int, zone: ZoneInfo, period: Callable[[datetime], tuple[int, ...]]
) -> list[Candidate]:
    """The newest of each of so many periods, counted back from the newest; only periods that hold an image count."""
    newest: dict[tuple[int, ...], Candidate] = {}
    for one in good:
        newest.setdefault(period(one.taken_at.astimezone(zone)), one)
    return list(islice(newest.values(), count))


def _day(moment: datetime) -> tuple[int, ...]:
    return (moment.year, moment.month, moment.day)


def _week(moment: datetime) -> tuple[int, ...]:
    return moment.isocalendar()[:2]


def _month(moment: datetime) -> tuple[int, ...]:
    return (moment.year, moment.month)


def _year(moment: datetime) -> tuple[int, ...]:
    return (moment.year,)


_PERIODS: dict[str, Callable[[datetime], tuple[int, ...]]] = {"daily": _day, "weekly": _week, "monthly": _month, "yearly": _year}


def _decision(one: Candidate, kept_by: str | None, newest_first: Sequence[Candidate], *, gone: bool) -> Decision:
    if gone:
        goes_by = "vanished.keep_for is over"
    elif not one.good:
        goes_by = "doubtful, and a newer one is good"
    else:
        newer = sum(other.good and other.taken_at > one.taken_at for other in newest_first)
        goes_by = f"no rule keeps it, and {newer} newer {'is' if newer == 1 else 'are'} good"
    return Decision(
        image_id=one.image.id,
        image_name=one.image.name,
        server_id=one.server_id,
        backup_id=one.image.backup_id,
        taken_at=one.taken_at,
        gb=one.gb,
        keep=kept_by is not None,
        rule=kept_by or goes_by,
    )
