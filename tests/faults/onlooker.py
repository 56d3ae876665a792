"""Somebody who looks at the region itself while runbooks are run, and holds the runs' own records against what he saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup_to_image.journal import Journal
from backup_to_image.model.recovery import Answer, Question, RunbookRun, RunServer
from backup_to_image.steps.runbook.ledger import runs_of
from tests.support.region import Asked, Region

__all__ = ["Onlooker", "Sight"]

GONE = {"", "DELETED"}


@dataclass
class Sight:
    """One server of a drill, as the region had it: from when on in which state."""

    server_id: str
    mark: str
    image_id: str
    states: list[tuple[datetime, str]] = field(default_factory=list[tuple[datetime, str]])
    said: list[datetime] = field(default_factory=list[datetime])
    """When its console had what its probe looks for."""

    def at(self, when: datetime) -> str:
        """Its state then; "" where it was not there."""
        return next((state for since, state in reversed(self.states) if since <= when), "")

    @property
    def alive(self) -> bool:
        return self.states[-1][1] not in GONE


class Onlooker:
    """Sees every server that carries a drill's mark, at every request, and every answer that somebody's decision was kept as."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.sights: dict[str, Sight] = {}
        self.decided: dict[tuple[str, str], str] = {}
        """What was said to a question, by run and question, where b2i took it."""
        self.stops: dict[str, datetime] = {}
        """When somebody has ended a run that was at work."""
        self._answers: dict[tuple[str, str], Answer] = {}
        region.answered.append(self.see)

    # -- the region -----------------------------------------------------------------------------------------------------

    def see(self, asked: Asked | None = None) -> None:
        """Look at every drill's server; at no time are there two of one image."""
        now, there = self.region.clock.now(), dict[str, str]()
        for server in self.region.emulator.cloud.walk("server"):
            mark = server["tags"].get("b2i-drill")
            if mark:
                there[server["id"]] = server["status"]
                if server["id"] not in self.sights:
                    self.sights[server["id"]] = Sight(server["id"], mark, server["image_id"])
        for ident, sight in self.sights.items():
            state = there.get(ident, "")
            if not sight.states or sight.states[-1][1] != state:
                sight.states.append((now, state))
        if asked and asked.operation == "getConsoleOutput" and asked.status == 200 and b"login:" in asked.answer:
            ident = asked.path.split("/")[-2]
            if ident in self.sights:
                self.sights[ident].said.append(now)
        if asked and asked.operation == "createServers" and asked.writes:
            living = [sight.image_id for sight in self.sights.values() if sight.alive]
            twice = {image for image in living if living.count(image) > 1}
            assert not twice, f"two servers at a time of {twice}: {[s for s in self.sights.values() if s.image_id in twice]}"

    # -- the runs -------------------------------------------------------------------------------------------------------

    def runs(self) -> tuple[RunbookRun, ...]:
        """As the journal has them."""

        async def read() -> tuple[RunbookRun, ...]:
            async with Journal.at(self.region.journal, clock=self.region.clock) as journal:
                return await runs_of(journal)

        return asyncio.run(read())

    def answered(self) -> set[tuple[str, str]]:
        """Group and words of every step's question of an unfinished run that somebody has said go to."""
        kept = {
            (one["facts"]["runbook"], one["name"].partition(" ")[2])
            for one in (json.loads(place.read_text()) for place in self.region.journal.glob("runbook-answer-*.json"))
        }
        return {
            (question.group, question.words)
            for run in self.runs()
            if run.state == "open"
            for question in self._asked(run)
            if question.about != "failed"
            and ((run.id, question.id) in kept or (question.answer and question.answer.said == "go"))
        }

    def hold_against(self, runs: Iterable[RunbookRun]) -> None:
        """What the runs say of themselves is what was seen."""
        self.see()
        for run in runs:
            for _, server in run.servers:
                if server.state == "up":
                    self._up(run, server)
                if server.gone_at:
                    there = [sight for sight in self.sights.values() if sight.mark == server.launch_id]
                    assert all(sight.at(server.gone_at) in GONE for sight in there), f"said to be gone: {server}, {there}"
            self._asked_once(run)

    def came_up(self, run: RunbookRun) -> bool:
        """Whether the region saw every server of it, ACTIVE and answering, while it lasted."""
        return all(
            any(
                sight.image_id == server.image_id and any(run.began_at <= when <= (run.ended_at or when) for when in sight.said)
                for sight in self.sights.values()
            )
            for _, server in run.servers
        )

    def _up(self, run: RunbookRun, server: RunServer) -> None:
        assert server.ended_at, server
        assert server.began_at, server
        assert run.began_at <= server.began_at <= server.ended_at <= (run.ended_at or server.ended_at), server
        assert len(server.server_ids) == 1, server
        sight = self.sights.get(server.server_ids[0])
        assert sight, f"never seen: {server}"
        assert (sight.mark, sight.image_id) == (server.launch_id, server.image_id), (sight, server)
        assert sight.at(server.ended_at) == "ACTIVE", f"said to be up: {server}, {sight}"
        assert [probe.ok for probe in server.probes] == [True], server
        assert any(when <= server.ended_at for when in sight.said), f"its console never said it: {server}, {sight}"
        cloud = self.region.emulator.cloud
        image: dict[str, Any] = cloud.get("image", server.image_id or "") or {}
        backup: dict[str, Any] = cloud.get("backup", image["backup_id"]) or {}
        made = datetime.fromisoformat(backup["created_at"])
        assert server.taken_at, server
        assert server.taken_at.replace(microsecond=0) == made.replace(microsecond=0), (server, backup)

    @staticmethod
    def _asked(run: RunbookRun) -> list[Question]:
        return [question for group in run.groups for question in group.asked]

    def _asked_once(self, run: RunbookRun) -> None:
        """Every question has one answer, for ever, and it is the one that somebody gave."""
        asked = self._asked(run)
        assert len({question.id for question in asked}) == len(asked), f"asked twice: {asked}"
        for question in asked:
            key = (run.id, question.id)
            if question.answer is None:
                assert key not in self._answers, f"it was answered: {question}"
                continue
            before = self._answers.setdefault(key, question.answer)
            assert before == question.answer, f"another answer than before: {before}, {question}"
            said = self.decided.get(key, question.answer.said)
            assert question.answer.said == said, f"somebody has said {said}: {question}"
        for run_id, ident in self.decided:
            if run_id == run.id and run.state == "done" and not run.stopped:
                assert (run_id, ident) in self._answers, f"somebody's answer was lost: {ident}"
        if (stop := self.stops.get(run.id)) and run.state == "done" and not run.stopped:
            began = [one.began_at for group in run.groups for one in (*group.servers, *group.steps) if one.began_at]
            assert all(one <= stop for one in began), f"it was to end at {stop}: {run}"
