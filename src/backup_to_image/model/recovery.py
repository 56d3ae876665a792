"""One run of a runbook: what it has done so far, as the journal keeps it, and what it measured, as the evidence tells it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, ConfigDict

from backup_to_image.model.cloud import Value
from backup_to_image.model.results import ProbeResult
from backup_to_image.model.runbook import StepKind

__all__ = [
    "Answer",
    "GroupState",
    "Leg",
    "Measured",
    "Note",
    "Question",
    "RunGroup",
    "RunMode",
    "RunServer",
    "RunState",
    "RunStep",
    "RunbookRun",
    "Said",
    "ServerState",
]

RunMode = Literal["drill", "failover"]
RunState = Literal["open", "stopped", "over", "done"]
"""open: somebody is at it, or has crashed. stopped: by a person, or by a failed group; it can be gone on with. over: nothing is
left to do but its evidence. done: its evidence is kept."""
GroupState = Literal["waiting", "running", "up", "failed", "skipped"]
ServerState = Literal["waiting", "making", "launching", "up", "failed"]
Said = Literal["go", "stop", "skip", "retry"]


class _Kept(Value):
    """What the journal keeps; keys of a newer version are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Answer(_Kept):
    """What was said to a question, by whom, and when."""

    said: Said
    """Of an approval or something done by hand: go, stop, skip. Of a failed group: retry, skip, stop; go takes it as it is."""
    by: str
    at: AwareDatetime
    note: str = ""
    how: Literal["terminal", "command", "form", "option", "nobody"]
    """nobody: its time was up, and what the runbook says of that holds. option: `--approve-all`."""


class Question(_Kept):
    """Something that a person is asked, once."""

    id: str
    """The same for the same question after a crash."""
    group: str
    about: Literal["approve", "manual", "failed"]
    words: str
    asked_at: AwareDatetime
    until: AwareDatetime
    when_silent: Literal["go", "stop", "skip"]
    answer: Answer | None = None

    @property
    def choices(self) -> tuple[Said, ...]:
        return ("retry", "skip", "stop", "go") if self.about == "failed" else ("go", "skip", "stop")


class RunStep(_Kept):
    """One step of a group."""

    when: Literal["before", "then"]
    kind: StepKind
    words: str
    state: Literal["open", "running", "asked", "done", "skipped", "stopped", "failed"] = "open"
    """skipped, stopped: what somebody has answered."""
    began_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    question: Question | None = None
    earlier: tuple[Question, ...] = ()
    """What was asked for it before the run was stopped, or its group was skipped, and gone on with."""
    told: str = ""
    """What came of it: the answer of an HTTP call, a command's output, why it failed."""


class RunServer(_Kept):
    """One server that comes back."""

    source: str
    """As the runbook names it."""
    name: str
    """What the new server is called in its launch order."""
    server_id: str | None = None
    """The source's id."""
    image_id: str | None = None
    image_name: str | None = None
    backup_id: str | None = None
    """The backup behind the image, where it is to be seen."""
    taken_at: AwareDatetime | None = None
    """When that backup was made: the state that the server comes back with."""
    make_first: bool = False
    """Its image was not there and is made of the backup first; that time counts."""
    findings: tuple[str, ...] = ()
    """What its readiness had to say against it when the run began."""
    state: ServerState = "waiting"
    began_at: AwareDatetime | None = None
    image_at: AwareDatetime | None = None
    """When its image was there, where it was made first."""
    ended_at: AwareDatetime | None = None
    """When its probes had answered, or it was given up."""
    launch_id: str | None = None
    server_ids: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    probed: bool = False
    """False where its launch order asks for no probes: that it is ACTIVE is the proof."""
    verified: bool = False
    """Its image was marked as verified."""
    drift: tuple[str, ...] = ()
    """What is other than at its source; information."""
    code: str = ""
    reason: str = ""
    """Why it failed, in the cloud's words where it has some."""
    action: str = ""
    gone_at: AwareDatetime | None = None
    """When nothing was left of it, in a drill."""
    left_behind: tuple[str, ...] = ()


class RunGroup(_Kept):
    """Servers that come back side by side, and the steps around them."""

    name: str
    needs: tuple[str, ...] = ()
    state: GroupState = "waiting"
    began_at: AwareDatetime | None = None
    """When it was its turn; absent while it waits for others."""
    ended_at: AwareDatetime | None = None
    attempts: int = 0
    steps: tuple[RunStep, ...] = ()
    servers: tuple[RunServer, ...] = ()
    questions: tuple[Question, ...] = ()
    """Asked after it had failed, one for each time."""
    reason: str = ""
    """Why it failed or was skipped, or was taken as it is."""
    lacking: tuple[str, ...] = ()
    """Groups that it needs and that did not come up, which is why it was skipped."""

    @property
    def asked(self) -> Iterator[Question]:
        """Every question of the group, answered or not."""
        for step in self.steps:
            yield from step.earlier
            yield from (step.question,) if step.question else ()
        yield from self.questions


class Note(_Kept):
    """What somebody has to say of a run."""

    at: AwareDatetime
    by: str
    text: str


class RunbookRun(_Kept):
    """One run of a runbook, as a drill or for real."""

    id: str
    runbook: str
    mode: RunMode
    project_id: str
    region: str = ""
    by: str = ""
    """Who has started it, as far as this host knows."""
    flow_run: str | None = None
    """The flow run that is, or was last, at it; None where `b2i` is."""
    host: str = ""
    version: str = ""
    """Of backup-to-image."""
    file: str = ""
    """The file's name."""
    text: str = ""
    """The runbook as it was run, word by word."""
    sha256: str = ""
    """Of that text."""
    began_at: AwareDatetime
    ended_at: AwareDatetime | None = None
    """When the last group had ended; a drill's servers are taken down after that."""
    cleared_at: AwareDatetime | None = None
    """When the servers of a drill were gone."""
    rto_target_s: int | None = None
    rpo_target_s: int | None = None
    state: RunState = "open"
    ends: int = 0
    """How often it had ended before it was gone on with."""
    outcome: Literal["made", "partly", "failed"] | None = None
    """made: every group is up, and every server has answered. partly: some are. failed: none is."""
    stopped: str = ""
    """Why it was stopped, and by whom; empty where it was not."""
    groups: tuple[RunGroup, ...]
    notes: tuple[Note, ...] = ()
    findings: tuple[str, ...] = ()
    """What the readiness of the whole set had to say against it when the run began."""
    interruptions: tuple[AwareDatetime, ...] = ()
    """When it was gone on with after a crash or a pause."""
    evidence: str | None = None
    """Where its record lies, once it is kept."""
    evidence_sha256: str | None = None
    """Of that record: whoever keeps this elsewhere can tell later whether anything was changed."""

    @property
    def servers(self) -> tuple[tuple[RunGroup, RunServer], ...]:
        return tuple((group, server) for group in self.groups for server in group.servers)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Every question that was asked, in the order of asking."""
        asked = (question for group in self.groups for question in group.asked)
        return tuple(sorted(asked, key=lambda question: question.asked_at))

    @property
    def open_questions(self) -> tuple[Question, ...]:
        """What somebody can still answer; of a run that is over, nothing."""
        over = self.state in {"over", "done"}
        return () if over else tuple(question for question in self.questions if question.answer is None)

    @property
    def left_behind(self) -> tuple[str, ...]:
        """What of a drill is still there, and is billed."""
        return tuple(left for _, server in self.servers for left in server.left_behind)

    def group(self, name: str) -> RunGroup:
        return next(group for group in self.groups if group.name == name)


class Leg(_Kept):
    """A stretch of the critical path: what everything that came later waited for."""

    group: str
    what: str
    """A server's name, a step's words, or what else it was, such as `launches of database`."""
    began_at: datetime
    ended_at: datetime

    @property
    def seconds(self) -> float:
        return (self.ended_at - self.began_at) / timedelta(seconds=1)


class Measured(_Kept):
    """What a run took, against its targets. Seconds."""

    rto_s: int | None
    """From its beginning until the last server had answered; None where one has not, so that there is no such moment."""
    rpo_s: int | None
    """How old the oldest state was when the run began; None where one is not known."""
    rto_met: bool | None
    """None: the runbook has no target."""
    rpo_met: bool | None
    groups: dict[str, int | None]
    """The same for each group; None also for one without servers."""
    servers: dict[str, int | None]
    """The same for each server, by its source."""
    critical: tuple[Leg, ...]
    """From the run's beginning to its end, without gaps where it was at work."""
    people_s: int
    """How much of the critical path was waiting for people."""
