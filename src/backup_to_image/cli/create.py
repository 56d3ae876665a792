"""`b2i create`: the main job."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import build_order, order_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model import ImageOrder
    from backup_to_image.steps.backup_now import Expected
    from backup_to_image.steps.context import Context

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
    "verified": None,
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
  b2i create --server shop-db-01 --backup-now
  b2i create BACKUP --launch launch/shop-db-01.yaml --json
  b2i --prefect create --server shop-db-01 --newest
  b2i create BACKUP --dry-run                 every check, nothing made

Run the same command again at any time: it adopts what is there and goes on.
"""


@click.command("create", epilog=_EPILOG)
@click.argument("backup", required=False)
@click.option("--server", metavar="S", help="Server (id or name) whose backup to take; with --newest or --backup-now.")
@click.option("--newest", is_flag=True, help="Its newest backup that can become an image.")
@click.option("--backup-now", is_flag=True, help="Back the server up first; --wait-backup (1h) says how long that may take.")
@order_options
@click.option("--dry-run", is_flag=True, help="Say what would be made; make nothing.")
@click.option("--after-failure", is_flag=True, help="Order the next attempt although the last one ended badly.")
@common_options
@click.pass_obj
def command(
    options: Options,
    backup: str | None,
    server: str | None,
    newest: bool,
    backup_now: bool,
    dry_run: bool,
    after_failure: bool,
    **order: Any,
) -> int:
    """Make the full-ECS image of BACKUP (id or unique name): validate, create, wait until it is Normal, share, launch.

    One backup becomes one image, however often and wherever this runs. Exit codes: 0 made or adopted; 3 refused, nothing made;
    4 still running, the same command resumes; 5 the image is there, a later step failed.
    """
    from backup_to_image.cli.output import delivery_json, delivery_lines
    from backup_to_image.cli.session import connected, perform

    _check_choice(backup, server, newest=newest, backup_now=backup_now)

    async def work(output: Output) -> int:
        from backup_to_image.steps.back_up import left_of_backup
        from backup_to_image.steps.backup_now import backup_now as make_backup
        from backup_to_image.steps.backup_now import expect, image_from_new_backup
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
                backup_now=backup_now,
                options=options,
                output=output,
                dry_run=dry_run,
                after_failure=after_failure,
                launch_file=name,
            )
        wanted = build_order(backup or "", **order)
        async with connected(options, output, cloud_name=wanted.launch.cloud if wanted.launch else None) as ctx:
            make = image_from_backup
            if server and backup_now:
                expected = await expect(server, ctx)
                if dry_run:
                    return await _show_check_of_backup_now(expected, wanted, ctx, output)
                async with output.naming_what_is_left(lambda: left_of_backup(expected.server.id, ctx)):
                    made = await make_backup(expected, wanted, ctx)
                wanted, make = wanted.model_copy(update={"backup_id": made.id}), partial(image_from_new_backup, made)
            elif server:
                wanted = wanted.model_copy(update={"backup_id": (await newest_backup(server, ctx)).id})
            output.blank["backup_id"] = wanted.backup_id  # whatever happens now, it is named
            if dry_run:
                from backup_to_image.cli.validate import show_check

                return await show_check(wanted, ctx, output)
            async with output.naming_what_is_left(lambda: look_for_leftovers(wanted, ctx)):
                delivery = await make(wanted, ctx, after_failure=after_failure)
            output.result(delivery_json(delivery))
            output.show(*delivery_lines(delivery))
            if delivery.launch is None:
                output.show(f"Next: `b2i launch {delivery.image_id} --spec SPEC.yaml` proves that it boots.")
            return 5 if delivery.outcome == "partly" else 0

    return perform(options, work, blank=BLANK | {"backup_id": backup})


def _check_choice(backup: str | None, server: str | None, *, newest: bool, backup_now: bool) -> None:
    """Which backup is meant must be said in one way. Raises UsageError."""
    if bool(backup) == bool(server):
        raise click.UsageError("Name a BACKUP, or a server with --server S and --newest or --backup-now: one of the two.")
    if newest and backup_now:
        raise click.UsageError("--newest takes a backup that is there, --backup-now makes one: name one of the two.")
    if bool(server) != (newest or backup_now):
        raise click.UsageError("--server goes with --newest or --backup-now.")


async def _show_check_of_backup_now(expected: Expected, order: ImageOrder, ctx: Context, output: Output) -> int:
    """Print the report on an order whose backup is not made yet; 0 if it would go through, 3 if not."""
    from backup_to_image.steps.backup_now import check_backup_now

    report = await check_backup_now(expected, order, ctx)
    output.result({"outcome": None if report.ok else "refused", "report": report.model_dump(mode="json")})
    output.report(report)
    if report.ok:
        output.show(f"Nothing speaks against it; {expected.server.name} would be backed up first. Nothing was made.")
    else:
        output.show(f"Refused: {len(report.refusals)} reason{'s' if len(report.refusals) > 1 else ''}. Nothing was made.")
    return 0 if report.ok else 3
