"""`b2i launch`: a server from a full-ECS image."""

from __future__ import annotations

from pathlib import Path
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
    from backup_to_image.cli.output import Output
    from backup_to_image.cli.session import connected, perform
    from backup_to_image.errors import UsageError

    async def work(output: Output) -> int:
        from backup_to_image.forms import LaunchForm, as_text
        from backup_to_image.model import LaunchDelivery
        from backup_to_image.steps.fleet.by_hand import drill_by_hand
        from backup_to_image.steps.launching.launch import launch_server, preview_launch
        from backup_to_image.steps.leftovers import look_for_servers
        from backup_to_image.told.launch import told_launch, told_plan

        if another and drill:
            raise UsageError("--another and --drill exclude each other: a drill leaves no server.", action="Leave one out.")
        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            name = Path(spec).name  # the worker's file decides
            form = LaunchForm(image=image, launch=name, another=another, drill=drill, timeout=as_text(timeout), dry_run=dry_run)
            return await submit_order(form, options, output)
        mode = "drill" if drill else "failover"
        order = launch_file(spec)
        async with connected(options, output, cloud_name=order.cloud) as ctx:
            found = await ctx.cloud.images.get(image)
            if dry_run:
                return output.told(told_plan(await preview_launch(found, order, ctx, mode=mode, another=another), image))

            def told(delivery: LaunchDelivery) -> None:
                output.told(told_launch(delivery))

            async with output.naming_what_is_left(lambda: look_for_servers(found, order, ctx, mode=mode)):
                if drill:
                    delivery = await drill_by_hand(found, order, ctx, patience=timeout)
                    told(delivery)
                else:
                    delivery = await launch_server(found, order, ctx, another=another, patience=timeout, told=told)
            return 5 if delivery.outcome == "partly" else 0

    return perform(options, work, blank=BLANK | {"image_id": image})
