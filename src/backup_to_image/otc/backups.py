"""CBR: backups, the vaults they lie in, and restore points, which are backup runs (BEHAVIOUR.md 4)."""

from __future__ import annotations

import builtins
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from backup_to_image.errors import NoAnswer
from backup_to_image.model import Backup, BackupFailure, BackupMember, RestorePoint, Vault
from backup_to_image.otc import cbr_wire
from backup_to_image.otc.calls import Query
from backup_to_image.otc.session import Session, pages
from backup_to_image.otc.wire import Body, need_part, need_parts, part, stamp, text

__all__ = ["Backups", "RestorePoints", "Vaults"]

_PAGE = 500
_SLACK = timedelta(minutes=5)
"""A backup and the record of its task need not begin in the same moment."""
_BACKUPS = "/v3/{project}/backups"
_VAULTS = "/v3/{project}/vaults"


class Backups:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, backup_id: str) -> Backup:
        """The backup with its disks. Raises NotFound."""
        body = await self._session.json("getBackup", "GET", f"{_BACKUPS}/{backup_id}", subject=f"backup {backup_id}")
        return cbr_wire.backup(need_part(body, "backup", "getBackup"), "getBackup")

    async def list(
        self,
        *,
        status: str | Sequence[str] | None = None,
        server_id: str | None = None,
        vault_id: str | None = None,
        restore_point_id: str | None = None,
        name: str | None = None,
        own_type: Literal["private", "shared", "all_granted"] = "private",
        member_status: Literal["pending", "accepted", "rejected"] | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Backup]:
        """Backups, the newest first, at most `limit`. Their `disks` may be empty: read one with `get` to see them.

        Backups shared with this project are seen with `own_type="shared"` only (BEHAVIOUR.md 4.5).
        """
        size = min(limit or _PAGE, _PAGE)
        query: Query = {
            "limit": str(size),
            "checkpoint_id": restore_point_id,
            "vault_id": vault_id,
            "name": name,
            "resource_id": server_id,
            "resource_type": "OS::Nova::Server" if server_id else None,
            "status": [status] if isinstance(status, str) else list(status or ()),
            "own_type": own_type,
            "member_status": member_status,
            "start_time": stamp(since) if since else None,
            "end_time": stamp(until) if until else None,
            "sort": "created_at:desc",
        }

        async def fetch(marker: str | None) -> builtins.list[Body]:
            body = await self._session.json("listBackups", "GET", _BACKUPS, query={**query, "marker": marker})
            return need_parts(body, "backups", "listBackups")

        given = 0
        async for entry in pages(fetch, size, "listBackups"):
            yield cbr_wire.backup(entry, "listBackups")
            given += 1
            if given == limit:
                return

    async def why_failed(self, backup: Backup) -> BackupFailure | None:
        """What the cloud's record of the task says about a backup in error; None where no record tells."""
        query: Query = {
            "operation_type": "backup",
            "status": "failed",
            "resource_id": backup.resource_id,
            "start_time": stamp(backup.created_at - _SLACK) if backup.created_at else None,
        }
        body = await self._session.json("listOperationLogs", "GET", "/v3/{project}/operation-logs", query=query)
        for entry in need_parts(body, "operation_logs", "listOperationLogs"):
            if text(part(part(entry, "extra_info"), "backup"), "backup_id") == backup.id:
                return cbr_wire.failure(entry)
        return None

    async def delete(self, backup_id: str, *, guard: Callable[[], None] | None = None) -> None:
        """Ask for deletion; it is gone when `get` raises NotFound. Sent once: look before it is sent again."""
        path, subject = f"{_BACKUPS}/{backup_id}", f"backup {backup_id}"
        await self._session.call("deleteBackup", "DELETE", path, makes=True, subject=subject, guard=guard)

    async def members(self, backup_id: str) -> builtins.list[BackupMember]:
        """Projects that the backup itself is shared with; at most 10."""
        path = f"{_BACKUPS}/{backup_id}/members"
        body = await self._session.json("listBackupMembers", "GET", path, query={"limit": "1000"}, subject=f"backup {backup_id}")
        return [cbr_wire.member(one, "listBackupMembers") for one in need_parts(body, "members", "listBackupMembers")]

    async def member(self, backup_id: str, project_id: str) -> BackupMember:
        """One project's share of a backup. Raises NotFound."""
        path = f"{_BACKUPS}/{backup_id}/members/{project_id}"
        body = await self._session.json("getBackupMember", "GET", path, subject=f"backup {backup_id}")
        return cbr_wire.member(need_part(body, "member", "getBackupMember"), "getBackupMember")

    async def share(self, backup_id: str, project_ids: Sequence[str]) -> builtins.list[BackupMember]:
        """Offer the backup to 1-10 projects. An image made from a backup got this way cannot be shared on (BEHAVIOUR.md 9)."""
        path, told = f"{_BACKUPS}/{backup_id}/members", {"members": list(project_ids)}
        body = await self._session.made("addBackupMembers", "POST", path, body=told, subject=f"backup {backup_id}")
        return [cbr_wire.member(one, "addBackupMembers") for one in need_parts(body, "members", "addBackupMembers")]

    async def set_member(
        self, backup_id: str, status: Literal["accepted", "pending", "rejected"], *, vault_id: str | None = None
    ) -> BackupMember:
        """As the recipient: accept (into a vault) or reject. Safe to repeat."""
        told: dict[str, Any] = {"status": status, **({"vault_id": vault_id} if vault_id else {})}
        path = f"{_BACKUPS}/{backup_id}/members/{{project}}"
        body = await self._session.json("updateBackupMember", "PUT", path, body=told, subject=f"backup {backup_id}")
        return cbr_wire.member(need_part(body, "member", "updateBackupMember"), "updateBackupMember")

    async def unshare(self, backup_id: str, project_id: str) -> None:
        """End one project's share. Safe to repeat."""
        path = f"{_BACKUPS}/{backup_id}/members/{project_id}"
        await self._session.call("deleteBackupMember", "DELETE", path, subject=f"backup {backup_id}")


class Vaults:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, vault_id: str) -> Vault:
        """Raises NotFound."""
        body = await self._session.json("getVault", "GET", f"{_VAULTS}/{vault_id}", subject=f"vault {vault_id}")
        return cbr_wire.vault(need_part(body, "vault", "getVault"), "getVault")

    async def list(
        self,
        *,
        object_type: Literal["server", "disk", "turbo"] | None = None,
        protect_type: Literal["backup", "replication"] | None = None,
        name: str | None = None,
        server_id: str | None = None,
    ) -> AsyncIterator[Vault]:
        """Vaults, optionally those that protect one server. This list knows no marker, so it is read by offset."""
        query: Query = {
            "object_type": object_type,
            "protect_type": protect_type,
            "name": name,
            "resource_ids": server_id,
            "limit": str(_PAGE),
        }
        read = 0

        async def fetch(_marker: str | None) -> builtins.list[Body]:
            nonlocal read
            body = await self._session.json("listVaults", "GET", _VAULTS, query={**query, "offset": str(read) if read else None})
            page = need_parts(body, "vaults", "listVaults")
            read += len(page)
            return page

        async for entry in pages(fetch, _PAGE, "listVaults"):
            yield cbr_wire.vault(entry, "listVaults")


class RestorePoints:
    def __init__(self, session: Session) -> None:
        self._session = session

    async def create(
        self,
        vault_id: str,
        server_ids: Sequence[str],
        *,
        name: str,
        description: str = "",
        incremental: bool | None = None,
        guard: Callable[[], None] | None = None,
    ) -> RestorePoint:
        """Back these servers up now. What could not be is in `skipped` of the answer; a run cannot be stopped.

        Not safe to repeat. The backups are found with `backups.list(restore_point_id=...)`.
        """
        parameters: dict[str, Any] = {
            "auto_trigger": False,
            "name": name,
            "description": description,
            "resources": list(server_ids),
        }
        if incremental is not None:
            parameters["incremental"] = incremental
        told = {"checkpoint": {"vault_id": vault_id, "parameters": parameters}}
        body = await self._session.made(
            "createCheckpoint", "POST", "/v3/{project}/checkpoints", body=told, subject=f"vault {vault_id}", guard=guard
        )
        if not text(part(body, "checkpoint"), "id"):
            raise NoAnswer("createCheckpoint", "a grant without a restore point", sent=True)
        return cbr_wire.restore_point(need_part(body, "checkpoint", "createCheckpoint"), "createCheckpoint")

    async def get(self, restore_point_id: str) -> RestorePoint:
        """Raises NotFound."""
        path = f"/v3/{{project}}/checkpoints/{restore_point_id}"
        body = await self._session.json("getCheckpoint", "GET", path, subject=f"restore point {restore_point_id}")
        return cbr_wire.restore_point(need_part(body, "checkpoint", "getCheckpoint"), "getCheckpoint")
