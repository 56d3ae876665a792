"""`b2i create`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import build_order, order_options

__all__ = ["command"]

BLANK: dict[str, Any] = {
    "outcome": None,
    "backup_id": None,
    "image_id": None,
    "image_name": None,
    "status": None,
    "adopted": None,
    "doubtful": None,
    "job_id": None,
    "shared_with": [],
    "server_id": None,
    "launch_id": None,
    "probes": [],
    "steps": [],
    "requests": None,
    "seconds": None,
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i create 57bbc0a7-feed-51e9-8a47-229c24ba05d5
  b2i create --server shop-db-01 --newest --share-with dr
  b2i create BACKUP --launch launch/shop-db-01.yaml --json
  b2i create BACKUP --dry-run                 every check, nothing made

Run the same command again at any time: it adopts what is there and goes on.
"""


@click.command("create", epilog=_EPILOG)
@click.argument("backup", required=False)
@click.option("--server", metavar="S", help="Server (id or name) whose backup to take; with --newest.")
@click.option("--newest", is_flag=True, help="Its newest backup that can become an image.")
@order_options
@click.option("--dry-run", is_flag=True, help="Say what would be made; make nothing.")
@click.option("--after-failure", is_flag=True, help="Order the next attempt although the last one ended badly.")
@common_options
@click.pass_obj
def command(
    options: Options, backup: str | None, server: str | None, newest: bool, dry_run: bool, after_failure: bool, **order: Any
) -> int:
    """Make the full-ECS image of BACKUP (id or unique name): validate, create, wait until it is Normal, share, launch.

    One backup becomes one image, however often and wherever this runs. Exit codes: 0 made or adopted; 3 refused, nothing made;
    4 still running, the same command resumes; 5 the image is there, a later step failed.
    """
    from backup_to_image.cli.output import Output, delivery_json, show_delivery
    from backup_to_image.cli.session import connected, perform

    if bool(backup) == bool(server):
        raise click.UsageError("Name a BACKUP, or a server with --server S --newest: one of the two.")
    if bool(server) != newest:
        raise click.UsageError("--server and --newest go together.")

    async def work(output: Output) -> int:
        from backup_to_image.steps.leftovers import look_for_leftovers
        from backup_to_image.steps.pipeline import image_from_backup
        from backup_to_image.steps.select import newest_backup

        if options.prefect:
            from backup_to_image.cli.submit import submit_create

            # The worker's file decides, so here the launch order is a name.
            spec = order.pop("launch_spec")
            plain = build_order(backup or "", launch_spec=None, **order)
            name = Path(spec).name if spec else None
            return await submit_create(
                plain,
                server=server,
                options=options,
                output=output,
                dry_run=dry_run,
                after_failure=after_failure,
                launch_file=name,
            )
        wanted = build_order(backup or "", **order)
        async with connected(options, output, cloud_name=wanted.launch.cloud if wanted.launch else None) as ctx:
            if server:
                wanted = wanted.model_copy(update={"backup_id": (await newest_backup(server, ctx)).id})
                output.blank["backup_id"] = wanted.backup_id  # whatever happens now, it is named
            if dry_run:
                from backup_to_image.cli.validate import show_check

                return await show_check(wanted, ctx, output)
            async with output.naming_what_is_left(lambda: look_for_leftovers(wanted, ctx)):
                delivery = await image_from_backup(wanted, ctx, after_failure=after_failure)
            output.result(delivery_json(delivery))
            show_delivery(output, delivery)
            if delivery.launch is None:
                output.show(f"Next: `b2i launch {delivery.image_id} --spec SPEC.yaml` proves that it boots.")
            return 5 if delivery.outcome == "partly" else 0

    return perform(options, work, blank=BLANK | {"backup_id": backup})
