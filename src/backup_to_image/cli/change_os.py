"""`b2i change-os`: a server's system disk, replaced by an image's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model import ChangeDelivery, ChangePlan, Probe

__all__ = ["command"]

BLANK: dict[str, Any] = {
    "outcome": None,
    "server_id": None,
    "server_name": None,
    "image_id": None,
    "status": None,
    "system_disk_id": None,
    "old_system_disk_id": None,
    "data_disks": [],
    "missing_disks": [],
    "left_behind": [],
    "adopted": None,
    "job_id": None,
    "addresses": [],
    "probes": [],
    "probed": None,
    "plan": None,
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i change-os shop-web-01 IMAGE --dry-run                       the exact request, every reason against it
  b2i change-os shop-web-01 IMAGE --accept-data-disks-unchanged --stop
  b2i change-os shop-web-01 IMAGE --accept-data-disks-unchanged --stop --key-pair ops \\
      --probe 'tcp: 22' --probe 'http: {port: 8080, path: /health}'
"""


@click.command("change-os", epilog=_EPILOG)
@click.argument("server")
@click.argument("image")
@click.option(
    "--accept-data-disks-unchanged",
    "accepted",
    is_flag=True,
    help="Data disks stay as they are; those of the image are not restored.",
)
@click.option("--stop", is_flag=True, help="Stop the server first, as its own system shuts down; never by force.")
@click.option("--key-pair", metavar="NAME", help="Key pair to log in with; else the accounts inside the image hold.")
@click.option("--probe", "probes", metavar="PROBE", multiple=True, help="As in a launch order: 'tcp: 22'; may be repeated.")
@click.option("--again", is_flag=True, help="Replace the system disk although it is the image's already.")
@click.option("--timeout", type=LENGTH, default="1h", show_default=True, metavar="1h", help="Wait so long for the server.")
@click.option("--yes-i-mean", metavar="NAME", help="The server's name, where nobody can be asked.")
@click.option("--dry-run", is_flag=True, help="The exact request and every reason against it; nothing is changed.")
@common_options
@click.pass_obj
def command(
    options: Options,
    server: str,
    image: str,
    accepted: bool,
    stop: bool,
    key_pair: str | None,
    probes: tuple[str, ...],
    again: bool,
    timeout: Any,
    yes_i_mean: str | None,
    dry_run: bool,
) -> int:
    """Replace the system disk of SERVER by that of full-ECS image IMAGE; the old one is deleted.

    Only the system disk is written. Data disks of the server stay as they are, those of the image are not restored: to have them,
    launch a new server (`b2i launch`). Asks for the server's name. Safe to repeat: the same command adopts what is done.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.errors import Refused
        from backup_to_image.model import Report
        from backup_to_image.steps.change_os import change_os, look_at_server
        from backup_to_image.steps.change_plan import plan_change

        asked = read_probes(probes)
        async with connected(options, output) as ctx:
            plan = await plan_change(server, image, ctx, accepted=accepted, stop=stop, again=again, key_pair=key_pair)
            output.blank |= _known(plan)
            if dry_run:
                output.result({"plan": _plan_json(plan), "outcome": None if plan.ok else "refused"})
                output.show(*_plan_lines(plan))
                return 0 if plan.ok else 3
            if not plan.ok or plan.server is None:
                raise Refused(Report(subject=f"change of {server}'s OS", checks=plan.checks))
            _confirm(plan, yes_i_mean, options, output)
            changing = plan.server

            def told(delivery: ChangeDelivery) -> None:
                output.result(delivery.model_dump(mode="json"))
                _show(output, delivery)

            async with output.naming_what_is_left(lambda: look_at_server(changing, ctx)):
                done = await change_os(plan, ctx, stop=stop, again=again, probes=asked, patience=timeout, told=told)
            return 5 if done.outcome == "partly" else 0

    return perform(options, work, blank=dict(BLANK))


def read_probes(written: tuple[str, ...]) -> tuple[Probe, ...]:
    """Probes in the form of a launch order. Raises UsageError with every mistake at once."""
    import yaml
    from pydantic import ValidationError

    from backup_to_image.errors import UsageError
    from backup_to_image.model import Probe

    found: list[Probe] = []
    problems: list[str] = []
    for one in written:
        try:
            found.append(Probe.model_validate(yaml.safe_load(one)))
        except yaml.YAMLError:
            problems.append(f"--probe {one!r}: this is no YAML; write for example 'tcp: 22'.")
        except ValidationError as error:
            mistake = error.errors()[0]
            where = ".".join(str(part) for part in mistake["loc"])
            words = mistake["msg"].removeprefix("Value error, ")
            problems.append(f"--probe {one!r}: {f'{where}: ' if where else ''}{words}.")
    if problems:
        raise UsageError(problems)
    return tuple(found)


def _confirm(plan: ChangePlan, yes_i_mean: str | None, options: Options, output: Output) -> None:
    """The server's name, from whoever wants its system disk gone. Raises UsageError."""
    from backup_to_image.errors import UsageError

    name = plan.server.name if plan.server else ""
    said = yes_i_mean
    if said is None and sys.stdin.isatty() and not options.json:
        for check in plan.checks:
            if check.verdict == "warned":
                output.note(str(check))
        said = click.prompt(f"This deletes the system disk of {name} ({plan.old_system_disk}) for good. Its name", err=True)
    if said != name:
        wrong = f"{said!r} is not its name" if said else "the server's name is asked for"
        raise UsageError(f"Nothing was changed: {wrong}.", action=f"Add --yes-i-mean with the server's name ({name}).")


def _known(plan: ChangePlan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if plan.server:
        found |= {"server_id": plan.server.id, "server_name": plan.server.name, "status": plan.server.status}
    if plan.image:
        found["image_id"] = plan.image.id
    return found


def _plan_json(plan: ChangePlan) -> dict[str, Any]:
    told = plan.model_dump(mode="json", exclude={"server", "image"})
    return {"server_id": plan.server and plan.server.id, "image_id": plan.image and plan.image.id, **told}


def _plan_lines(plan: ChangePlan) -> list[Any]:
    from rich.table import Table

    from backup_to_image.cli.output import report_table
    from backup_to_image.model import Report

    disks = Table(title="Disks", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("of", "device", "disk", "GB", "what happens to it"):
        disks.add_column(column)
    for whose, those in (("server", plan.disks), ("image", plan.not_restored)):
        for disk in those:
            disks.add_row(whose, disk.device, disk.disk_id, str(disk.size_gb), disk.becomes)
    request = plan.request.model_dump_json(indent=2, exclude_none=True) if plan.request else "no request: see the refusals above"
    name = plan.server.name if plan.server else "the server"
    report = report_table(Report(subject=f"the change of {name}'s OS", checks=plan.checks))
    return [report, disks, "Request:", request, "Nothing was changed."]


def _show(output: Output, done: ChangeDelivery) -> None:
    from backup_to_image.cli.output import pairs

    words = {"made": "changed", "adopted": "was changed already, adopted", "partly": "is changed, but see below"}
    old = f"{done.old_system_disk_id} (deleted)" if done.old_system_disk_id and not done.left_behind else None
    rows = [
        ("server", f"{done.server_name}  {done.server_id}, {done.status}"),
        ("image", done.image_id),
        ("system disk", done.system_disk_id),
        ("old system disk", old),
        ("left behind", ", ".join(done.left_behind)),
        ("data disks", f"{', '.join(done.data_disks) or 'none'} (as they were)"),
        ("missing", ", ".join(done.missing_disks)),
        ("addresses", ", ".join(done.addresses)),
    ]
    rows += [(f"probe {one.probe}", f"{'ok' if one.ok else 'NO'}: {one.answer} ({one.seconds:.0f} s)") for one in done.probes]
    if not done.probed:
        rows.append(("probes", "not probed: none was asked for, ACTIVE and the new disk are all the proof"))
    output.show(pairs(f"The OS {words.get(done.outcome, done.outcome)}", rows))
