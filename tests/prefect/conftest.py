"""A project of the emulated cloud behind a block, and a whole installation for those tests that need one."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from pydantic import PrivateAttr, SecretStr

from backup_to_image.blocks import OtcProject
from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.model.events import declared
from backup_to_image.otc import Cloud
from tests.support.house import House, open_house


@pytest.fixture(scope="session")  # made once, whatever runs in between
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One installation serves all who need one (tests.support.together). Who stops one of its processes starts another."""
    with open_house(tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest.fixture(scope="session")
def partner(house: House) -> str:
    """The project of somebody with whom the house's images are shared; its block is called partner."""
    house.meet("partner")
    return str(house.account["recipient"]["project_id"])


class Overheard(httpx.AsyncBaseTransport):
    """The way to the region, and every token that went along it."""

    def __init__(self, region: Emulator, tokens: set[str]) -> None:
        self._inner = region.transport()
        self._tokens = tokens

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._inner.handle_async_request(request)
        for headers in (request.headers, answer.headers):
            self._tokens |= {headers[name] for name in ("x-auth-token", "x-subject-token") if name in headers}
        return answer


class EmulatedProject(OtcProject):
    """An OtcProject whose region is in this process and whose time passes by itself."""

    _block_type_name: ClassVar[str | None] = "Emulated OTC project"
    _block_type_slug: ClassVar[str | None] = "emulated-otc-project"
    _region: Emulator | None = PrivateAttr(default=None)
    _tokens: set[str] = PrivateAttr(default_factory=set)

    @property
    def tokens(self) -> set[str]:
        return self._tokens

    def inside(self, region: Emulator) -> EmulatedProject:
        self._region = region
        return self

    def cloud(self) -> Cloud:
        assert self._region is not None
        return Cloud.connect(self.credentials(), clock=self._region.cloud.clock, transport=Overheard(self._region, self._tokens))


def as_declared(event: Event) -> None:
    """Its name, labels and payload are those of its declaration, key by key."""
    kind = declared(event.event)
    assert kind is not None, f"{event.event} is declared nowhere in backup_to_image.model.events"
    assert kind.model_validate(event.payload).payload() == event.payload
    ours = set(event.resource.root) - {"prefect.resource.id", "prefect.resource.name"}
    assert ours == set(kind.labels), event.event
    assert re.fullmatch(r"b2i(\.[A-Za-z0-9_.-]+)+", event.resource.id), event.resource.id


@pytest.fixture
def events() -> Iterator[Callable[[], Awaitable[list[Event]]]]:
    """What was emitted since, oldest first; each is what docs/reference/events.md declares."""
    AssertingEventsClient.reset()
    EventsWorker.set_client_override(AssertingEventsClient)

    async def emitted() -> list[Event]:
        drained = EventsWorker.drain_all()
        if inspect.isawaitable(drained):
            await drained
        ours = [event for client in AssertingEventsClient.all for event in client.events if event.event.startswith("b2i.")]
        for event in ours:
            as_declared(event)
        return ours

    yield emitted
    EventsWorker.set_client_override(None)


@pytest.fixture
def region() -> Iterator[Emulator]:
    emulator = Emulator(clock=FakeClock())
    yield emulator
    emulator.close()


@pytest.fixture
def account(region: Emulator) -> dict[str, Any]:
    return region.account()


@pytest.fixture
def settings_file(tmp_path: Path, account: dict[str, Any]) -> Path:
    (tmp_path / "launch").mkdir()
    (tmp_path / "policies").mkdir()
    (tmp_path / "launch" / "shop.yaml").write_text(
        textwrap.dedent(f"""\
        name: shop-restored
        flavor: {account["flavor"]}
        network: {{vpc: {account["vpc"]}, subnet: {account["subnet"]}, security_groups: [{account["security_group"]}]}}
        """)
    )
    file = tmp_path / "b2i.yaml"
    file.write_text(
        textwrap.dedent(f"""\
        projects: {{dr: {account["second_project"]}}}
        journal: journal
        directories: {{launch: launch, policies: policies}}
        """)
    )
    return file


@pytest.fixture
def project(region: Emulator, account: dict[str, Any], settings_file: Path) -> EmulatedProject:
    return EmulatedProject(
        auth_url=account["auth_url"],
        region=account["region"],
        domain_name=account["domain_name"],
        project_name=account["project_name"],
        username=account["user"],
        password=SecretStr(account["password"]),
        settings_file=str(settings_file),
    ).inside(region)
