"""EVS: disks, as far as launches and teardowns must know them (BEHAVIOUR.md 6, 11)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Collection

from backup_to_image.model import Disk, Job
from backup_to_image.otc.calls import Query
from backup_to_image.otc.session import Session, pages
from backup_to_image.otc.wire import Body, flag, maybe, moment, need, need_parts, part, parts, text, whole

__all__ = ["Disks"]

_PAGE = 500
_IDS_AT_ONCE = 60  # as many as one request takes


class Disks:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def list(
        self, *, server_id: str | None = None, ids: Collection[str] | None = None, name: str | None = None
    ) -> AsyncIterator[Disk]:
        """Disks, each once; of one server, of these ids, or with this in their name."""
        if ids is None:
            async for disk in self._list({"server_id": server_id, "name": name}):
                yield disk
            return
        asked = list(dict.fromkeys(ids))
        for first in range(0, len(asked), _IDS_AT_ONCE):
            quoted = ",".join(f"'{ident}'" for ident in asked[first : first + _IDS_AT_ONCE])
            async for disk in self._list({"server_id": server_id, "name": name, "ids": f"[{quoted}]"}):
                yield disk

    async def _list(self, query: Query) -> AsyncIterator[Disk]:
        async def fetch(marker: str | None) -> builtins.list[Body]:
            asked: Query = {**query, "limit": str(_PAGE), "marker": marker}
            body = await self._session.json("listVolumesDetail", "GET", "/v2/{project}/cloudvolumes/detail", query=asked)
            return need_parts(body, "volumes", "listVolumesDetail")

        async for entry in pages(fetch, _PAGE, "listVolumesDetail"):
            yield _disk(entry)

    async def delete(self, disk_id: str) -> str:
        """Delete a disk that is available or in an error state; returns the job's id. Raises NotFound for one that is gone."""
        return await self._session.job(
            "deleteVolume", "DELETE", f"/v2/{{project}}/cloudvolumes/{disk_id}", subject=f"disk {disk_id}"
        )

    async def job(self, job_id: str) -> Job:
        """A job of EVS."""
        body = await self._session.json("getEvsJob", "GET", f"/v1/{{project}}/jobs/{job_id}", subject=f"job {job_id}")
        return _job({"job_id": job_id, **body})


def _disk(body: Body) -> Disk:
    attached = parts(body, "attachments")
    return Disk(
        id=need(body, "id", "listVolumesDetail"),
        name=text(body, "name"),
        status=need(body, "status", "listVolumesDetail"),
        size_gb=whole(body, "size") or 0,
        type=text(body, "volume_type"),
        zone=text(body, "availability_zone"),
        bootable=flag(body, "bootable") or False,
        shared=flag(body, "multiattach") or False,
        encrypted=bool(flag(body, "encrypted") or flag(part(body, "metadata"), "__system__encrypted")),
        snapshot_id=maybe(body, "snapshot_id"),
        server_ids=tuple(text(one, "server_id") for one in attached if text(one, "server_id")),
        devices=tuple(text(one, "device") for one in attached if text(one, "device")),
        created_at=moment(body, "created_at"),
    )


def _job(body: Body) -> Job:
    return Job(
        id=need(body, "job_id", "getEvsJob"),
        service="evs",
        kind=text(body, "job_type"),
        status=need(body, "status", "getEvsJob").upper(),
        error_code=maybe(body, "error_code"),
        fail_reason=text(body, "fail_reason"),
        began_at=moment(body, "begin_time"),
        ended_at=moment(body, "end_time"),
        disk_id=maybe(part(body, "entities"), "volume_id"),
    )
