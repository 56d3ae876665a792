"""An emulated region in this process, on a clock that jumps, with the files that people keep beside b2i."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from backup_to_image.cli import run
from backup_to_image.cli.options import Options
from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.emulator.ims_create import activate
from backup_to_image.emulator.making import image_document
from backup_to_image.emulator.routing import Router
from backup_to_image.journal import Journal
from backup_to_image.model import ImageOrder, LaunchOrder
from backup_to_image.otc import Cloud, Credentials, Exchange
from backup_to_image.settings import Settings
from backup_to_image.steps.context import Context

_ROUTER = Router()
# Changes nothing although it is not a GET: a token is no thing, a dry run is a question.
_HARMLESS = {"createToken", "queryImagesByTag", "getConsoleOutput"}


@dataclass
class Asked:
    """One request as it left the client."""

    operation: str | None
    method: str
    path: str
    body: Any
    at: float
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    content: bytes = b""
    status: int | None = None
    """None where no answer came."""
    answer: bytes = b""
    over: float | None = None
    """When the answer came, or the connection was cut; None where the client was stopped meanwhile."""

    @property
    def writes(self) -> bool:
        dry = isinstance(self.body, dict) and self.body.get("dry_run") is True
        return self.method not in {"GET", "HEAD"} and self.operation not in _HARMLESS and not dry


@dataclass
class Ended:
    """How a command ended: exit code, standard output and error, and its one JSON object."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """The JSON object: exactly one, on one line, and nothing else on standard output."""
        assert self.out.count("\n") == 1, f"not one line on standard output:\n{self.out}\n{self.err}"
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> dict[str, Any]:
        found = self.told["error"]
        assert set(found) == {"code", "message", "action", "retryable"}
        return found

    @property
    def refusals(self) -> dict[str, dict[str, Any]]:
        """The refused checks by rule."""
        return {check["rule"]: check for check in self.told["report"]["checks"] if check["verdict"] == "refused"}

    @property
    def refused_anywhere(self) -> list[dict[str, Any]]:
        """Refused checks of the order, of a plan and of a proof; none where people read it."""
        told = json.loads(self.out) if self.out.startswith("{") and self.out.count("\n") == 1 else {}
        parts = [part["checks"] for part in (told.get("report"), told.get("plan")) if part and "checks" in part]
        return [one for checks in (*parts, told.get("proof") or []) for one in checks if one["verdict"] == "refused"]

    def verdict(self, rule: str) -> str:
        return next(check["verdict"] for check in self.told["report"]["checks"] if check["rule"] == rule)


class Killed(BaseException):
    """What ends a run in the middle, so that it can say no more: the nearest to kill -9 that one process can do to itself."""


class _Recorder(httpx.AsyncBaseTransport):
    """Passes requests on and writes down what was asked."""

    def __init__(self, region: "Region") -> None:
        self.region = region
        self.inner = region.emulator.transport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        region = self.region
        service = region.emulator.cloud.service_on(request.url.port) or ""
        operation, _, _ = _ROUTER.find(service, request.method, request.url.path)
        body = await request.aread()
        asked = Asked(
            operation.id if operation else None,
            request.method,
            request.url.path,
            json.loads(body) if body else None,
            region.clock.now().timestamp(),
            request.url.query.decode(),
            dict(request.headers),
            body,
        )
        region.asked.append(asked)
        for watcher in region.watchers:
            watcher(asked)
        try:
            status = region.instead.get(operation.id if operation else "")
            response = httpx.Response(status, content=b"") if status else await self.inner.handle_async_request(request)
        except httpx.TransportError:
            asked.over = region.clock.now().timestamp()
            raise
        asked.answer = await response.aread()
        asked.status = response.status_code
        for watcher in region.answered:
            watcher(asked)
        asked.over = region.clock.now().timestamp()
        return response


class _Terminal(io.StringIO):
    """Standard input of somebody who sits there."""

    def isatty(self) -> bool:
        return True


@dataclass
class Region:
    """One emulated region and the folder from which somebody works with it."""

    folder: Path
    seed: str | Mapping[str, Any] = "demo"
    state: str | Path = ":memory:"
    clock: FakeClock = field(default_factory=FakeClock)
    asked: list[Asked] = field(default_factory=list)
    watchers: list[Callable[[Asked], None]] = field(default_factory=list)
    """Called with every request before the region has it; `answered`, when it has had its effect and before the client knows."""
    answered: list[Callable[[Asked], None]] = field(default_factory=list)
    instead: dict[str, int] = field(default_factory=dict[str, int])
    """The status of answers without a body that are given in place of the region's, by operation."""
    by_flow: Mapping[str, Callable[["Region", Options], None]] = field(default_factory=dict[str, Any])
    """Commands that are not done here, but by their flow; of a command with parts such as `runbook drill`, those."""
    columns: int = 200
    """Of the terminal."""
    listens: bool = False
    """Whether time also passes for guests while nobody asks the region anything; needed where probes are asked."""

    def __post_init__(self) -> None:
        self.emulator = Emulator(clock=self.clock, seed=self.seed, state=self.state)
        self.account = self.emulator.account()
        self.write_clouds()
        self.write_settings()

    # -- the files ------------------------------------------------------------------------------------------------------

    def write_clouds(self, **changes: Any) -> None:
        account, guest = self.account, self.account["recipient"]
        shop = {
            "username": account["user"],
            "password": account["password"],
            "project_id": account["project_id"],
            "user_domain_name": account["domain_name"],
            "auth_url": account["auth_url"],
        } | changes
        clouds = {"shop": {"auth": shop, "region_name": account["region"]}}
        if "second_project" in account:
            clouds["dr"] = {"auth": shop | {"project_id": account["second_project"]}, "region_name": account["region"]}
        partner = {
            "username": guest["user"],
            "password": guest["password"],
            "project_id": guest["project_id"],
            "user_domain_name": guest["domain_name"],
            "auth_url": account["auth_url"],
        }
        clouds["partner"] = {"auth": partner, "region_name": account["region"]}
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": clouds}))

    def write_settings(self, **changes: Any) -> None:
        known = {"dr": self.account.get("second_project"), "partner": self.account["recipient"]["project_id"]}
        told = {
            "projects": {name: ident for name, ident in known.items() if ident},
            "journal": "journal",
            "directories": {"launch": ".", "runbooks": "."},
        } | changes
        (self.folder / "b2i.yaml").write_text(yaml.safe_dump(told))

    def write_launch(self, **changes: Any) -> str:
        """A launch order that fits the region, with changes; None takes a key out."""
        told = self.launch() | changes
        (self.folder / "launch.yaml").write_text(yaml.safe_dump({key: value for key, value in told.items() if value is not None}))
        return "launch.yaml"

    def launch(self) -> dict[str, Any]:
        account = self.account
        return {
            "name": "shop-restored",
            "flavor": account["flavor"],
            "network": {
                "vpc": account["vpc"],
                "subnet": account["subnet"],
                "security_groups": [account["security_group"]],
            },
        }

    @property
    def journal(self) -> Path:
        return self.folder / "journal"

    # -- the ways in ----------------------------------------------------------------------------------------------------

    def b2i(
        self, *arguments: str, cloud: str = "shop", json: bool = True, typed: str | None = None, network: bool = False
    ) -> Ended:
        """Run one command as the console script does, in the folder, with nothing but its own environment.

        `typed`: what somebody at a terminal types; `network`: over real sockets, without the region.
        """
        given = ["--cloud", cloud, *(["--json"] if json else []), *arguments]
        out, err = io.StringIO(), io.StringIO()
        here = _without_prefect() if "--prefect" in arguments else contextlib.nullcontext()
        with here, _standing_in(self.folder, self.columns), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            stdin, sys.stdin = sys.stdin, _Terminal(typed) if typed is not None else io.StringIO()
            try:
                options = Options(connect=None if network else self.connect, clock=None if network else self.clock)
                if by_flow := self.by_flow.get(arguments[0]) or self.by_flow.get(" ".join(arguments[:2])):
                    given.insert(0, "--prefect")
                    by_flow(self, options)
                run(given, options=options)
            except SystemExit as ended:
                code = ended.code
            finally:
                sys.stdin = stdin
        assert "Traceback" not in err.getvalue(), err.getvalue()
        for secret in (self.account["password"], self.account["sk"], self.account["recipient"]["password"]):
            assert secret not in out.getvalue() + err.getvalue()
        ended = Ended(int(code or 0), out.getvalue(), err.getvalue())
        for check in ended.refused_anywhere:
            assert check["page"], f"this refusal names no page: {check}"
        return ended

    @asynccontextmanager
    async def connect(
        self, credentials: Credentials, *, trace: Callable[[Exchange], None] | None = None
    ) -> AsyncGenerator[Cloud]:
        async with self._alive(), Cloud.connect(credentials, clock=self.clock, transport=_Recorder(self), trace=trace) as cloud:
            yield cloud

    @asynccontextmanager
    async def context(
        self, journal: str = "journal", cloud: str = "shop", tell: Callable[[str], None] | None = None
    ) -> AsyncGenerator[Context]:
        """For what two runs do in one process: the steps, connected."""
        entry = yaml.safe_load((self.folder / "clouds.yaml").read_text())["clouds"][cloud]["auth"]
        async with self.connect(Credentials(**entry)) as connected:
            await connected.login()
            settings = Settings(projects=yaml.safe_load((self.folder / "b2i.yaml").read_text())["projects"])
            yield Context(connected, await Journal.at(self.folder / journal, clock=self.clock).open(), settings, tell=tell)

    @asynccontextmanager
    async def _alive(self) -> AsyncGenerator[None]:
        beating = asyncio.create_task(self._beat()) if self.listens else None
        try:
            yield
        finally:
            if beating:
                beating.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await beating
            self.emulator.cloud.guests.close()

    async def _beat(self) -> None:
        while True:
            await self.clock.sleep(5.0)
            await self.emulator.settle()

    # -- what was asked, and what there is ------------------------------------------------------------------------------

    def sent(self, *operations: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.operation in operations]

    @property
    def writes(self) -> list[str | None]:
        """What could have made, changed or removed something."""
        return [asked.operation for asked in self.asked if asked.writes]

    def forget(self) -> None:
        self.asked.clear()

    def launched(self) -> list[dict[str, Any]]:
        """The servers that carry a mark of ours."""
        return [
            server
            for server in self.things("server")
            if any(key.startswith("b2i-") for key in server["tags"]) and server["status"] != "DELETED"
        ]

    def images_of(self, backup_id: str) -> list[dict[str, Any]]:
        return [image for image in self.things("image") if image["backup_id"] == backup_id]

    def things(self, kind: str, **equal: Any) -> list[dict[str, Any]]:
        self.emulator.tick()
        return list(self.emulator.cloud.walk(kind, **equal))

    def named(self, kind: str, name: str) -> dict[str, Any]:
        return next(thing for thing in self.emulator.cloud.walk(kind) if thing.get("name") == name)

    def change(self, kind: str, thing: dict[str, Any], **changes: Any) -> None:
        """Somebody else changes something."""
        thing.update(changes)
        self.emulator.cloud.save(kind, thing)

    def make_image_by_hand(self, backup_id: str, name: str = "by hand") -> dict[str, Any]:
        """Somebody makes an image of this backup in the console, in no time."""
        cloud = self.emulator.cloud
        kept = cloud.get("backup", backup_id) or {}
        image = cloud.new("image", image_document(kept, project=kept["project"], name=name, created_at=cloud.stamp()))
        activate(cloud, image, cloud.now())
        return image

    @contextlib.contextmanager
    def killing(self, operation: str, skip: int = 0) -> Iterator[None]:
        """Whatever runs in here is killed when it is about to send this request; in vain if it never does.

        Of a fleet only the server that sends it dies without a word; the others are called off.
        """
        left = skip

        def kill(asked: Asked) -> None:
            nonlocal left
            if asked.operation == operation:
                left -= 1
                if left < 0:
                    raise Killed(operation)

        self.watchers.append(kill)
        try:
            yield
        except* Killed:
            pass
        else:
            raise AssertionError(f"{operation} was never sent")
        finally:
            self.watchers.remove(kill)

    def arm(self, fault: str, **how: Any) -> None:
        self.emulator.faults.arm(fault, **how)

    def restart(self) -> None:
        """The region goes down and comes back with what its state file kept."""
        self.emulator.close()
        self.emulator = Emulator(clock=self.clock, state=self.state)

    def close(self) -> None:
        self.emulator.cloud.guests.close()
        self.emulator.close()


def image_order(backup_id: str, **more: Any) -> ImageOrder:
    return ImageOrder(backup_id=backup_id, **({"timeout": timedelta(hours=2)} | more))


def launch_order(region: Region, **changes: Any) -> LaunchOrder:
    return LaunchOrder.model_validate(region.launch() | changes)


@contextlib.contextmanager
def _without_prefect() -> Iterator[None]:
    """Whoever runs b2i here has no Prefect server, although another test of this process may have one."""
    if "prefect.settings" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@contextlib.contextmanager
def _standing_in(folder: Path, columns: int) -> Iterator[None]:
    before, environ = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ["COLUMNS"] = str(columns)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.clear()
        os.environ.update(environ)
