"""What a run of a runbook took: times against targets, and the path that everything else waited for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from math import ceil
from typing import Literal, NamedTuple

from backup_to_image.model.recovery import Leg, Measured, Question, RunbookRun, RunGroup, RunServer, RunStep

__all__ = ["Stretch", "critical_path", "measure", "stretches"]

_SERVER, _ASKED, _THEN = 1000, 2000, 3000
"""Of what ended at the same moment, what comes later in a group: below the first stand its steps before."""


class Stretch(NamedTuple):
    """What one part of a run was at, or waited for, from when to when."""

    group: str
    what: str
    kind: Literal["image", "launch", "step", "people"]
    """image: an image was made first. step: a machine's. people: somebody was waited for."""
    began_at: datetime
    ended_at: datetime
    server: str = ""
    """The source of the server that it belongs to."""
    step: int | None = None
    """Which of the group's steps it is."""
    place: int = 0
    """Where in its group: later is larger."""

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.began_at) / timedelta(seconds=1)


def measure(run: RunbookRun) -> Measured:
    """What it took, never less than it did: begun seconds count. A run that has not ended is measured as far as it is."""
    servers = {server.source: _back_after(run, server) for _, server in run.servers}
    rto, rpo = _latest(servers.values()), _latest(_age(run, server) for _, server in run.servers)
    path = critical_path(run)
    return Measured(
        rto_s=rto,
        rpo_s=rpo,
        rto_met=_met(rto, run.rto_target_s),
        rpo_met=_met(rpo, run.rpo_target_s),
        groups={group.name: _latest(servers[server.source] for server in group.servers) for group in run.groups},
        servers=servers,
        critical=tuple(Leg(group=one.group, what=one.what, began_at=one.began_at, ended_at=one.ended_at) for one in path),
        people_s=round(sum(one.seconds for one in path if one.kind == "people")),
    )


def _back_after(run: RunbookRun, server: RunServer) -> int | None:
    """When it had answered; None where it has not."""
    return _seconds(server.ended_at - run.began_at) if server.state == "up" and server.ended_at else None


def _age(run: RunbookRun, server: RunServer) -> int | None:
    return _seconds(run.began_at - server.taken_at) if server.taken_at else None


def _seconds(elapsed: timedelta) -> int:
    return max(0, ceil(elapsed / timedelta(seconds=1)))


def _latest(values: Iterable[int | None]) -> int | None:
    """None where one is unknown, or there is none."""
    found = list(values)
    return None if not found or None in found else max(one for one in found if one is not None)


def _met(took: int | None, target: int | None) -> bool | None:
    return None if target is None else took is not None and took <= target


# -- what everything waited for -----------------------------------------------------------------------------------------


def critical_path(run: RunbookRun) -> tuple[Stretch, ...]:
    """From the run's beginning to what ended last: each stretch is what the one after it waited for.

    Walked back from the end: through a group's steps, the server that was slowest and the answers after a failure, then through
    the needed group that ended last. What nothing was at work in is left out.
    """
    parts = stretches(run)
    groups = {group.name: group for group in run.groups}
    there = [group for group in run.groups if parts[group.name]]
    found: list[Stretch] = []
    group = max(there, key=lambda one: max(part.ended_at for part in parts[one.name])) if there else None
    at = max((part.ended_at for part in parts[group.name]), default=run.began_at) if group else run.began_at
    while group:
        for part in _back(parts[group.name], at):
            found.append(part)
            at = part.began_at
        needed = [groups[name] for name in groups.pop(group.name).needs if name in groups]  # each group once
        group = max(needed, key=lambda one: _end(one, parts), default=None) if needed else None
    return tuple(reversed(found))


def _end(group: RunGroup, parts: Mapping[str, Sequence[Stretch]]) -> float:
    return max([one.timestamp() for one in (group.ended_at, *(part.ended_at for part in parts[group.name])) if one], default=0.0)


def _back(parts: Sequence[Stretch], at: datetime) -> Iterator[Stretch]:
    """Back from that moment, each time by what ended last before. Of servers side by side one counts, until an answer was given.

    Clocks of several hosts differ a little: what reaches beyond the moment is cut there.
    """
    server = ""
    while True:
        before = [one for one in parts if one.began_at < at and (not server or one.server in {"", server})]
        if not before:
            return
        last = max(before, key=lambda one: (min(one.ended_at, at), -max(one.ended_at, at).timestamp(), one.place))
        yield last._replace(ended_at=min(last.ended_at, at))
        at = last.began_at
        server = "" if last.place == _ASKED else last.server or server


# -- what there was -----------------------------------------------------------------------------------------------------


def stretches(run: RunbookRun) -> dict[str, tuple[Stretch, ...]]:
    """What each group was at or waited for, in the file's order, as far as it has ended."""
    return {group.name: tuple(_within(run, _of_group(group))) for group in run.groups}


def _within(run: RunbookRun, parts: Iterable[Stretch]) -> Iterator[Stretch]:
    """What took time, since the run has begun."""
    for part in parts:
        began_at = max(part.began_at, run.began_at)
        if began_at < part.ended_at:
            yield part._replace(began_at=began_at)


def _of_group(group: RunGroup) -> Iterator[Stretch]:
    decided = [part for question in group.questions if (part := _decision(group, question))]
    own = [part for number, step in enumerate(group.steps) if (part := _step(group, number, step))]
    for part in (*own, *(part for server in group.servers for part in _server(group, server))):
        yield from _without(part, decided)
    yield from decided


def _without(part: Stretch, decided: Iterable[Stretch]) -> Iterator[Stretch]:
    """Nothing was at work while somebody had to decide about the group: a try before that and one after it are two stretches."""
    for question in sorted(decided, key=lambda one: one.began_at):
        if part.began_at < question.ended_at and question.began_at < part.ended_at:
            if part.began_at < question.began_at:
                yield part._replace(ended_at=question.began_at)
            part = part._replace(began_at=question.ended_at)
    if part.began_at < part.ended_at:
        yield part


def _decision(group: RunGroup, question: Question) -> Stretch | None:
    if question.answer is None:
        return None
    what = "a decision, after it had failed"
    return Stretch(group.name, what, "people", question.asked_at, question.answer.at, place=_ASKED)


def _step(group: RunGroup, number: int, step: RunStep) -> Stretch | None:
    asked = step.question
    began_at = step.began_at or (asked.asked_at if asked else None)
    ended_at = step.ended_at or (asked.answer.at if asked and asked.answer else None)
    if began_at is None or ended_at is None:
        return None
    kind = "people" if step.kind in {"approve", "manual"} else "step"
    place = number + (_THEN if step.when == "then" else 0)
    return Stretch(group.name, step.words, kind, began_at, ended_at, step=number, place=place)


def _server(group: RunGroup, server: RunServer) -> Iterator[Stretch]:
    began_at, ended_at, name = server.began_at, server.ended_at, server.source
    if began_at is None:
        return
    made, launched = f"{name}: its image made first", f"{name}: launched and probed"
    if server.make_first and (image_at := server.image_at or ended_at) and image_at > began_at:  # some are there by its turn
        yield Stretch(group.name, made, "image", began_at, image_at, server=name, place=_SERVER)
        began_at = image_at
    if ended_at:
        yield Stretch(group.name, launched, "launch", began_at, ended_at, server=name, place=_SERVER)
