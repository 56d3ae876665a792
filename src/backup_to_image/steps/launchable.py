"""Whether a server could be launched from an image here, as far as that is to be known without launching one.

The cloud's own dry run checks the form of a request and its mandatory fields, no more (BEHAVIOUR.md 11), and says so in words of
ours: a server that answers is the only proof. Three requests, or those of a launch order's plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from backup_to_image.errors import ApiError, CloudError, Denied, ErrorClass, Throttled
from backup_to_image.model import Check, Flavor, Image, LaunchOrder, LaunchRequest, Subnet
from backup_to_image.steps.context import Context
from backup_to_image.steps.launch import check_launch
from backup_to_image.steps.once import pause_or_raise
from backup_to_image.waiting import passes

__all__ = ["launchable", "launchable_as"]

_PAGE = "ECS api-ref/source/apis_recommended/lifecycle_management/creating_an_ecs.rst"
_RULE = "could be launched"
_SOLD = {"normal", "obt", "promotion"}
_NAME = "b2i-dry-run"
_FORM_ALONE = "a dry run checks the form of the request alone: a server that answers is the proof"
_PATIENCE = timedelta(minutes=5)
"""For a cloud that is too busy to be asked: that is no word on the image."""
_PROOF = "The proof is a server: `b2i launch` with probes."


async def launchable(image: Image, ctx: Context, *, deadline: datetime) -> Check:
    """Ask the cloud's dry run for the smallest flavor on sale that fits the image, in the first network of the project.

    Launches nothing, safe to repeat. Refused with the cloud's code; unknowable where the project has no network, or where this
    log-in may not ask, or nobody answers.
    """
    try:
        flavors, subnets = await asyncio.gather(ctx.cloud.servers.flavors(), ctx.cloud.networks.subnets())
    except CloudError as error:
        return _unknowable(f"flavors and networks could not be read: {error.message}", error.action or _PROOF, because=error)
    fitting = _smallest(image, flavors)
    if not subnets:
        return _unknowable("this project has no network that a server could be in", "Make a VPC with a subnet, then launch.")
    if fitting is None:
        why = f"no flavor on sale fits the image, which wants {_memory(image)}"
        return Check(rule=_RULE, verdict="refused", why=why, action="Ask the cloud's help desk.", code="Ecs.0029", page=_PAGE)
    flavor, subnet = fitting, subnets[0]
    request = LaunchRequest(
        name=_NAME,
        image_id=image.id,
        flavor_id=flavor.id,
        zone=_zone(flavor),
        vpc_id=subnet.vpc_id,
        subnet_ids=(subnet.id,),
    )
    until = min(deadline, ctx.deadline(_PATIENCE))
    while True:
        try:
            await ctx.cloud.servers.launch(request, dry_run=True)
        except ApiError as refusal:
            try:
                await pause_or_raise(refusal, ctx, until)
            except ApiError:
                return _against(refusal, _words_of(flavor, subnet))
        except CloudError as error:
            return _unknowable(f"the cloud's dry run was not answered: {error.message}", _PROOF, because=error)
        else:
            why = f"the cloud's dry run has nothing against {_words_of(flavor, subnet)}; {_FORM_ALONE}"
            return Check(rule=_RULE, verdict="passed", why=why, page=_PAGE)


async def launchable_as(image: Image, order: LaunchOrder, ctx: Context) -> tuple[Check, ...]:
    """What the plan of this launch order has for and against a launch, with what the cloud's dry run says to it.

    Launches nothing, safe to repeat.
    """
    try:
        plan = await check_launch(image, order, ctx)
    except ApiError as refusal:
        return (_against(refusal, f"launch order {order.name}"),)
    except CloudError as error:
        return (_unknowable(f"the cloud's dry run was not answered: {error.message}", _PROOF, because=error),)
    if plan.ok:
        why = f"plan and the cloud's dry run have nothing against launch order {order.name}; {_FORM_ALONE}"
        return (*plan.checks, Check(rule=_RULE, verdict="passed", why=why, page=_PAGE))
    if any(check.verdict == "refused" for check in plan.checks):
        return plan.checks
    return (*plan.checks, _unknowable(f"launch order {order.name} could not be planned", _PROOF))


def _smallest(image: Image, flavors: Sequence[Flavor]) -> Flavor | None:
    fitting = [flavor for flavor in flavors if _on_sale(flavor) and _fits(flavor, image)]
    return min(fitting, key=lambda one: (one.vcpus, one.ram_mb, one.name), default=None)


def _on_sale(flavor: Flavor) -> bool:
    return flavor.state in _SOLD or _zone(flavor) is not None


def _zone(flavor: Flavor) -> str | None:
    """The zone that has to be named, where it is sold in some alone; else the cloud chooses."""
    if flavor.state in _SOLD and not flavor.zones:
        return None
    return next((zone for zone, state in flavor.zones.items() if state in _SOLD), None)


def _fits(flavor: Flavor, image: Image) -> bool:
    return image.min_ram_mb <= flavor.ram_mb <= (image.max_ram_mb or flavor.ram_mb)


def _memory(image: Image) -> str:
    return f"{image.min_ram_mb} MB of memory at least" + (f" and {image.max_ram_mb} at most" if image.max_ram_mb else "")


def _words_of(flavor: Flavor, subnet: Subnet) -> str:
    return f"a server of flavor {flavor.name} in network {subnet.name or subnet.id}"


def _against(refusal: ApiError, what: str) -> Check:
    """A refusal is one where the cloud is clear about the request; what this log-in may not ask says nothing about the image."""
    said = f"{refusal.code}: {refusal.words}" if refusal.words else refusal.code
    if isinstance(refusal, Denied):
        return _unknowable(f"this log-in may not ask the cloud's dry run ({said})", _PROOF, because=refusal)
    busy = isinstance(refusal, Throttled) or (passes(refusal) and not refusal.retryable)
    if busy or refusal.error_class is ErrorClass.UNCLEAR:
        return _unknowable(f"the cloud's dry run did not come to an end ({said})", _PROOF, because=refusal)
    return Check(
        rule=_RULE,
        verdict="refused",
        why=f"the cloud's dry run refuses {what}: {said}",
        action=refusal.action or _PROOF,
        waiting_helps=refusal.retryable,
        code=refusal.code,
        page=_PAGE,
    )


def _unknowable(why: str, action: str, *, because: CloudError | None = None) -> Check:
    helps = because.retryable if because else False
    code = because.code if because else ""
    return Check(rule=_RULE, verdict="unknowable", why=why, action=action, code=code, waiting_helps=helps, page=_PAGE)
