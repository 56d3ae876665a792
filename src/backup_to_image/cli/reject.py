"""`b2i reject`: turn down what another project has shared."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from backup_to_image.cli.accept import BLANK
from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["BLANK", "command"]

_EPILOG = """\b
Example, with the recipient's own log-in:
  b2i --cloud dr reject IMAGE
"""


@click.command("reject", epilog=_EPILOG)
@click.argument("image")
@click.option("--timeout", type=LENGTH, metavar="10m", default="10m", show_default=True, help="Wait so long for it.")
@common_options
@click.pass_obj
def command(options: Options, image: str, timeout: timedelta) -> int:
    """Reject IMAGE (id, or the name of an offered one) that another project has shared with this one, also an accepted one.

    It leaves this project's list of images. While its owner goes on sharing it, `b2i accept` takes it all the same. Exit codes:
    0 rejected; 3 it is not offered; 4 still running.
    """
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.forms import RejectForm, as_text
        from backup_to_image.steps.sharing.offers import find_offer, look_for_answer, reject
        from backup_to_image.told.offers import offer_known, told_answer

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            return await submit_order(RejectForm(image=image, timeout=as_text(timeout)), options, output)
        async with connected(options, output) as ctx:
            offer = await find_offer(image, ctx)
            output.blank |= offer_known(offer)
            async with output.naming_what_is_left(lambda: look_for_answer(offer.image, ctx)):
                answered = await reject(offer, ctx, patience=timeout)
            return output.told(told_answer(answered))

    return perform(options, work, blank=dict(BLANK))
