"""`b2i accept`: what is offered to this project, and taking it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from backup_to_image.cli.options import Options, common_options
from backup_to_image.cli.order import LENGTH, launch_file

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
  b2i --cloud dr accept IMAGE --spec launch/shop-db-01.yaml
  b2i --cloud dr accept --all                   what b2i.yaml names senders of
"""


@click.command("accept", epilog=_EPILOG)
@click.argument("image", required=False)
@click.option("--all", "everything", is_flag=True, help="Everything unanswered of the senders that b2i.yaml names.")
@click.option("--vault", metavar="V", help="Server vault (id or name) that takes it; else the emptiest that fits.")
@click.option("--despite-size", is_flag=True, help="Also where the disks are larger than what is free; the cloud decides.")
@click.option("--spec", metavar="SPEC.yaml", help="A launch order: its plan becomes part of the proof. Nothing is launched.")
@click.option("--timeout", type=LENGTH, metavar="1h", default="1h", show_default=True, help="Wait so long for it.")
@common_options
@click.pass_obj
def command(
    options: Options,
    image: str | None,
    everything: bool,
    vault: str | None,
    despite_size: bool,
    spec: str | None,
    timeout: timedelta,
) -> int:
    """Accept IMAGE (id, or an offered one's name) that another project has shared with this one; without it, list the offers.

    Use the recipient's own log-in. A full-ECS image is copied into a vault of the recipient, and billed there. With --all it
    takes what `accept_from` in b2i.yaml allows, and tells the rest. Exit codes: 0 accepted, on the list of images and, as far as
    the cloud tells, to be launched, or nothing to do; 3 refused, with every reason against every vault; 4 still running; 5
    accepted, and it cannot be used, or some are accepted and others not.
    """
    from backup_to_image.cli.session import connected, perform

    if everything and image is not None:
        raise click.UsageError("--all takes what is offered; IMAGE names one. Say one of the two.")
    if image is None and (spec is not None or (not everything and (vault is not None or despite_size))):
        raise click.UsageError("--vault, --despite-size and --spec say how; which IMAGE is missing.")

    async def work(output: Output) -> int:
        from backup_to_image.forms import AcceptForm, AcceptOffersForm, as_text
        from backup_to_image.steps.sharing.accept_offers import accept_offers, look_for_offers
        from backup_to_image.steps.sharing.offers import accept, find_offer, list_offers, look_for_answer
        from backup_to_image.told.offers import offer_known, told_all_offers, told_answer, told_offers

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            into, wait = vault or "", as_text(timeout)
            name = Path(spec).name if spec else ""  # the worker's file decides
            form = AcceptForm(image=image or "", vault=into, despite_size=despite_size, launch=name, timeout=wait)
            all_of_them = AcceptOffersForm(vault=into, despite_size=despite_size, timeout=wait)
            return await submit_order(all_of_them if everything else form, options, output)
        launch = launch_file(spec) if spec else None
        async with connected(options, output, cloud_name=launch.cloud if launch else None) as ctx:
            if everything:
                async with output.naming_what_is_left(lambda: look_for_offers(ctx)):
                    done = await accept_offers(ctx, vault=vault, despite_size=despite_size, patience=timeout)
                return output.told(told_all_offers(done, ctx.settings))
            if image is None:
                return output.told(told_offers(await list_offers(ctx), ctx.settings))
            offer = await find_offer(image, ctx)
            output.blank |= offer_known(offer)
            async with output.naming_what_is_left(lambda: look_for_answer(offer.image, ctx)):
                answered = await accept(offer, ctx, vault=vault, despite_size=despite_size, launch=launch, patience=timeout)
            return output.told(told_answer(answered))

    return perform(options, work, blank=dict(BLANK))
