"""`b2i accept`: what is offered to this project, and taking it."""

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
    "sender": None,
    "state": None,
    "adopted": None,
    "vault_id": None,
    "job_id": None,
    "proof": [],
    "offers": [],
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples, with the recipient's own log-in:
  b2i --cloud dr accept                         what is offered, and what was answered
  b2i --cloud dr accept IMAGE
  b2i --cloud dr accept IMAGE --vault dr-vault
"""


@click.command("accept", epilog=_EPILOG)
@click.argument("image", required=False)
@click.option("--vault", metavar="V", help="Server vault (id or name) that takes it; else the emptiest that fits.")
@click.option("--despite-size", is_flag=True, help="Also where the disks are larger than what is free; the cloud decides.")
@click.option("--timeout", type=LENGTH, metavar="1h", default="1h", show_default=True, help="Wait so long for it.")
@common_options
@click.pass_obj
def command(options: Options, image: str | None, vault: str | None, despite_size: bool, timeout: timedelta) -> int:
    """Accept IMAGE (id, or an offered one's name) that another project has shared with this one; without it, list the offers.

    Use the recipient's own log-in. A full-ECS image is copied into a vault of the recipient, and billed there. Exit codes: 0
    accepted and on the list of images; 3 refused, with every reason against every vault; 4 still running; 5 accepted, and it
    cannot be used.
    """
    from backup_to_image.cli.session import connected, perform

    if image is None and (vault is not None or despite_size):
        raise click.UsageError("--vault and --despite-size say how; which IMAGE is missing.")

    async def work(output: Output) -> int:
        from backup_to_image.forms import AcceptForm, as_text
        from backup_to_image.steps.offers import accept, find_offer, list_offers, look_for_answer
        from backup_to_image.told.offers import offer_known, told_answer, told_offers

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            form = AcceptForm(image=image or "", vault=vault or "", despite_size=despite_size, timeout=as_text(timeout))
            return await submit_order(form, options, output)
        async with connected(options, output) as ctx:
            if image is None:
                return output.told(told_offers(await list_offers(ctx), ctx.settings))
            offer = await find_offer(image, ctx)
            output.blank |= offer_known(offer)
            async with output.naming_what_is_left(lambda: look_for_answer(offer.image, ctx)):
                answered = await accept(offer, ctx, vault=vault, despite_size=despite_size, patience=timeout)
            return output.told(told_answer(answered))

    return perform(options, work, blank=dict(BLANK))
