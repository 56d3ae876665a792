"""One project in one region of the cloud, as its services."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx

from backup_to_image.clock import Clock, SystemClock
from backup_to_image.errors import UsageError
from backup_to_image.model import Project
from backup_to_image.otc.auth import Auth
from backup_to_image.otc.backups import Backups, RestorePoints, Vaults
from backup_to_image.otc.budget import Budget
from backup_to_image.otc.credentials import Credentials
from backup_to_image.otc.disks import Disks
from backup_to_image.otc.endpoints import Service
from backup_to_image.otc.images import Images
from backup_to_image.otc.networks import Networks, PublicIps
from backup_to_image.otc.servers import Servers
from backup_to_image.otc.session import Session
from backup_to_image.otc.transport import Trace, Transport

__all__ = ["Cloud"]


class Cloud:
    """A connection: one log-in, one request budget, closed by whoever opened it.

        async with Cloud.connect(credentials) as cloud:
            backup = await cloud.backups.get(backup_id)

    It logs in with the first request, or with `login()`. All methods raise ApiError and its kin for a refusal, NoAnswer where
    nothing clear came back, BadAnswer for an answer outside the contract, LoginRefused when the credentials are not taken.
    Reading may be repeated at will and is repeated for a short time here; what makes, launches or starts is sent once only.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
        trace: Trace | None = None,
    ) -> None:
        problems = credentials.problems()
        if problems:
            raise UsageError(problems)
        self.clock = clock
        self._transport = Transport(credentials, clock, transport=transport, trace=trace)
        self._auth = Auth(credentials, self._transport, clock)
        self.backups = Backups(self._session("cbr"))
        self.vaults = Vaults(self._session("cbr"))
        self.restore_points = RestorePoints(self._session("cbr"))
        self.images = Images(self._session("ims"))
        self.servers = Servers(self._session("ecs"))
        self.networks = Networks(self._session("vpc"))
        self.disks = Disks(self._session("evs"))
        self.public_ips = PublicIps(self._session("eip"))

    @classmethod
    def connect(
        cls,
        credentials: Credentials,
        *,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        trace: Trace | None = None,
    ) -> Cloud:
        """Prepare a connection; nothing is sent yet. Raises UsageError naming everything that is wrong with the credentials."""
        return cls(credentials, clock=clock or SystemClock(), transport=transport, trace=trace)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def login(self) -> Project:
        """Log in now, unless done already; returns the project. Raises LoginRefused."""
        await self._auth.ready()
        return self._auth.project

    @property
    def project(self) -> Project:
        """The project that was logged in to; known after the log-in."""
        return self._auth.project

    @property
    def project_id(self) -> str:
        return self._auth.project.id

    @property
    def project_name(self) -> str:
        return self._auth.project.name

    @property
    def domain_id(self) -> str:
        """The account's id."""
        return self._auth.project.domain_id

    @property
    def region(self) -> str | None:
        return self._auth.region

    @property
    def requests(self) -> int:
        """Requests sent so far, log-ins and repetitions included."""
        return self._transport.requests

    @property
    def budget(self) -> Budget:
        return self._transport.budget

    def _session(self, service: Service) -> Session:
        return Session(service, self._auth, self._transport, self.clock)
