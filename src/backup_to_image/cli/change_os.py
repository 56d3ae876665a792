"""`b2i change-os`: a server's system disk, replaced by an image's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model import ChangeDelivery, ChangePlan

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
        from backup_to_image.forms import ChangeForm, as_text
        from backup_to_image.forms.probe_words import read_probes
        from backup_to_image.model import Report
        from backup_to_image.steps.changing.change_os import change_os, look_at_server
        from backup_to_image.steps.changing.plan import plan_change
        from backup_to_image.told.change import change_known, told_change, told_change_plan

        asked = read_probes(probes, "--probe")
        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            form = ChangeForm(
                server=server,
                image=image,
                accept_data_disks_unchanged=accepted,
                name=yes_i_mean or "",
                stop=stop,
                key_pair=key_pair or "",
                probes=list(probes),
                again=again,
                timeout=as_text(timeout),
                dry_run=dry_run,
            )
            return await submit_order(form, options, output)
        async with connected(options, output) as ctx:
            plan = await plan_change(server, image, ctx, accepted=accepted, stop=stop, again=again, key_pair=key_pair)
            output.blank |= change_known(plan)
            if dry_run:
                return output.told(told_change_plan(plan))
            if not plan.ok or plan.server is None:
                raise Refused(Report(subject=f"change of {server}'s OS", checks=plan.checks))
            _confirm(plan, yes_i_mean, options, output)
            changing = plan.server

            def told(delivery: ChangeDelivery) -> None:
                output.told(told_change(delivery))

            async with output.naming_what_is_left(lambda: look_at_server(changing, ctx)):
                done = await change_os(plan, ctx, stop=stop, again=again, probes=asked, patience=timeout, told=told)
            return 5 if done.outcome == "partly" else 0

    return perform(options, work, blank=dict(BLANK))


def _confirm(plan: ChangePlan, yes_i_mean: str | None, options: Options, output: Output) -> None:
    """The server's name, from whoever wants its system disk gone. Raises UsageError."""
    from backup_to_image.steps.changing.plan import confirm

    said = yes_i_mean
    if said is None and sys.stdin.isatty() and not options.json and plan.server:
        for check in plan.checks:
            if check.verdict == "warned":
                output.note(str(check))
        gone = f"the system disk of {plan.server.name} ({plan.old_system_disk})"
        said = click.prompt(f"This deletes {gone} for good. Its name", err=True)
    confirm(plan, said, how="--yes-i-mean with")
