"""`b2i launch`: a server from a full-ECS image."""

from __future__ import annotations

from typing import Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH, launch_file

__all__ = ["command"]

BLANK: dict[str, Any] = {
    "outcome": None,
    "launch_id": None,
    "server_id": None,
    "server_ids": [],
    "image_id": None,
    "adopted": None,
    "job_id": None,
    "addresses": [],
    "probes": [],
    "probed": None,
    "disks": [],
    "drift": [],
    "drift_unknown": None,
    "drill": None,
    "verified": None,
    "verified_why": None,
    "left_behind": [],
    "plan": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i launch IMAGE --spec launch/shop-db-01.yaml --dry-run    the exact request, nothing made
  b2i launch IMAGE --spec launch/shop-db-01.yaml
  b2i launch IMAGE --spec launch/shop-db-01.yaml --another    one more beside the first
  b2i launch IMAGE --spec launch/drill.yaml --drill           launched, probed, marked, and taken down again
"""


@click.command("launch", epilog=_EPILOG)
@click.argument("image")
@click.option("--spec", metavar="SPEC.yaml", required=True, help="The launch order.")
@click.option("--another", is_flag=True, help="Launch one more although this order's server is there.")
@click.option("--drill", is_flag=True, help="Probe it where its source is not, mark the image, and take it down again.")
@click.option("--timeout", type=LENGTH, default="1h", show_default=True, metavar="1h", help="Wait so long for the server.")
@click.option("--dry-run", is_flag=True, help="Plan it and ask the cloud's dry run; launch nothing.")
@common_options
@click.pass_obj
def command(options: Options, image: str, spec: str, another: bool, drill: bool, timeout: Any, dry_run: bool) -> int:
    """Launch the server that SPEC orders from full-ECS image IMAGE, unless it is there already, and ask its probes.

    Data disks come back from the image by themselves; disks never shrink. To restore data disks onto a server that exists is not
    possible with an image: a change of OS writes the system disk only, so launch a new server instead.
    """
    from backup_to_image.cli.output import Output, launch_json, show_launch
    from backup_to_image.cli.session import connected, perform
    from backup_to_image.errors import UsageError

    async def work(output: Output) -> int:
        from backup_to_image.model import LaunchDelivery
        from backup_to_image.steps.fleet.by_hand import drill_by_hand
        from backup_to_image.steps.launch import launch_server, preview_launch
        from backup_to_image.steps.leftovers import look_for_servers

        if another and drill:
            raise UsageError("--another and --drill exclude each other: a drill leaves no server.", action="Leave one out.")
        mode = "drill" if drill else "failover"
        order = launch_file(spec)
        async with connected(options, output, cloud_name=order.cloud) as ctx:
            found = await ctx.cloud.images.get(image)
            if dry_run:
                plan = await preview_launch(found, order, ctx, mode=mode, another=another)
                output.result(
                    {"image_id": image, "plan": plan.model_dump(mode="json"), "outcome": None if plan.ok else "refused"}
                )
                output.show(*plan_lines(plan))
                return 0 if plan.ok else 3

            def told(delivery: LaunchDelivery) -> None:
                output.result(launch_json(delivery))
                show_launch(output, delivery)

            async with output.naming_what_is_left(lambda: look_for_servers(found, order, ctx, mode=mode)):
                if drill:
                    delivery = await drill_by_hand(found, order, ctx, patience=timeout)
                    told(delivery)
                else:
                    delivery = await launch_server(found, order, ctx, another=another, patience=timeout, told=told)
            return 5 if delivery.outcome == "partly" else 0

    return perform(options, work, blank=BLANK | {"image_id": image})


def plan_lines(plan: Any) -> list[Any]:
    """A launch plan for people: checks, disks, the request."""
    from rich.table import Table

    from backup_to_image.cli.output import report_table
    from backup_to_image.model import Report

    disks = Table(title="Disks", title_justify="left", show_edge=False, pad_edge=False)
    for column in ("device", "disk", "GB", "what happens to it"):
        disks.add_column(column)
    for disk in plan.disks:
        disks.add_row(disk.device or ("system" if disk.system else ""), disk.disk_id, str(disk.size_gb), disk.becomes)
    request = plan.request.model_dump_json(indent=2, exclude_none=True) if plan.request else "no request: see the refusals above"
    return [
        report_table(Report(subject=f"launch order {plan.order_name}", checks=plan.checks)),
        disks,
        "Request:",
        request,
        "Nothing was made.",
    ]
