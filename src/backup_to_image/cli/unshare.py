"""`b2i unshare`: take an image back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH
from backup_to_image.cli.share import BLANK

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["BLANK", "command"]

_EPILOG = """\b
Examples:
  b2i unshare IMAGE auditor
"""


@click.command("unshare", epilog=_EPILOG)
@click.argument("image")
@click.argument("projects", nargs=-1, required=True)
@click.option("--timeout", type=LENGTH, metavar="10m", default="10m", show_default=True, help="Wait so long for the end.")
@common_options
@click.pass_obj
def command(options: Options, image: str, projects: tuple[str, ...], timeout: timedelta) -> int:
    """Take IMAGE (id or unique name) back from PROJECTS (ids or aliases of b2i.yaml), whether they have accepted it or not.

    It is gone for them at once and without notice. Servers that they have made of it live on, but their OS cannot be
    reinstalled. Sharing it again is a new offer, which they accept anew. Exit codes: as for `share`.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.forms import UnshareForm, as_text
        from backup_to_image.steps.sharing.owner import find_image_to_unshare, look_for_shares, unshare
        from backup_to_image.told.shares import members_known, told_unshared

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            form = UnshareForm(image=image, projects=list(projects), timeout=as_text(timeout))
            return await submit_order(form, options, output)
        async with connected(options, output) as ctx:
            found = await find_image_to_unshare(image, projects, ctx)
            async with (
                members_known(found, ctx, output.blank),
                output.naming_what_is_left(lambda: look_for_shares(found, ctx)),
            ):
                shares = await unshare(found, projects, ctx, patience=timeout)
            return output.told(told_unshared(shares))

    return perform(options, work, blank=BLANK | {"notes": []})
