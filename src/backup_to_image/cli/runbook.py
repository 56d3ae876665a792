"""`b2i runbook`: which servers come back in a disaster, in which order; whether they could, as a drill, and for real."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.errors import UsageError

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model.recovery import RunMode, Said
    from backup_to_image.steps.runbook.file import RunbookFile

__all__ = ["BLANK", "CLEANED_BLANK", "DECIDED_BLANK", "REPORT_BLANK", "RUNS_BLANK", "RUN_BLANK", "command"]

F = TypeVar("F", bound=Callable[..., Any])

BLANK: dict[str, Any] = {
    "outcome": None,
    "runbook": None,
    "modes": [],
    "ready": None,
    "score": None,
    "at": None,
    "servers": [],
    "checks": [],
    "error": None,
}
RUN_BLANK: dict[str, Any] = {
    "outcome": None,
    "run": None,
    "runbook": None,
    "mode": None,
    "state": None,
    "began_at": None,
    "ended_at": None,
    "rto_s": None,
    "rpo_s": None,
    "rto_target_s": None,
    "rpo_target_s": None,
    "rto_met": None,
    "rpo_met": None,
    "groups": [],
    "critical_path": [],
    "people_s": None,
    "questions": [],
    "stopped": None,
    "left_behind": [],
    "evidence": None,
    "evidence_sha256": None,
    "error": None,
}
DECIDED_BLANK: dict[str, Any] = {"outcome": None, "run": None, "group": None, "words": None, "at_work": None, "error": None}
RUNS_BLANK: dict[str, Any] = {"outcome": None, "runs": [], "error": None}
CLEANED_BLANK: dict[str, Any] = {"outcome": None, "runs": [], "servers": [], "left_behind": [], "error": None}

_EPILOG = """\b
Examples:
  b2i runbook check runbooks/shop.yaml                 could it be run now, as a drill and for real
  b2i runbook drill runbooks/shop.yaml                 launch it beside what is there, prove it, take it down again
  b2i runbook failover runbooks/shop.yaml              for real; asks for the runbook's name
  b2i runbook status                                   which runs there are, and what they ask
  b2i runbook approve RUN application --reason "data is right"
  b2i runbook retry RUN web
"""


@click.group("runbook", epilog=_EPILOG)
def command() -> None:
    """Runbooks: which servers come back in a disaster, in which order, as drills and for real."""


@command.command("check")
@click.argument("runbook", metavar="RUNBOOK.yaml")
@click.option("--as", "run_as", type=click.Choice(["drill", "failover"]), help="Only as a drill, or only for real.")
@common_options
@click.pass_obj
def check(options: Options, runbook: str, run_as: Literal["drill", "failover"] | None) -> int:
    """Tell whether RUNBOOK.yaml could be run now: images, their age, launches, quotas, addresses; nothing is made.

    Each launch is planned by every rule and asked of the cloud's own dry run, then all of them together. Safe to repeat. Exit
    codes: 0 every server is ready; 3 one is not, or something could not be looked at.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.steps.runbook.file import read_runbook
        from backup_to_image.steps.runbook.readiness import check_readiness
        from backup_to_image.told.readiness import told_readiness

        if options.prefect:
            from backup_to_image.cli.submit import submit_order
            from backup_to_image.forms import RunbookCheckForm

            form = RunbookCheckForm(runbook=Path(runbook).name, run_as=run_as or "all")  # the worker's file decides
            return await submit_order(form, options, output)
        file = read_runbook(Path(runbook))
        async with connected(options, output, cloud_name=file.runbook.cloud) as ctx:
            return output.told(told_readiness(await check_readiness(file, ctx, modes=run_as and (run_as,))))

    return perform(options, work, blank=BLANK)


@dataclass(frozen=True)
class _Wishes:
    """How a run is to be gone about."""

    by: str | None
    approve_all: bool
    no_wait: bool
    anyway: bool = False
    again: bool = False


# -- runs ---------------------------------------------------------------------------------------------------------------


def _run_options(function: F) -> F:
    """What every command has that is at a run."""
    for option in (
        click.option("--by", metavar="NAME", help="Who runs it, and answers here; else whoever is logged in to this host."),
        click.option("--no-wait", is_flag=True, help="End with 4 where only people are waited for; the same command goes on."),
        click.option("--approve-all", is_flag=True, help="Nobody is there: go at every approval, stop where something fails."),
    ):
        function = option(function)
    return function


@command.command("drill")
@click.argument("runbook", metavar="RUNBOOK.yaml")
@click.option("--anyway", is_flag=True, help="Also where not every server is ready: what cannot come back fails its group.")
@_run_options
@common_options
@click.pass_obj
def drill(options: Options, runbook: str, anyway: bool, approve_all: bool, no_wait: bool, by: str | None) -> int:
    """Run RUNBOOK.yaml as a drill: launch its servers apart from what is there, prove them, take them down whatever came of it.

    Everything that speaks against it is told before anything is launched. Killed or stopped, the same command goes on with it.
    What it took is measured, and kept as evidence. Exit codes: 0 every group came up, within its targets, and nothing is left;
    3 refused, nothing was launched; 4 people are waited for, or another process is at it; 5 otherwise.
    """
    return _run(options, runbook, "drill", _Wishes(by, approve_all, no_wait, anyway))


@command.command("failover")
@click.argument("runbook", metavar="RUNBOOK.yaml")
@click.option("--yes-i-mean", metavar="NAME", help="The runbook's name, where nobody can be asked.")
@click.option("--anyway", is_flag=True, help="Also where not every server is ready: what cannot come back fails its group.")
@click.option("--again", is_flag=True, help="A further run, although the last has ended; servers of the same images are adopted.")
@_run_options
@common_options
@click.pass_obj
def failover(
    options: Options,
    runbook: str,
    yes_i_mean: str | None,
    anyway: bool,
    again: bool,
    approve_all: bool,
    no_wait: bool,
    by: str | None,
) -> int:
    """Run RUNBOOK.yaml for real: its servers are launched, and stay. Asks for the runbook's name first.

    Killed or stopped, the same command goes on with it: what is up stays up, what was answered is not asked again. Exit codes:
    0 every group is up, within its targets, or was before; 3 refused, nothing was launched; 4 people are waited for, or another
    process is at it; 5 otherwise.
    """
    return _run(options, runbook, "failover", _Wishes(by, approve_all, no_wait, anyway, again), said=yes_i_mean)


@command.command("resume")
@click.argument("run", metavar="RUN")
@_run_options
@common_options
@click.pass_obj
def resume(options: Options, run: str, approve_all: bool, no_wait: bool, by: str | None) -> int:
    """Go on with RUN (its id, or its runbook's name) from where it was, by the runbook as the journal has it.

    With a file that was mended since, give the command that began it instead. Exit codes: as that command's.
    """
    from backup_to_image.cli.session import perform, remembered

    async def work(output: Output) -> int:
        from backup_to_image.steps.runbook.file import read_runbook
        from backup_to_image.steps.runbook.ledger import find_run

        async with remembered(options) as journal:
            found = await find_run(run, journal)
        if found.state == "done":
            raise UsageError(f"{found.id} has ended.", action=f"`b2i runbook {found.mode} FILE` begins another.")
        file = read_runbook(Path(found.file), text=found.text)
        return await _at_work(options, output, file, found.mode, _Wishes(by, approve_all, no_wait))

    return perform(options, work, blank=RUN_BLANK)


def _run(options: Options, runbook: str, mode: RunMode, wishes: _Wishes, *, said: str | None = None) -> int:
    from backup_to_image.cli.session import perform

    async def work(output: Output) -> int:
        from backup_to_image.steps.runbook.file import read_runbook

        if options.prefect:
            from backup_to_image.cli.submit import submit_order
            from backup_to_image.forms import DrillForm, FailoverForm

            order = {"runbook": Path(runbook).name, "by": wishes.by or ""}  # the worker's file decides
            order |= {"approve_all": wishes.approve_all, "anyway": wishes.anyway}
            for_real = {"name": said or "", "again": wishes.again}
            form = DrillForm.model_validate(order) if mode == "drill" else FailoverForm.model_validate(order | for_real)
            return await submit_order(form, options, output)
        file = read_runbook(Path(runbook))
        if mode == "failover":
            _confirm(file, said, options)
        return await _at_work(options, output, file, mode, wishes)

    return perform(options, work, blank=RUN_BLANK)


def _confirm(file: RunbookFile, said: str | None, options: Options) -> None:
    """For real only by name. Raises UsageError."""
    name, servers = file.runbook.name, len(file.runbook.servers)
    if said is None and sys.stdin.isatty() and not options.json:
        said = click.prompt(f"This launches {servers} servers for real, which are billed. The runbook's name", err=True)
    if said != name:
        wrong = f"{said!r} is not its name" if said else "its name is asked for"
        raise UsageError(f"Nothing was launched: {wrong}.", action=f"Add --yes-i-mean with the runbook's name ({name}).")


async def _at_work(options: Options, output: Output, file: RunbookFile, mode: RunMode, wishes: _Wishes) -> int:
    from backup_to_image.cli.asked import asker, who
    from backup_to_image.cli.session import connected
    from backup_to_image.evidence import keeper
    from backup_to_image.steps.runbook.measure import measure
    from backup_to_image.steps.runbook.run import run_runbook
    from backup_to_image.told.recovery import told_run

    name = who(wishes.by)
    alone = wishes.approve_all or wishes.no_wait
    async with connected(options, output, cloud_name=file.runbook.cloud) as ctx:
        with _telling_of_a_stop(mode, output):
            run, adopted = await run_runbook(
                file,
                ctx,
                mode=mode,
                keep=keeper(ctx),
                ask=asker(output, ctx.clock.now, by=name, wanted=not alone),
                by=name,
                unattended=wishes.approve_all,
                leave=wishes.no_wait,
                anyway=wishes.anyway,
                again=wishes.again,
            )
        return output.told(told_run(run, measure(run), adopted=adopted))


@contextmanager
def _telling_of_a_stop(mode: RunMode, output: Output) -> Generator[None]:
    """A drill that a signal stops has been taken down; a failover stays as it is, to be gone on with."""
    try:
        yield
    except asyncio.CancelledError:
        if mode == "drill":
            output.undone = "The drill has ended by that, and its servers were taken down: `b2i runbook status` tells it."
        raise


@command.command("cleanup")
@click.argument("runbook", metavar="RUNBOOK.yaml")
@common_options
@click.pass_obj
def cleanup(options: Options, runbook: str) -> int:
    """Take down whatever drills of RUNBOOK.yaml have left: servers, disks, addresses. Only what carries a drill's mark goes.

    An unfinished drill ends by this. Safe to repeat. Exit codes: 0 nothing is left; 4 a drill of it is at work; 5 something is.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.cli.asked import who
        from backup_to_image.evidence import keeper
        from backup_to_image.steps.runbook.cleaning import clean_up
        from backup_to_image.steps.runbook.file import read_runbook
        from backup_to_image.told.recovery import told_cleaned

        file = read_runbook(Path(runbook))
        async with connected(options, output, cloud_name=file.runbook.cloud) as ctx:
            return output.told(told_cleaned(await clean_up(file, ctx, keep=keeper(ctx, begins=False), by=who(None))))

    return perform(options, work, blank=CLEANED_BLANK)


@command.command("status")
@click.argument("run", metavar="[RUN]", required=False)
@common_options
@click.pass_obj
def status(options: Options, run: str | None) -> int:
    """List the runs that the journal knows of, or tell one: how far it is, and what it asks. Needs the journal alone."""
    from backup_to_image.cli.session import perform, remembered

    async def work(output: Output) -> int:
        from backup_to_image.steps.runbook.ledger import find_run, runs_of
        from backup_to_image.steps.runbook.measure import measure
        from backup_to_image.told.recovery import told_run, told_runs

        async with remembered(options) as journal:
            if run is None:
                return output.told(told_runs(await runs_of(journal)))
            found = await find_run(run, journal)
            return output.told(told_run(found, measure(found)).model_copy(update={"exit_code": 0}))

    return perform(options, work, blank=RUN_BLANK if run else RUNS_BLANK)


def _decision(said: Said, what: str, doc: str) -> None:
    """A command by which somebody decides about a run."""

    @click.argument("run", metavar="RUN")
    @click.argument("group", metavar="[GROUP]", required=False)
    @click.option("--reason", metavar="T", default="", help="Why; it is kept with the answer, and stands in the evidence.")
    @click.option("--by", metavar="NAME", help="Who decides; else whoever is logged in to this host.")
    @common_options
    @click.pass_obj
    def decide_it(options: Options, run: str, group: str | None, reason: str, by: str | None) -> int:
        from backup_to_image.cli.session import perform, remembered

        async def work(output: Output) -> int:
            from backup_to_image.cli.asked import who
            from backup_to_image.steps.runbook.deciding import decide
            from backup_to_image.told.recovery import told_decided

            if said == "skip" and not reason.strip():
                raise UsageError("Whoever skips a group says why.", action="Add --reason.")
            async with remembered(options) as journal:
                return output.told(told_decided(await decide(run, group, said, journal, by=who(by), note=reason)))

        return perform(options, work, blank=DECIDED_BLANK)

    command.command(what, help=doc)(decide_it)


_decision("go", "approve", "Say go to what RUN asks: an approval, something done by hand, or a failed group taken as it is.")
_decision("retry", "retry", "Have a group of RUN that has failed or was skipped tried again.")
_decision("skip", "skip", "Have RUN go on without a group, and without those that need it. --reason says why.")
_decision("stop", "stop", "Have RUN end: nothing new begins, what is under way is waited for, a drill is taken down.")


@command.command("note")
@click.argument("run", metavar="RUN")
@click.argument("text")
@click.option("--by", metavar="NAME", help="Who says it; else whoever is logged in to this host.")
@common_options
@click.pass_obj
def note(options: Options, run: str, text: str, by: str | None) -> int:
    """Keep TEXT with RUN, which is not over yet: it stands in the evidence, with your name and the time."""
    from backup_to_image.cli.session import perform, remembered

    async def work(output: Output) -> int:
        from backup_to_image.cli.asked import who
        from backup_to_image.model.recovery import Note
        from backup_to_image.steps.runbook.ledger import find_run, keep_note
        from backup_to_image.told.recovery import told_noted

        async with remembered(options) as journal:
            found = await find_run(run, journal)
            if found.state == "done":
                raise UsageError(f"{found.id} is over, and its evidence is kept: nothing is added to that.")
            await keep_note(found, Note(at=journal.clock.now(), by=who(by), text=text), journal)
            return output.told(told_noted(found))

    return perform(options, work, blank=DECIDED_BLANK)


# -- evidence -----------------------------------------------------------------------------------------------------------

REPORT_BLANK: dict[str, Any] = {
    "outcome": None,
    "record": None,
    "page": None,
    "run": None,
    "measured": None,
    "previous": None,
    "sha256": None,
    "verified": None,
    "checks": [],
    "error": None,
}


@command.command("report")
@click.argument("record", type=click.Path(path_type=Path), metavar="RECORD.json")
@click.option("--verify", is_flag=True, help="Look whether it and its whole chain are as they were written.")
@click.option("--head", metavar="SHA256", help="With --verify: a hash from paper or a message, which the chain has to hold.")
@common_options
@click.pass_obj
def report(options: Options, record: Path, verify: bool, head: str | None) -> int:
    """Tell a run in short by its evidence, and whether that evidence is as it was written. Needs no cloud and no log-in.

    RECORD.json is what a drill or a failover names as its evidence. With --prefect a deployment does it with the file of that
    name in the worker's evidence directory, so that a run from a terminal has its page there too. Exit codes: 0; with --verify
    3 if it, or a record of its chain, was changed or is missing.
    """
    from backup_to_image.cli.session import perform

    async def work(output: Output) -> int:
        from backup_to_image.evidence import report_on

        if options.prefect:
            from backup_to_image.cli.submit import submit_order
            from backup_to_image.forms import RunbookReportForm

            return await submit_order(RunbookReportForm(record=record.name, head=head or ""), options, output)
        return output.told(report_on(record, verified=verify or head is not None, head=head or ""))

    return perform(options, work, blank=REPORT_BLANK)
