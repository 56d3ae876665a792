"""Orders of runbooks: whether one could be run, a drill, a failover; and what people answer to its questions."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from backup_to_image.errors import UsageError
from backup_to_image.forms.action import ActionForm
from backup_to_image.forms.fields import field
from backup_to_image.forms.files import runbook_named
from backup_to_image.model.recovery import RunMode
from backup_to_image.settings import Settings
from backup_to_image.steps.launching.plan import Mode
from backup_to_image.steps.runbook.file import RunbookFile

__all__ = [
    "ApprovalAnswer",
    "DrillForm",
    "FailoverForm",
    "FailureAnswer",
    "RunbookAnswer",
    "RunbookCheckForm",
    "RunbookForm",
    "RunbookReportForm",
]

_FILE = "File name of a runbook in the worker's directory (directories.runbooks of b2i.yaml), such as shop.yaml."


class RunbookCheckForm(ActionForm):
    """Whether a runbook could be run now; nothing is made."""

    verb: ClassVar[str] = "runbook-check"
    deployment: ClassVar[str] = "runbook-check/of-a-runbook"

    runbook: str = field(0, "Runbook", _FILE)
    run_as: Literal["all", "drill", "failover"] = field(
        1, "As", "As a drill, for real (failover), or as all that its file allows.", "all"
    )

    @property
    def words(self) -> tuple[str, ...]:
        return (self.runbook, *(() if self.run_as == "all" else ("--as", self.run_as)))

    @property
    def command(self) -> str:
        return shlex.join(("b2i", "runbook", "check", *self.words))

    @property
    def modes(self) -> tuple[Mode, ...] | None:
        """None: all that its file allows."""
        return None if self.run_as == "all" else (self.run_as,)

    def file(self, settings: Settings) -> RunbookFile:
        """The runbook of that name. Raises UsageError with every mistake."""
        return runbook_named(self.runbook, settings)


class RunbookForm(ActionForm):
    """A runbook that is run. The same order again goes on with the run that is unfinished."""

    mode: ClassVar[RunMode]

    runbook: str = field(0, "Runbook", _FILE)
    by: str = field(1, "Your name", "Who runs it; it stands in the evidence.", "")
    approve_all: bool = field(
        2,
        "Nobody is there",
        "Say go to every approval, and stop where something fails. Off: the run is suspended and asks.",
        False,
    )
    anyway: bool = field(3, "Anyway", "Begin although not every server is ready: what cannot come back fails its group.", False)

    @property
    def words(self) -> tuple[str, ...]:
        options = [*(("--by", self.by) if self.by else ())]
        options += ["--approve-all"] if self.approve_all else []
        options += ["--anyway"] if self.anyway else []
        return (self.runbook, *options)

    @property
    def command(self) -> str:
        return shlex.join(("b2i", "runbook", self.mode, *self.words))

    @property
    def once_more(self) -> bool:
        """Whether a further run is meant, although the last has ended."""
        return False

    def file(self, settings: Settings) -> RunbookFile:
        """The runbook of that name. Raises UsageError with every mistake."""
        return runbook_named(self.runbook, settings)


class DrillForm(RunbookForm):
    """A runbook's servers beside those that are there, proven and taken down again."""

    verb: ClassVar[str] = "runbook-drill"
    deployment: ClassVar[str] = "runbook-drill/of-a-runbook"
    mode: ClassVar[RunMode] = "drill"


class FailoverForm(RunbookForm):
    """A runbook's servers for real: they stay, and are billed."""

    verb: ClassVar[str] = "runbook-failover"
    deployment: ClassVar[str] = "runbook-failover/of-a-runbook"
    mode: ClassVar[RunMode] = "failover"

    name: str = field(
        4, "Its name", "The runbook's name once more, to say that it is meant for real: servers are launched and stay."
    )
    again: bool = field(5, "Again", "A further run, although the last has ended; servers of the same images are adopted.", False)

    @property
    def words(self) -> tuple[str, ...]:
        return (*super().words, "--yes-i-mean", self.name, *(("--again",) if self.again else ()))

    @property
    def once_more(self) -> bool:
        return self.again

    def file(self, settings: Settings) -> RunbookFile:
        """The runbook of that name. Raises UsageError with every mistake, and where it is not called as was said."""
        file = super().file(settings)
        if self.name != file.runbook.name:
            wrong = f"Nothing was launched: {self.name!r} is not the runbook's name."
            raise UsageError(wrong, action=f"Its name is {file.runbook.name}.")
        return file


class RunbookReportForm(ActionForm):
    """A record of evidence, looked at whether it and its chain are whole; nothing is made."""

    verb: ClassVar[str] = "runbook-report"
    deployment: ClassVar[str] = "runbook-report/of-a-record"

    record: str = field(
        0, "Record", "File name of a record in the worker's evidence directory, such as shop-drill-20261129-130501-0a1b.json."
    )
    head: str = field(1, "Hash", "A hash from a printed page or a message, or its first 16 digits: the chain has to hold it.", "")

    @property
    def words(self) -> tuple[str, ...]:
        return (self.record, "--verify", *(("--head", self.head) if self.head else ()))

    @property
    def command(self) -> str:
        return shlex.join(("b2i", "runbook", "report", *self.words))

    def path(self, settings: Settings) -> Path:
        """Where it lies. Raises UsageError for what is no plain file name: a form leads nowhere else."""
        if self.record != Path(self.record).name:
            raise UsageError(f"Record {self.record!r} is no file name.", action="Write the name alone, without a folder.")
        return settings.evidence_folder(os.environ) / self.record


class RunbookAnswer(BaseModel):
    """What somebody says to a question of a run, in the dialog that goes on with it."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    name: str = field(1, "Your name", "Who decides; it is kept with the answer.", min_length=1)
    note: str = field(2, "Note", "Why, if there is something to say; it stands in the evidence.", "")


class ApprovalAnswer(RunbookAnswer):
    """Of an approval, or something done by hand."""

    decision: Literal["go", "skip", "stop"] = field(
        0, "Decision", "go on; skip the group and those that need it; or stop the run."
    )


class FailureAnswer(RunbookAnswer):
    """Of a group that has failed."""

    decision: Literal["retry", "skip", "stop", "go"] = field(
        0, "Decision", "retry the group; skip it and those that need it; stop the run; or go: take it as it is."
    )
