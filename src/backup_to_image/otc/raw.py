"""The same connection with its answers as they came, for `b2i doctor`: it judges the answers themselves, not only what they mean.

Everything here reads. Which operations those are, and which answer holds the ids that the next one needs, stands in READS;
methods and paths come from the contract. Bodies are seen as the trace sees them, with every secret hidden.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import quote

import httpx

from backup_to_image.clock import Clock, SystemClock
from backup_to_image.contract import openapi
from backup_to_image.errors import CloudError, UsageError
from backup_to_image.model import Value
from backup_to_image.otc.calls import Query
from backup_to_image.otc.cloud import Cloud
from backup_to_image.otc.credentials import Credentials
from backup_to_image.otc.trace import Exchange
from backup_to_image.otc.transport import Trace
from backup_to_image.otc.wire import Body, moment, part, parts, text

__all__ = ["READS", "Answer", "LoginFacts", "RawCloud"]

_SAMPLES = 3
_LOG_IN = "createToken"
_NEXT_ID = re.compile(r"\{(?!project\})\w+\}")


class LoginFacts(Value):
    """What the log-in told. User, account, roles and lifetime are known for a password only: nothing else makes a token."""

    user: str | None = None
    account: str | None = None
    roles: tuple[str, ...] = ()
    token_expires_at: datetime | None = None
    clock_skew_s: float | None = None
    """The cloud's Date header minus this machine's clock; None where no answer had one."""


class Answer(Value):
    """One operation's answer; `status` None where none came, `why_not` where it was not asked."""

    operation: str
    status: int | None = None
    body: Any = None
    error: str = ""
    why_not: str = ""


class Read(Value):
    """One reading operation. `takes` is the pool of ids for its path; `gives` says which list and field fill which pools."""

    operation: str
    takes: str = ""
    gives: dict[str, tuple[str, str]] = {}
    query: dict[str, str] = {}
    body: dict[str, Any] | None = None


_SOME = {"limit": "50"}
_OWN = {"owner": "{project}", "limit": "50"}

READS: tuple[Read, ...] = (
    Read(operation="getCatalog"),
    Read(operation="listAuthProjects"),
    Read(operation="listProjects"),
    Read(
        operation="listBackups",
        query={**_SOME, "sort": "created_at:desc"},
        gives={"backup": ("backups", "id"), "restore point": ("backups", "checkpoint_id")},
    ),
    Read(operation="getBackup", takes="backup"),
    Read(operation="listBackupMembers", takes="backup", gives={"share of a backup": ("members", "dest_project_id")}),
    Read(operation="getBackupMember", takes="share of a backup"),
    Read(operation="getCheckpoint", takes="restore point"),
    Read(operation="listVaults", gives={"vault": ("vaults", "id")}),
    Read(operation="getVault", takes="vault"),
    Read(operation="listOperationLogs", query=_SOME, gives={"operation log": ("operation_logs", "id")}),
    Read(operation="getOperationLog", takes="operation log"),
    Read(operation="listCloudImages", query={"__whole_image": "true", **_OWN}, gives={"image": ("images", "id")}),
    Read(operation="listImages", query=_OWN),
    Read(operation="getImage", takes="image"),
    Read(operation="listImageMembers", takes="image", gives={"share of an image": ("members", "member_id")}),
    Read(operation="getImageMember", takes="share of an image"),
    Read(operation="listImageTags", takes="image"),
    Read(operation="listProjectImageTags"),
    Read(operation="getImageQuota"),
    Read(operation="listServersDetail", query={**_SOME, "offset": "1"}, gives={"server": ("servers", "id")}),
    Read(operation="getServer", takes="server"),
    Read(operation="listServerTags", takes="server"),
    Read(operation="listServerDisks", takes="server"),
    Read(operation="getConsoleOutput", takes="server", body={"os-getConsoleOutput": {"length": 5}}),
    Read(operation="listFlavors"),
    Read(operation="getServerLimits"),
    Read(operation="listAvailabilityZones"),
    Read(operation="listKeypairs"),
    Read(operation="listVpcs", query=_SOME),
    Read(operation="listSubnets", query=_SOME),
    Read(operation="listSecurityGroups", query=_SOME),
    Read(operation="listPublicIps", query=_SOME),
    Read(operation="listVolumesDetail", query=_SOME),
    Read(operation="getImsJob", takes="image job"),
    Read(operation="getEcsJob", takes="launch job"),
)
"""In this order, so that ids are known when they are needed. `{project}` is the project that was logged in to."""


class RawCloud(Cloud):
    """A Cloud that remembers its log-in and can hand out answers as they came. Ask one after the other, not concurrently."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        trace: Trace | None = None,
    ) -> None:
        self._pass_on = trace
        self._last: Exchange | None = None
        self._login: Exchange | None = None
        self._skew: float | None = None
        super().__init__(credentials, clock=clock or SystemClock(), transport=transport, trace=self._remember)

    @property
    def login_facts(self) -> LoginFacts:
        """Who this is, as the log-in told; empty before it."""
        token = part(_object(self._login.response if self._login else None), "token")
        user = part(token, "user")
        return LoginFacts(
            user=text(user, "name") or None,
            account=text(part(user, "domain"), "name") or None,
            roles=tuple(text(role, "name") for role in parts(token, "roles") if text(role, "name")),
            token_expires_at=moment(token, "expires_at"),
            clock_skew_s=self._skew,
        )

    async def read_all(self, known: Mapping[str, Iterable[str]] | None = None) -> AsyncIterator[Answer]:
        """The answer of every reading operation that can be asked, one after the other; the others with the reason why not.

        `known` are ids that no list tells, by pool: image job, launch job. A refusal is an answer like any other. Safe to repeat.
        """
        if self._login:
            yield Answer(operation=_LOG_IN, status=self._login.status, body=self._login.response)
        pools: dict[str, list[tuple[str, ...]]] = {pool: [(ident,) for ident in ids] for pool, ids in (known or {}).items()}
        for read in READS:
            samples = pools.get(read.takes, []) if read.takes else [()]
            if not samples:
                yield Answer(operation=read.operation, why_not=f"no {read.takes} is known to ask for")
            for ids in samples[:_SAMPLES]:
                answer = await self.ask(read.operation, ids, query=read.query, body=read.body)
                yield answer
                for pool, (holder, field) in read.gives.items():
                    found = (text(entry, field) for entry in parts(_object(answer.body), holder))
                    pools.setdefault(pool, []).extend((*ids, ident) for ident in found if ident)

    async def ask(
        self,
        operation: str,
        ids: Iterable[str] = (),
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Answer:
        """The answer of one reading operation, whatever it is. `ids` fill the path in order; the project is known."""
        contract = _of_contract(operation)
        path = str(contract["x-path"]).replace("{project_id}", "{project}")
        for value in ids:
            path = _NEXT_ID.sub(quote(value, safe=""), path, count=1)
        await self.login()
        asked: Query = {name: value.replace("{project}", self.project_id) for name, value in (query or {}).items()}
        self._last = None
        error = ""
        try:
            await self._session(contract["x-service"]).call(operation, contract["method"], path, query=asked, body=body)
        except CloudError as refused:
            error = refused.message
        except UsageError as missing:  # the catalog has no such service
            return Answer(operation=operation, why_not=missing.message)
        last = self._last
        return Answer(
            operation=operation, status=last.status if last else None, body=last.response if last else None, error=error
        )

    def _remember(self, exchange: Exchange) -> None:
        if exchange.operation == _LOG_IN and exchange.status == 201:
            self._login = exchange
        self._last = exchange
        date = exchange.response_headers.get("date")
        if date and self._skew is None:
            try:
                here = exchange.time + timedelta(seconds=exchange.seconds / 2)
                self._skew = round((parsedate_to_datetime(date) - here).total_seconds(), 1)
            except (ValueError, TypeError):
                self._skew = None
        if self._pass_on:
            self._pass_on(exchange)


def _of_contract(operation: str) -> dict[str, Any]:
    for item in openapi()["paths"].values():
        for method, found in item.items():
            if isinstance(found, dict) and cast("dict[str, Any]", found).get("operationId") == operation:
                return {**cast("dict[str, Any]", found), "method": method.upper()}
    raise ValueError(f"the contract has no operation {operation}")


def _object(body: Any) -> Body:
    return cast("Body", body if isinstance(body, dict) else {})
