"""ECS: servers, their jobs, and what a launch needs to know (BEHAVIOUR.md 11, 12)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Literal

from backup_to_image.errors import NoAnswer, NotFound
from backup_to_image.model import Flavor, Job, LaunchRequest, Limits, Server, ServerDisk, Zone
from backup_to_image.otc import ecs_wire
from backup_to_image.otc.calls import Query
from backup_to_image.otc.session import Session
from backup_to_image.otc.wire import need_part, need_parts, tags, text, whole

__all__ = ["Servers"]

_PAGE = 200  # what the page advises; 1000 is the most
_SERVERS = "/v1/{project}/cloudservers"
_LIST_AGAIN = 3


class Servers:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, server_id: str) -> Server:
        """Raises NotFound; also for a while after a launch, and for good after a failed one."""
        body = await self._session.json("getServer", "GET", f"{_SERVERS}/{server_id}", subject=f"server {server_id}")
        return ecs_wire.server(need_part(body, "server", "getServer"), "getServer")

    async def find(self, server_id: str) -> Server | None:
        """The server, or None where there is none (any more)."""
        try:
            return await self.get(server_id)
        except NotFound:
            return None

    async def list(
        self, *, name: str | None = None, status: str | None = None, tags: str | Sequence[str] | None = None
    ) -> AsyncIterator[Server]:
        """Servers, each once. `name` matches parts of names; each of `tags` must stand in one of the server's tags `key=value`.

        The pages are numbered, so a server that goes while they are read shifts the rest: where fewer came than the cloud counts,
        it is asked again.
        """
        wanted = [tags] if isinstance(tags, str) else list(tags or ())
        query: Query = {"name": name, "status": status, "tags": wanted[0] if wanted else None}  # the cloud takes one
        seen: set[str] = set()
        for _ in range(_LIST_AGAIN):
            page, counted = 1, 0
            while True:
                asked: Query = {**query, "limit": str(_PAGE), "offset": str(page)}
                body = await self._session.json("listServersDetail", "GET", f"{_SERVERS}/detail", query=asked)
                entries = need_parts(body, "servers", "listServersDetail")
                for entry in entries:
                    if text(entry, "id") not in seen:
                        seen.add(text(entry, "id"))
                        server = ecs_wire.server(entry, "listServersDetail")
                        has = [f"{key}={value}" for key, value in server.tags.items()]
                        if all(any(one in tag for tag in has) for one in wanted[1:]):
                            yield server
                counted = whole(body, "count") or 0
                page += 1
                if len(entries) < _PAGE:
                    break
            if len(seen) >= counted:
                return

    async def launch(
        self, request: LaunchRequest, *, dry_run: bool = False, guard: Callable[[], None] | None = None
    ) -> tuple[str | None, tuple[str, ...]]:
        """Ask for servers; returns the job's id and the servers' ids. Not safe to repeat, and never repeated here.

        After NoAnswer with `sent` look for servers with this order's mark first. Throttled proves that nothing was started. A dry
        run checks form and mandatory fields only, and has no job (ECS .../lifecycle_management/creating_ecss.rst).
        """
        told = ecs_wire.launch_body(request, dry_run=dry_run)
        if dry_run:
            await self._session.call("createServers", "POST", _SERVERS, body=told, makes=True, subject=f"server {request.name}")
            return None, ()
        subject = f"server {request.name}"
        body = await self._session.made("createServers", "POST", _SERVERS, body=told, subject=subject, guard=guard)
        job_id = text(body, "job_id")
        if not job_id:
            raise NoAnswer("createServers", "a grant without job_id", sent=True)
        return job_id, ecs_wire.ids(body, "serverIds")

    async def job(self, job_id: str) -> Job:
        """A job of ECS, with what its sub-jobs say."""
        body = await self._session.json("getEcsJob", "GET", f"/v1/{{project}}/jobs/{job_id}", subject=f"job {job_id}")
        return ecs_wire.job({"job_id": job_id, **body}, "getEcsJob")

    async def start(self, server_ids: Sequence[str]) -> str:
        """Start stopped servers; returns the job's id. Ecs.0100 for one that runs already."""
        return await self._act({"os-start": {"servers": _each(server_ids)}}, server_ids)

    async def stop(self, server_ids: Sequence[str], *, how: Literal["SOFT", "HARD"] = "SOFT") -> str:
        """Stop running servers; returns the job's id. Ecs.0100 for one that is stopped already."""
        return await self._act({"os-stop": {"type": how, "servers": _each(server_ids)}}, server_ids)

    async def reboot(self, server_ids: Sequence[str], *, how: Literal["SOFT", "HARD"] = "SOFT") -> str:
        """Restart servers; returns the job's id."""
        return await self._act({"reboot": {"type": how, "servers": _each(server_ids)}}, server_ids)

    async def _act(self, told: dict[str, Any], server_ids: Sequence[str]) -> str:
        return await self._session.job("serversAction", "POST", f"{_SERVERS}/action", body=told, subject=_named(server_ids))

    async def delete(self, server_ids: Sequence[str], *, delete_volume: bool = True, delete_public_ip: bool = True) -> str:
        """Delete servers; returns the job's id. Look for disks and addresses that stay behind (BEHAVIOUR.md 11)."""
        # Always sent, since their defaults keep what goes on being billed.
        told = {"servers": _each(server_ids), "delete_publicip": delete_public_ip, "delete_volume": delete_volume}
        return await self._session.job("deleteServers", "POST", f"{_SERVERS}/delete", body=told, subject=_named(server_ids))

    async def change_os(
        self, server_id: str, image_id: str, *, key_name: str | None = None, guard: Callable[[], None] | None = None
    ) -> str:
        """Replace the system disk of a stopped server by the image's; data disks stay as they are. Returns the job's id.

        Not safe to repeat, and never repeated here. After NoAnswer with `sent` look at the server's system disk first: it is a
        new one, with a new id, where it took effect.
        """
        change: dict[str, Any] = {"imageid": image_id, **({"keyname": key_name} if key_name else {})}
        path = f"/v2/{{project}}/cloudservers/{server_id}/changeos"
        told = {"os-change": change}
        return await self._session.job("changeOs", "POST", path, body=told, subject=f"server {server_id}", guard=guard)

    async def tags(self, server_id: str) -> dict[str, str]:
        """The tags of a server."""
        body = await self._session.json("listServerTags", "GET", f"{_SERVERS}/{server_id}/tags", subject=f"server {server_id}")
        return tags({"tags": need_parts(body, "tags", "listServerTags")})

    async def set_tags(self, server_id: str, tags: Mapping[str, str]) -> None:
        """Add or change tags; at most 10. Safe to repeat."""
        told = {"action": "create", "tags": [{"key": key, "value": value} for key, value in tags.items()]}
        path = f"{_SERVERS}/{server_id}/tags/action"
        await self._session.call("serverTagsAction", "POST", path, body=told, subject=f"server {server_id}")

    async def remove_tags(self, server_id: str, keys: Sequence[str]) -> None:
        """Remove tags by key. Safe to repeat."""
        told = {"action": "delete", "tags": [{"key": key} for key in keys]}
        path = f"{_SERVERS}/{server_id}/tags/action"
        await self._session.call("serverTagsAction", "POST", path, body=told, subject=f"server {server_id}")

    async def disks(self, server_id: str) -> builtins.list[ServerDisk]:
        """The disks attached to a server, with their sizes."""
        path = f"{_SERVERS}/{server_id}/block_device"
        body = await self._session.json("listServerDisks", "GET", path, subject=f"server {server_id}")
        return [ecs_wire.disk(one, "listServerDisks") for one in need_parts(body, "volumeAttachments", "listServerDisks")]

    async def console(self, server_id: str, *, lines: int = 50) -> str:
        """The last lines of the console log."""
        told, path = {"os-getConsoleOutput": {"length": lines}}, f"/v2.1/{{project}}/servers/{server_id}/action"
        body = await self._session.json("getConsoleOutput", "POST", path, body=told, subject=f"server {server_id}")
        output = body.get("output")
        return output if isinstance(output, str) else ""

    async def flavors(self, zone: str | None = None) -> builtins.list[Flavor]:
        """Flavors that may be ordered, of one zone or all."""
        query: Query = {"availability_zone": zone}
        body = await self._session.json("listFlavors", "GET", f"{_SERVERS}/flavors", query=query)
        return [ecs_wire.flavor(one, "listFlavors") for one in need_parts(body, "flavors", "listFlavors")]

    async def limits(self) -> Limits:
        """What the project may still launch."""
        body = await self._session.json("getServerLimits", "GET", f"{_SERVERS}/limits")
        return ecs_wire.limits(body, "getServerLimits")

    async def zones(self) -> builtins.list[Zone]:
        """The availability zones of the region."""
        body = await self._session.json("listAvailabilityZones", "GET", "/v2.1/{project}/os-availability-zone")
        rows = need_parts(body, "availabilityZoneInfo", "listAvailabilityZones")
        return [ecs_wire.zone(one, "listAvailabilityZones") for one in rows]

    async def key_pairs(self) -> builtins.list[str]:
        """Names of the key pairs that may be given to a server."""
        body = await self._session.json("listKeypairs", "GET", "/v2.1/{project}/os-keypairs")
        rows = need_parts(body, "keypairs", "listKeypairs")
        return [text(need_part(one, "keypair", "listKeypairs"), "name") for one in rows]


def _each(ids: Sequence[str]) -> builtins.list[dict[str, str]]:
    return [{"id": ident} for ident in ids]


def _named(ids: Sequence[str]) -> str:
    return f"server{'' if len(ids) == 1 else 's'} {', '.join(ids)}"
