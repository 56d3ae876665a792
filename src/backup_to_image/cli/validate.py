"""`b2i validate`: every check, no side effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import build_order, order_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output
    from backup_to_image.model import ImageOrder
    from backup_to_image.steps.context import Context

__all__ = ["command", "show_check"]

BLANK = {
    "ok": None,
    "outcome": None,
    "backup_id": None,
    "image_id": None,
    "image_name": None,
    "retryable": None,
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i validate 57bbc0a7-feed-51e9-8a47-229c24ba05d5
  b2i validate BACKUP --share-with dr --launch launch/shop-db-01.yaml --json
"""


@click.command("validate", epilog=_EPILOG)
@click.argument("backup")
@order_options
@common_options
@click.pass_obj
def command(options: Options, backup: str, **order: Any) -> int:
    """Check BACKUP and the order by every rule that the cloud's API can reveal; nothing is made.

    Exit codes: 0 nothing speaks against it; 3 refused, with every reason, what to do, and whether waiting helps.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        wanted = build_order(backup, **order)
        async with connected(options, output, cloud_name=wanted.launch.cloud if wanted.launch else None) as ctx:
            return await show_check(wanted, ctx, output)

    return perform(options, work, blank=BLANK | {"backup_id": backup})


async def show_check(order: ImageOrder, ctx: Context, output: Output) -> int:
    """Print the report on an order; 0 if it would go through, 3 if not."""
    from backup_to_image.steps.validate import check_order

    report, found, name = await check_order(order, ctx)
    image = found.image if found else None
    output.result(
        {
            "ok": report.ok,
            "outcome": "refused" if not report.ok else None,
            "backup_id": found.backup.id if found else order.backup_id,
            "image_id": image.id if image else None,
            "image_name": image.name if image else name or None,
            "retryable": report.waiting_helps,
            "report": report.model_dump(mode="json"),
        }
    )
    output.report(report)
    if not report.ok:
        output.show(f"Refused: {len(report.refusals)} reason{'s' if len(report.refusals) > 1 else ''}. Nothing was made.")
    elif image:
        output.show(f"Nothing speaks against it; its image {image.name} ({image.id}) would be adopted. Nothing was made.")
    else:
        output.show(f"Nothing speaks against it; the image would be called {name}. Nothing was made.")
    return 0 if report.ok else 3
