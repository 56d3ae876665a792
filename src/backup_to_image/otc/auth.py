"""Logging in: a token that is renewed in time, or a signature on every request (BEHAVIOUR.md 1).

A refused password is never sent twice by one process, since repeated failures lock the user.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from backup_to_image.clock import Clock
from backup_to_image.errors import BadAnswer, Denied, LoginRefused, UsageError
from backup_to_image.model import Project
from backup_to_image.otc.calls import Call, Reply
from backup_to_image.otc.credentials import Credentials, region_of
from backup_to_image.otc.endpoints import Endpoints
from backup_to_image.otc.signing import authorization, sdk_date
from backup_to_image.otc.transport import Transport
from backup_to_image.otc.wire import Body, flag, moment, need, need_part, need_parts, part, parts, text

__all__ = ["Auth"]

RENEW_BEFORE = timedelta(minutes=10)
_IAM = "/v3/auth"
# A locked user says nothing about the password: this client gives up, the next one may try, since somebody may have unlocked it.
_LOCKED = "IAM.0061"

# Salted, so that not even a hash of a password can be compared with anything outside this process.
_SALT = secrets.token_bytes(16)
_refused: dict[bytes, dict[str, str]] = {}
"""What was said to a user with this password, by project: a mistyped project is answered with 401 too."""
_MOST_PROJECTS_REFUSED = 2


class Auth:
    """The log-in of one client. Concurrent requests log in once."""

    def __init__(self, credentials: Credentials, transport: Transport, clock: Clock) -> None:
        self._credentials = credentials
        self._transport = transport
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token: SecretStr | None = None
        self._renew_at: datetime | None = None
        self._generation = 0
        self._renewed_by_force = False
        self._project: Project | None = None
        self._endpoints: Endpoints | None = None
        self._region = credentials.project_region
        self._shut = ""

    @property
    def project(self) -> Project:
        if self._project is None:
            raise UsageError("Not logged in yet: the project is known after the log-in.")
        return self._project

    @property
    def region(self) -> str | None:
        return self._region

    @property
    def endpoints(self) -> Endpoints:
        if self._endpoints is None:
            raise UsageError("Not logged in yet: the catalog is known after the log-in.")
        return self._endpoints

    async def ready(self) -> int:
        """Log in where needed, renew where due; returns the generation of what will be sent."""
        async with self._lock:
            due = self._renew_at is not None and self._clock.now() >= self._renew_at
            if self._project is None or self._endpoints is None or due:
                await self._log_in()
                self._renewed_by_force = False
            return self._generation

    async def renew(self, generation: int) -> bool:
        """A service refused what was sent. True: something newer is there now, so the request may be sent once more."""
        async with self._lock:
            if generation != self._generation:
                return True
            if self._credentials.signs or self._credentials.token or self._renewed_by_force:
                return False  # nothing newer to be had, or the newest was refused too: the reason is another one
            await self._log_in()
            self._renewed_by_force = True
            return True

    def accepted(self, generation: int) -> None:
        """A service took it, so a later refusal means that it ended, and not that it never was any good."""
        if generation == self._generation:
            self._renewed_by_force = False

    async def headers(self, call: Call, base: str) -> Mapping[str, str]:
        """What proves who asks, for one request."""
        if self._credentials.signs:
            return self._signed(call, base, self._project.id if self._project else self._credentials.project_id)
        if self._token is None:
            raise UsageError("Not logged in yet.")
        return {"X-Auth-Token": self._token.get_secret_value()}

    async def _log_in(self) -> None:
        if self._credentials.signs or self._credentials.token:
            await self._enter()
        else:
            await self._create_token()
        self._generation += 1

    async def _create_token(self) -> None:
        key = self._fingerprint()
        scope = repr(self._request()["auth"].get("scope"))
        before = _refused.get(key, {})
        enough = len(before) >= _MOST_PROJECTS_REFUSED  # then it is the password after all
        known = self._shut or before.get(scope) or (next(iter(before.values())) if enough else None)
        if known:
            raise LoginRefused(known, action="Correct the credentials and start again; they were not sent a second time.")
        call = Call(
            operation="createToken",
            service="iam",
            method="POST",
            path=f"{_IAM}/tokens",
            body=self._request(),
            subject=self._who(),
        )
        try:
            reply = await self._transport.send(call, self._iam(), _no_headers)
        except Denied as error:
            refused = f"The cloud refused the log-in of {self._who()} at {self._iam()}: {_said(error)}."
            if error.status == 401:
                self._shut = refused
                if error.cloud_code != _LOCKED:
                    _refused.setdefault(key, {})[scope] = refused
            raise LoginRefused(refused, action=error.action, code=error.cloud_code) from error
        _refused.pop(key, None)
        if self._credentials.passcode:
            self._shut = "The passcode has been used; log in again with a new one from the MFA device."
        catalog = self._take(reply)
        if catalog or self._endpoints is None:
            self._use(catalog or await self._fetch_catalog())

    def _take(self, reply: Reply) -> list[Body]:
        """Keep token and project; returns the catalog, which may be left out of a token."""
        secret = reply.headers.get("x-subject-token", "")
        if not secret:
            raise BadAnswer("createToken", "no X-Subject-Token header", request_id=reply.request_id)
        token = need_part(reply.json(), "token", "createToken")
        project = part(token, "project")
        if not text(project, "id"):
            raise UsageError("The log-in gave no project.", action="Name one with project_name or project_id.")
        now = self._clock.now()
        issued, expires = moment(token, "issued_at") or now, moment(token, "expires_at")
        # The lifetime counts from here, not from the cloud's clock: a clock that is off must not mean a log-in for every request.
        lifetime = max(expires - issued, timedelta(0)) if expires else timedelta(hours=1)
        self._renew_at = now + (lifetime - RENEW_BEFORE if lifetime > 2 * RENEW_BEFORE else lifetime / 2)
        self._token = SecretStr(secret)
        self._project = Project(id=text(project, "id"), name=text(project, "name"), domain_id=text(part(project, "domain"), "id"))
        return parts(token, "catalog")

    async def _enter(self) -> None:
        """With a key pair or a given token nothing is created: only the project and the catalog are looked up."""
        self._token = self._credentials.token
        try:
            self._project = await self._find_project()
            self._use(await self._fetch_catalog())
        except Denied as error:
            what = "key pair" if self._credentials.signs else "token"
            raise LoginRefused(
                f"The cloud refused the {what} at {self._iam()}: {_said(error)}.",
                action=error.action,
                code=error.cloud_code,
            ) from error

    async def _find_project(self) -> Project:
        """The project by id or name among those that these credentials may enter (listAuthProjects needs no further rights)."""
        wanted_id, wanted_name = self._credentials.project_id, self._credentials.project_name
        found = [
            one
            for one in await self._projects()
            if text(one, "id") == wanted_id or (not wanted_id and text(one, "name") == wanted_name)
        ]
        if len(found) == 1:
            one = found[0]
            return Project(id=need(one, "id", "listAuthProjects"), name=text(one, "name"), domain_id=text(one, "domain_id"))
        if wanted_id:
            return Project(id=wanted_id, name=wanted_name or "")
        raise UsageError(
            f"project_name: {len(found) or 'no'} project named {wanted_name!r} among those that these credentials may enter.",
            action="Check the name, or give project_id.",
        )

    async def _projects(self) -> list[Body]:
        call = Call(operation="listAuthProjects", service="iam", method="GET", path=f"{_IAM}/projects")
        reply = await self._transport.send(call, self._iam(), self.headers)
        return [one for one in need_parts(reply.json(), "projects", "listAuthProjects") if flag(one, "enabled") is not False]

    async def _fetch_catalog(self) -> list[Body]:
        call = Call(operation="getCatalog", service="iam", method="GET", path=f"{_IAM}/catalog")
        return need_parts((await self._transport.send(call, self._iam(), self.headers)).json(), "catalog", "getCatalog")

    def _use(self, catalog: list[Body]) -> None:
        self._region = self._region or region_of(self.project.name)
        self._endpoints = Endpoints(catalog, self._credentials, self._region)
        if self._region is None:
            named = self._endpoints.regions()
            if len(named) > 1:
                raise UsageError(f"region_name: is missing, and the catalog has several: {', '.join(sorted(named))}.")
            self._region = next(iter(named), None)

    def _request(self) -> dict[str, Any]:
        who = self._credentials
        domain = _named(who.user_domain_id, who.user_domain_name)
        user = {**_named(who.user_id, who.username), **({"domain": domain} if domain and not who.user_id else {})}
        password = who.password.get_secret_value() if who.password else ""
        identity: dict[str, Any] = {"methods": ["password"], "password": {"user": {**user, "password": password}}}
        if who.passcode:
            identity["methods"] = ["password", "totp"]
            identity["totp"] = {"user": {**user, "passcode": who.passcode.get_secret_value()}}
        if who.project_id:
            return {"auth": {"identity": identity, "scope": {"project": {"id": who.project_id}}}}
        home = _named(who.project_domain_id, who.project_domain_name) or domain
        project = {"name": who.project_name, **({"domain": home} if home else {})}
        return {"auth": {"identity": identity, "scope": {"project": project}}}

    def _signed(self, call: Call, base: str, project_id: str | None) -> dict[str, str]:
        who = self._credentials
        split = urlsplit(base)
        headers = {"Host": split.netloc.rpartition("@")[2], "X-Sdk-Date": sdk_date(self._clock.now())}
        if project_id:  # the catalog too is read in the project's scope, else it lists nothing but IAM
            headers["X-Project-Id"] = project_id
        elif who.user_domain_id:
            headers["X-Domain-Id"] = who.user_domain_id
        if who.security_token:
            headers["X-Security-Token"] = who.security_token.get_secret_value()
        headers["Authorization"] = authorization(
            access_key=who.access_key or "",
            secret_key=who.secret_key.get_secret_value() if who.secret_key else "",
            method=call.method,
            path=unquote(split.path + call.path),
            query=call.query,
            headers=headers,
            content=call.content,
            form=who.signature,  # the scoped form is sent with empty names, as the cloud's own client does
        )
        return headers

    def _iam(self) -> str:
        return Endpoints([], self._credentials, None).base("iam")

    def _who(self) -> str:
        who = self._credentials
        return f"{who.username or who.user_id} ({who.user_domain_name or who.user_domain_id or 'no domain named'})"

    def _fingerprint(self) -> bytes:
        who = self._credentials
        secret = [value.get_secret_value() if value else "" for value in (who.password, who.passcode)]
        told = (self._iam(), who.username, who.user_id, who.user_domain_name, who.user_domain_id, *secret)
        return hashlib.sha256(_SALT + repr(told).encode()).digest()


def _said(error: Denied) -> str:
    return f"{error.cloud_code or error.status} {error.words}".strip()


def _named(ident: str | None, name: str | None) -> dict[str, str]:
    """By id where there is one, since ids are unique; else by name."""
    if ident:
        return {"id": ident}
    return {"name": name} if name else {}


async def _no_headers(_call: Call, _base: str) -> Mapping[str, str]:
    return {}
