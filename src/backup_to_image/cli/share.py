"""`b2i share`: whom an image is shared with, and sharing it with more."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["BLANK", "command"]

BLANK: dict[str, Any] = {
    "outcome": None,
    "image_id": None,
    "image_name": None,
    "status": None,
    "members": [],
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples:
  b2i share IMAGE                         whom it is shared with
  b2i share IMAGE dr auditor
  b2i share IMAGE auditor --share-for 30d
"""


@click.command("share", epilog=_EPILOG)
@click.argument("image")
@click.argument("projects", nargs=-1)
@click.option("--share-for", type=LENGTH, metavar="30d", help="End the sharing after so long, by `b2i sweep --apply`.")
@click.option("--timeout", type=LENGTH, metavar="10m", default="10m", show_default=True, help="Wait so long for the members.")
@common_options
@click.pass_obj
def command(options: Options, image: str, projects: tuple[str, ...], share_for: timedelta | None, timeout: timedelta) -> int:
    """Share IMAGE (id or unique name) with PROJECTS (ids or aliases that b2i.yaml names); without any, list its members.

    Each recipient then accepts it with their own log-in. Exit codes: 0 all have it; 3 refused, nothing was shared; 4 still
    running, the same command resumes; 5 some have it, the cloud refused the others; 1 it refused all.
    """
    from backup_to_image.cli.session import connected, perform

    if share_for is not None and not projects:
        raise click.UsageError("--share-for says how long; with whom is missing.")
    if share_for == timedelta(0):
        raise click.UsageError("--share-for: a share that ends at once is none.")

    async def work(output: Output) -> int:
        from backup_to_image.forms import ShareForm, as_text
        from backup_to_image.steps.sharing.owner import find_image_to_share, look_at_shares, look_for_shares, share
        from backup_to_image.told.shares import members_known, told_shares

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            ends = as_text(share_for) if share_for else ""
            form = ShareForm(image=image, projects=list(projects), share_for=ends, timeout=as_text(timeout))
            return await submit_order(form, options, output)
        async with connected(options, output) as ctx:
            found = await find_image_to_share(image, projects, ctx)
            if not projects:
                return output.told(told_shares(await look_at_shares(found, ctx)))
            async with (
                members_known(found, ctx, output.blank),
                output.naming_what_is_left(lambda: look_for_shares(found, ctx)),
            ):
                shares = await share(found, projects, ctx, share_for=share_for, patience=timeout)
            return output.told(told_shares(shares))

    return perform(options, work, blank=dict(BLANK))
