"""`b2i unshare`: take an image back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH
from backup_to_image.cli.share import BLANK as SHARES

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["BLANK", "command"]

BLANK: dict[str, Any] = {**SHARES, "notes": []}

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
    from backup_to_image.cli.sharing_view import end_with, members_told

    async def work(output: Output) -> int:
        from backup_to_image.steps.recipients import resolve_members
        from backup_to_image.steps.sharing import find_image, unshare, what_it_means

        async with connected(options, output) as ctx:
            found = await find_image(image, ctx, besides=resolve_members(projects, ctx.settings).checks)
            async with members_told(found, ctx, output):
                shares = await unshare(found, projects, ctx, patience=timeout)
            notes = what_it_means(shares)
            output.blank["notes"] = list(notes)
            code = end_with(shares, output)
            output.show(*notes)
            return code

    return perform(options, work, blank=dict(BLANK))
