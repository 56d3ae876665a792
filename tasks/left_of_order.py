"""What an order of one command has in the cloud, for whoever has cancelled it: each form's own look, which makes nothing."""

from __future__ import annotations

from contextlib import suppress

from backup_to_image.errors import Refused
from backup_to_image.forms import (
    AcceptForm,
    AcceptOffersForm,
    ActionForm,
    ChangeForm,
    HandOverForm,
    LaunchingForm,
    RejectForm,
    RunbookForm,
    ShareForm,
    TeardownForm,
    UnshareForm,
)
from backup_to_image.steps.changing.change_os import look_at_server
from backup_to_image.steps.changing.plan import find_server
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.teardown import find_launch
from backup_to_image.steps.leftovers import Leftover, Leftovers, look_for_servers
from backup_to_image.steps.runbook.left import look_for_run
from backup_to_image.steps.sharing.accept_offers import look_for_offers
from backup_to_image.steps.sharing.offers import find_offer, look_for_answer
from backup_to_image.steps.sharing.owner import find_image, look_for_shares

__all__ = ["left_of_order"]


async def left_of_order(form: ActionForm, ctx: Context) -> Leftovers:
    """What is there of it at this moment. Nothing where it was refused or only looked. Raises B2iError."""
    left = Leftovers(seen_at=ctx.clock.now())
    with suppress(Refused):
        match form:
            case ShareForm(projects=[]) | AcceptForm(image="") | LaunchingForm(dry_run=True) | ChangeForm(dry_run=True):
                pass
            case ShareForm() | UnshareForm() | HandOverForm():
                left = await look_for_shares(await find_image(form.image, ctx), ctx)
            case AcceptForm() | RejectForm():
                left = await look_for_answer((await find_offer(form.image, ctx)).image, ctx)
            case AcceptOffersForm():
                left = await look_for_offers(ctx)
            case LaunchingForm():
                image = await ctx.cloud.images.get(form.image.strip())
                left = await look_for_servers(image, form.order(ctx.settings), ctx, mode=form.mode)
            case TeardownForm():
                found = await find_launch(form.launch_id.strip(), ctx)
                there = tuple(Leftover(kind="server", id=one.id, name=one.name, status=one.status) for one in found.servers)
                left = left.model_copy(update={"things": there})
            case RunbookForm():
                left = await look_for_run(form.file(ctx.settings), form.mode, ctx)
            case ChangeForm():
                server = await find_server(form.server.strip(), ctx)
                left = await look_at_server(server, ctx) if server else left
            case _:
                pass
    return left
