"""`b2i hand-over`: both sides of a share, by whoever has both log-ins."""

from __future__ import annotations

from dataclasses import replace
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
    "recipient": None,
    "alias": None,
    "state": None,
    "ends_at": None,
    "members": [],
    "vault_id": None,
    "job_id": None,
    "proof": [],
    "report": None,
    "error": None,
}

_EPILOG = """\b
Examples, with the owner's log-in as --cloud and the recipient's as --to:
  b2i --cloud shop hand-over IMAGE --to dr
  b2i --cloud shop hand-over IMAGE --to dr --share-for 30d --spec launch/shop-db-01.yaml
"""


@click.command("hand-over", epilog=_EPILOG)
@click.argument("image")
@click.option("--to", metavar="CLOUD", required=True, help="The recipient's entry of clouds.yaml; its project gets the image.")
@click.option("--vault", metavar="V", help="The recipient's vault (id or name) that takes it; else the emptiest that fits.")
@click.option("--despite-size", is_flag=True, help="Also where the disks are larger than what is free; the cloud decides.")
@click.option("--share-for", type=LENGTH, metavar="30d", help="End the sharing after so long, by `b2i sweep --apply`.")
@click.option("--spec", metavar="SPEC.yaml", help="A launch order: its plan becomes part of the proof. Nothing is launched.")
@click.option("--timeout", type=LENGTH, metavar="1h", default="1h", show_default=True, help="Wait so long for all of it.")
@common_options
@click.pass_obj
def command(
    options: Options,
    image: str,
    to: str,
    vault: str | None,
    despite_size: bool,
    share_for: timedelta | None,
    spec: str | None,
    timeout: timedelta,
) -> int:
    """Share IMAGE (id or unique name) with the project of another log-in, accept it there, and prove it as its recipient.

    b2i.yaml has to name that project. Every reason of both sides is told before anything is shared. Safe to repeat, also where
    either side was done by hand. Exit codes: 0 accepted and proven; 1 the cloud did not share it; 3 refused, nothing was shared;
    4 still running, the same command resumes; 5 shared, and not accepted or not to be used.
    """
    from backup_to_image.cli.session import connected, perform

    if share_for == timedelta(0):
        raise click.UsageError("--share-for: a share that ends at once is none.")

    async def work(output: Output) -> int:
        from backup_to_image.forms import HandOverForm, as_text
        from backup_to_image.steps.sharing.hand_over import hand_over
        from backup_to_image.steps.sharing.owner import find_image_to_share, look_for_shares
        from backup_to_image.told.hand_over import recipient_known, told_hand_over
        from backup_to_image.told.shares import members_known

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            form = HandOverForm(
                image=image,
                share_for=as_text(share_for) if share_for else "",
                vault=vault or "",
                despite_size=despite_size,
                launch=Path(spec).name if spec else "",  # the worker's file decides
                timeout=as_text(timeout),
            )
            return await submit_order(form, options, output, recipient=to)
        launch = launch_file(spec) if spec else None
        async with connected(options, output) as owner, connected(replace(options, cloud=to), output) as recipient:
            output.blank |= recipient_known(recipient.project_id, owner.settings)
            found = await find_image_to_share(image, (recipient.project_id,), owner)
            async with (
                members_known(found, owner, output.blank),
                output.naming_what_is_left(lambda: look_for_shares(found, owner)),
            ):
                done = await hand_over(
                    found,
                    owner,
                    recipient,
                    vault=vault,
                    despite_size=despite_size,
                    share_for=share_for,
                    launch=launch,
                    patience=timeout,
                    to=to,
                )
            return output.told(told_hand_over(done))

    return perform(options, work, blank=dict(BLANK))
