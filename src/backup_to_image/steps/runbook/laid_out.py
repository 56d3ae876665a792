"""A run laid out from its file: groups, steps and servers, with what an earlier part of the run has done with each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from backup_to_image.errors import UsageError
from backup_to_image.model.readiness import Readiness, ServerReadiness
from backup_to_image.model.recovery import RunbookRun, RunGroup, RunMode, RunServer, RunStep
from backup_to_image.model.runbook import Runbook, RunbookGroup, RunbookStep

__all__ = ["groups_of", "servers_of", "steps_of"]


def steps_of(group: RunbookGroup, mode: RunMode) -> tuple[RunbookStep, ...]:
    """The steps of a group that belong to this mode, those before its servers first."""
    return tuple(step for step in (*group.before, *group.then) if step.only in {None, mode})


def servers_of(seen: Readiness) -> dict[str, RunServer]:
    """What each server comes back from, by source, fixed when the run begins."""
    return {server.source: _server(server) for server in seen.servers}


def groups_of(
    book: Runbook, mode: RunMode, picked: Mapping[str, RunServer], before: RunbookRun | None = None
) -> tuple[RunGroup, ...]:
    """The groups of a run. What `before` has done stays done where the file still says the same.

    Raises UsageError where the file does not name a server any more that the run has launched.
    """
    known = {server.source: server for _, server in before.servers} if before else {}
    groups = tuple(
        _group(group, mode, known | {name: server for name, server in picked.items() if name not in known}, before)
        for group in book.groups
    )
    there = {server.source for group in groups for server in group.servers}
    lost = [server for source, server in known.items() if source not in there and server.launch_id and not server.gone_at]
    if before and lost:
        told = ", ".join(f"{server.source} (launch {server.launch_id})" for server in lost)
        raise UsageError(
            f"The run {before.id} has launched {told}, and the file does not name that any more.",
            action="Put it back into the file, or end the run first: `b2i runbook cleanup FILE` for a drill, "
            "`b2i teardown` for a failover's servers.",
        )
    return groups


def _group(group: RunbookGroup, mode: RunMode, servers: Mapping[str, RunServer], before: RunbookRun | None) -> RunGroup:
    was = next((one for one in before.groups if one.name == group.name), None) if before else None
    fresh = RunGroup(
        name=group.name,
        needs=group.needs,
        steps=tuple(_steps(group, mode, was.steps if was else ())),
        servers=tuple(servers[server.source] for server in group.servers),
    )
    if was is None:
        return fresh
    kept = was.model_copy(update={"needs": fresh.needs, "steps": fresh.steps, "servers": fresh.servers})
    unfinished = any(step.state != "done" for step in kept.steps) or any(one.state != "up" for one in kept.servers)
    if kept.state == "up" and unfinished and not kept.reason:
        return kept.model_copy(update={"state": "waiting", "ended_at": None})
    return kept


def _steps(group: RunbookGroup, mode: RunMode, was: Iterable[RunStep]) -> Iterable[RunStep]:
    """Each step, as it was where the same words stood at the same side of the servers before."""
    known: dict[tuple[str, str, str, int], RunStep] = {}
    count: Counter[tuple[str, str, str]] = Counter()
    for step in was:
        key = (step.when, step.kind, step.words)
        known[*key, count[key]] = step
        count[key] += 1
    count.clear()
    first = sum(step.only in {None, mode} for step in group.before)
    for number, step in enumerate(steps_of(group, mode)):
        fresh = RunStep(when="before" if number < first else "then", kind=step.kind, words=step.words)
        key = (fresh.when, fresh.kind, fresh.words)
        yield known.get((*key, count[key]), fresh)
        count[key] += 1


def _server(seen: ServerReadiness) -> RunServer:
    return RunServer(
        source=seen.source,
        name=seen.server_name or seen.source,
        server_id=seen.server_id,
        image_id=seen.image_id,
        image_name=seen.image_name,
        backup_id=seen.make_from,
        taken_at=seen.taken_at,
        make_first=seen.image_id is None and seen.make_from is not None,
        findings=tuple(f"{check.rule}: {check}" for check in seen.against),
    )
