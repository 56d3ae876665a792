"""Runs of runbooks that were never run: everything that evidence has to tell."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_to_image.model.recovery import Answer, Note, Question, RunbookRun, RunGroup, RunServer, RunStep
from backup_to_image.model.results import ProbeResult

__all__ = ["BEGAN", "answered", "at", "drill", "group", "run", "server", "step"]

BEGAN = datetime(2026, 11, 29, 13, 5, 1, tzinfo=UTC)
BOOK = """\
name: shop
targets: {rto: 1h, rpo: 26h}
drill: {network: {vpc: drill-vpc, subnet: drill-net, security_groups: [drill-sg]}}
groups:
  - name: database
    servers: [{source: shop-db-01, probes: [{tcp: 5432}]}]
    then: [{approve: "Is the data right? Look at the newest order."}]
  - name: shop
    needs: [database]
    before: [{http: {url: "http://hooks.example/maintenance"}}]
    servers: [{source: shop-app-01}, {source: shop-web-01}]
    then: [{manual: "Switch the shop's name to the new address"}]
  - name: mail
    on_failure: ask
    servers: [{source: shop-mail-01}]
    then: [{command: [notify, "mail is back"]}]
"""


def at(minutes: float) -> datetime:
    """So many minutes after the run began."""
    return BEGAN + timedelta(minutes=minutes)


def server(source: str, began: float | None = 0, ended: float | None = 10, **given: Any) -> RunServer:
    """A server that came back, from one minute of the run to another."""
    values: dict[str, Any] = {
        "name": source,
        "state": "up",
        "began_at": None if began is None else at(began),
        "ended_at": None if ended is None else at(ended),
        "taken_at": BEGAN - timedelta(hours=9),
        "probed": True,
    }
    return RunServer(source=source, **values | given)


def step(words: str, began: float | None, ended: float | None, kind: Any = "http", when: Any = "before", **given: Any) -> RunStep:
    values: dict[str, Any] = {
        "state": "done",
        "began_at": None if began is None else at(began),
        "ended_at": None if ended is None else at(ended),
    }
    return RunStep(words=words, kind=kind, when=when, **values | given)


def answered(asked: float, answer: float | None, about: Any = "failed", **given: Any) -> Question:
    """A question, asked in one minute and answered in another."""
    said = {name: given.pop(name) for name in ("said", "by", "how", "note") if name in given}
    kept = None if answer is None else Answer(**{"said": "retry", "by": "ops", "how": "terminal", "at": at(answer)} | said)
    values: dict[str, Any] = {"id": f"q-{asked}", "group": "all", "words": "It has failed. What now?", "when_silent": "stop"}
    return Question(about=about, asked_at=at(asked), until=at(asked + 240), answer=kept, **values | given)


def group(name: str, *parts: RunServer | RunStep | Question, **given: Any) -> RunGroup:
    """A group of these servers, steps and questions after a failure."""
    values: dict[str, Any] = {
        "state": "up",
        "servers": tuple(part for part in parts if isinstance(part, RunServer)),
        "steps": tuple(part for part in parts if isinstance(part, RunStep)),
        "questions": tuple(part for part in parts if isinstance(part, Question)),
        "attempts": 1,
    }
    return RunGroup(name=name, **values | given)


def run(*groups: RunGroup, **given: Any) -> RunbookRun:
    """A run of these groups, over and done with."""
    values: dict[str, Any] = {
        "id": "shop-drill-20261129-130501-5f0c",
        "runbook": "shop",
        "mode": "drill",
        "project_id": "0123456789abcdef0123456789abcdef",
        "began_at": BEGAN,
        "state": "over",
        "outcome": "made",
    }
    return RunbookRun(groups=groups, **values | given)


def _probe(source: str, probe: str, answer: str, *, ok: bool = True) -> ProbeResult:
    return ProbeResult(server_id=f"id-{source}", probe=probe, ok=ok, answer=answer, seconds=4.2)


def drill(**given: Any) -> RunbookRun:
    """A drill in which something of everything happened: images made first, answers, a second try, steps, drift, notes."""

    def came_back(source: str, began: float, ended: float, **more: Any) -> RunServer:
        number = sum(map(ord, source)) % 1000
        values: dict[str, Any] = {
            "server_id": f"7de0fda5-5a3f-54ff-ac5d-{number:012}",
            "image_id": f"2b1d6a70-11c2-4d7e-9f6a-{number:012}",
            "image_name": f"{source}-20261129-040012",
            "backup_id": f"9a0e3a11-7a55-43c5-8d0c-{number:012}",
            "launch_id": f"{number:012x}",
            "server_ids": (f"c1c7a9b2-0d6e-4e5a-8f5d-{number:012}",),
            "addresses": (f"192.0.2.{number % 200}",),
            "probes": (_probe(source, "tcp 22", "connected"), _probe(source, "http 8080/health", "200 OK")),
            "verified": True,
            "gone_at": at(62),
        }
        return server(source, began, ended, **values | more)

    asked = answered(
        *(11, 19.5, "approve"),
        group="database",
        words="Is the data right? Look at the newest order.",
        said="go",
        by="a.meier",
        how="command",
        note="newest order is 4711 of 03:58",
    )
    by_hand = answered(
        *(44, 55, "manual"), group="shop", words="Switch the shop's name to the new address", said="go", by="k.lang", how="form"
    )
    failed = answered(
        *(9, 15), group="mail", words="Group mail has failed: shop-mail-01 did not answer tcp 25. What now?", by="a.meier"
    )
    groups = (
        group(
            "database",
            came_back("shop-db-01", 0.1, 11, drift=("flavor: s3.large.2, at the source s3.xlarge.2 (ordered)",)),
            step(asked.words, 11, 19.5, "approve", "then", question=asked),
            began_at=at(0.1),
            ended_at=at(19.5),
        ),
        group(
            "shop",
            step("GET http://hooks.example/maintenance", 19.5, 19.6, told="200 OK\nmaintenance page is on"),
            came_back("shop-app-01", 19.6, 44, make_first=True, image_at=at(32), findings=("image: none that the rule takes",)),
            came_back("shop-web-01", 19.6, 31),
            step(by_hand.words, 44, 55, "manual", "then", question=by_hand),
            needs=("database",),
            began_at=at(19.5),
            ended_at=at(55),
        ),
        group(
            "mail",
            came_back("shop-mail-01", 0.1, 24),
            failed,
            step("notify mail is back", 24, 24.2, "command", "then", told="sent to 3 people"),
            attempts=2,
            began_at=at(0.1),
            ended_at=at(24.2),
        ),
    )
    values: dict[str, Any] = {
        "region": "eu-de",
        "by": "a.meier",
        "host": "ops-1",
        "version": "0.1.0",
        "file": "shop.yaml",
        "text": BOOK,
        "sha256": hashlib.sha256(BOOK.encode()).hexdigest(),
        "rto_target_s": 3600,
        "rpo_target_s": 26 * 3600,
        "ended_at": at(55),
        "cleared_at": at(62),
        "notes": (Note(at=at(56), by="a.meier", text="The approval took long because nobody knew the newest order's number."),),
        "findings": ("people are asked twice",),
        "interruptions": (at(27),),
    }
    return run(*groups, **values | given)
