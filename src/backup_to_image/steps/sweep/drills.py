"""Servers of drills that stayed, and what their teardowns left behind: found, and taken down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from backup_to_image.errors import StillRunning
from backup_to_image.journal import Record
from backup_to_image.model import Disk, PublicIp, Server
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.teardown import DRILL_FACT, find_launch, tear_down
from backup_to_image.steps.names import DRILL_TAG, HOLD_TAG, LAUNCH_TAG
from backup_to_image.steps.sweep.candidate import PATIENCE, Candidate, InUse, Kept, alone

__all__ = ["drills_that_stayed", "remove_drill", "rests_of_drills"]


def drills_that_stayed(servers: Sequence[Server], sizes: Mapping[str, int], in_use: InUse, ctx: Context) -> list[Candidate]:
    """The servers of drills that no open order is at, those of one launch together."""
    by_launch: dict[str, list[Server]] = {}
    for server in servers:
        mark = server.tags.get(DRILL_TAG)
        if mark and server.status != "DELETED" and mark not in in_use.launches:
            by_launch.setdefault(mark, []).append(server)
    found: list[Candidate] = []
    for mark, group in by_launch.items():
        made = min((one.created_at for one in group if one.created_at), default=ctx.clock.now())
        held = any(HOLD_TAG in one.tags for one in group)
        ids = sorted(one.id for one in group)
        found.append(
            Candidate(
                kind="drill",
                id=mark,
                name=", ".join(sorted(one.name for one in group)),
                why=f"{len(group)} drill server{'' if len(group) == 1 else 's'}, and no drill is under way",
                since=made,
                gb=sum(sizes.get(disk.id, disk.size_gb or 0) for one in group for disk in one.disks),
                kept="kept: it is held" if held else _not_a_drill(mark, servers),
                mark=f"drill {mark} {' '.join(ids)}",
            )
        )
    return found


def _not_a_drill(mark: str, servers: Sequence[Server]) -> str:
    """Drill and failover never have one launch id; where they seem to, or the mark is none of ours, a person has to look."""
    if not re.fullmatch("[0-9a-f]{12}", mark):
        return f"kept: {mark!r} is no launch id"
    mixed = any(server.tags.get(LAUNCH_TAG) == mark for server in servers)
    mixed = mixed or any(server.tags.get(DRILL_TAG) == mark and LAUNCH_TAG in server.tags for server in servers)
    return "kept: a server of it carries the mark of a failover too" if mixed else ""


async def rests_of_drills(servers: Mapping[str, Server], in_use: InUse, ctx: Context) -> list[Candidate]:
    """Disks and addresses of drills whose teardown ended half done: written down while the servers still carried their mark."""
    marks = {server.tags.get(DRILL_TAG) for server in servers.values()}
    records = [one for one in await ctx.journal.records("teardown") if one.project_id == ctx.project_id and one.state == "intent"]
    rests = [one for one in records if one.facts.get(DRILL_FACT) is True and one.name not in in_use.launches | marks]
    listed = await ctx.cloud.public_ips.list() if rests else []
    found: list[Candidate] = []
    for noted in rests:
        disks = await _still_there(noted, ctx)
        ports = noted.ids("ports")
        addresses = [ip for ip in listed if ip.id in noted.ids("addresses") and (not ip.port_id or ip.port_id in ports)]
        if disks or addresses:
            found.append(_rest(noted, disks, addresses))
    return found


async def _still_there(noted: Record, ctx: Context) -> list[Disk]:
    """Its disks that hang on nobody else's server."""
    ids = noted.ids("disks")
    there = [disk async for disk in ctx.cloud.disks.list(ids=ids) if disk.id in ids]
    return [disk for disk in there if not set(disk.server_ids) - set(noted.ids("servers"))]


def _rest(noted: Record, disks: Sequence[Disk], addresses: Sequence[PublicIp]) -> Candidate:
    left = [*(f"disk {disk.name or disk.id}" for disk in disks), *(f"address {ip.address}" for ip in addresses)]
    return Candidate(
        kind="drill",
        id=noted.name,
        name=", ".join(left),
        why="the drill's server is gone, this was left behind",
        since=noted.written_at,
        gb=sum(disk.size_gb for disk in disks),
        mark=f"drill {noted.name} {' '.join(sorted([*(disk.id for disk in disks), *(ip.id for ip in addresses)]))}",
    )


async def remove_drill(one: Candidate, in_use: InUse, ctx: Context) -> None:
    """By teardown, which proves that nothing is left; not while its launch is under way, and never a failover."""
    if one.id in in_use.launches:
        raise Kept("an order is at it")
    found = await find_launch(one.id, ctx)
    foreign = [server.name for server in found.servers if server.tags.get(DRILL_TAG) != one.id or LAUNCH_TAG in server.tags]
    if foreign:
        raise Kept(f"{', '.join(foreign)} carries the mark of a failover")
    held = [server.name for server in found.servers if HOLD_TAG in server.tags]
    if held:
        raise Kept(f"{', '.join(held)} is held")
    if one.mark.split()[2:] != sorted(server.id for server in found.servers) and found.servers:
        raise Kept("it has other servers by now")
    base = found.noted.name if found.noted else one.id
    async with alone("launch", base, ctx):
        done = await tear_down(found, ctx, patience=PATIENCE)
    if done.left_behind:
        raise StillRunning("The teardown", last_seen=f"left behind: {', '.join(done.left_behind)}", deadline=None)
