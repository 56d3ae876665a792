"""Events of what runs only in a whole installation are sent as they are declared, too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from prefect.events import Event

from backup_to_image.model import ChangeDelivery, Image
from backup_to_image.model.events import EVENTS, declared
from backup_to_image.steps.sharing.offers import Answered
from tasks.events import offer_answered, os_changed, runbook_asks, runbook_finished
from tests.support.runs import answered, drill

pytestmark = pytest.mark.usefixtures("server")
Events = Callable[[], Awaitable[list[Event]]]


async def test_what_a_runbook_asks_and_how_it_ended_are_told_as_declared(events: Events) -> None:
    run = drill(evidence="evidence/shop.json", evidence_sha256="ab" * 32)
    runbook_asks(run, answered(3, None, about="approve", words="Is the newest order there?"))
    runbook_finished(run, "The drill went well.")
    asks, finished = await events()  # which holds each against its declaration
    assert (asks.event, finished.event) == ("b2i.runbook.asks", "b2i.runbook.finished")
    assert asks.resource.name == "shop, all: Is the newest order there?"
    assert (asks.payload["about"], asks.payload["until"]) == ("approve", "2026-11-29T17:08:01Z")
    assert finished.resource["b2i.outcome"] == run.outcome
    assert (finished.payload["sha256"], finished.payload["summary"]) == ("ab" * 32, "The drill went well.")


async def test_a_changed_server_and_an_answered_offer_are_told_as_declared(events: Events) -> None:
    given: dict[str, Any] = {"server_name": "shop-web-01", "image_id": "i-1", "status": "ACTIVE", "system_disk_id": "d-2"}
    os_changed(
        ChangeDelivery(
            outcome="made",
            server_id="s-1",
            old_system_disk_id="d-1",
            data_disks=(),
            adopted=False,
            job_id=None,
            probed=False,
            **given,
        )
    )
    image = Image(id="i-1", name="shop-web", status="active", visibility="shared", owner="0123456789abcdef0123456789abcdef")
    offer_answered(Answered(image=image, state="rejected", adopted=True))
    changed, rejected = await events()
    assert (changed.event, changed.resource.id) == ("b2i.server.changed", "b2i.server.s-1")
    assert (rejected.event, rejected.payload["vault_id"], rejected.payload["adopted"]) == ("b2i.offer.rejected", None, True)


def test_each_name_belongs_to_one_kind_of_event_and_any_other_to_none() -> None:
    names = [name.replace("COMMAND", "hand-over") for kind in EVENTS for name in kind.names]
    assert len(names) == len(set(names))
    assert [name for name in names if declared(name) is None] == []
    assert declared("b2i.image.lost") is None
