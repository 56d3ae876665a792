"""Whether a server could be launched from an image here, as far as that is to be known without launching one.

The cloud's own dry run checks the form of a request and its mandatory fields, no more (BEHAVIOUR.md 11), and says so in words of
ours: a server that answers is the only proof. Four requests, or those of a launch order's plan.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

from backup_to_image.errors import ApiError, CloudError, Denied, ErrorClass, Throttled
from backup_to_image.model import Check, Flavor, Image, LaunchOrder, LaunchRequest, Subnet
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.launch import check_launch
from backup_to_image.steps.once import pause_or_raise
from backup_to_image.waiting import passes

__all__ = ["launchable", "launchable_as"]

_PAGE = "ECS api-ref/source/apis_recommended/lifecycle_management/creating_an_ecs.rst"
_RULE = "could be launched"
_SOLD = {"normal", "obt", "promotion"}
_NAME = "b2i-dry-run"
_OF_32_BIT = 4096
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
        flavors, zones, subnets = await asyncio.gather(
            ctx.cloud.servers.flavors(), ctx.cloud.servers.zones(), ctx.cloud.networks.subnets()
        )
    except CloudError as error:
        return _unknowable(
            f"flavors, zones and networks could not be read: {error.message}", error.action or _PROOF, because=error
        )
    fitting = _smallest(image, flavors, [zone.name for zone in zones if zone.available])
    if not subnets:
        return _unknowable("this project has no network that a server could be in", "Make a VPC with a subnet, then launch.")
    if fitting is None:
        why = f"no flavor on sale fits the image, which wants {_memory(image)}"
        return Check(rule=_RULE, verdict="refused", why=why, action="Ask the cloud's help desk.", code="Ecs.0029", page=_PAGE)
    (flavor, zone), subnet = fitting, subnets[0]
    request = LaunchRequest(
        name=_NAME,
        image_id=image.id,
        flavor_id=flavor.id,
        zone=zone,
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


def _smallest(image: Image, flavors: Sequence[Flavor], zones: Sequence[str]) -> tuple[Flavor, str] | None:
    """The flavor, and a zone in which it is on sale."""
    sold = [(flavor, zone) for flavor in flavors if _fits(flavor, image) for zone in zones if flavor.state_in(zone) in _SOLD]
    return min(sold, key=lambda one: (_foreign(one[0]), one[0].vcpus, one[0].ram_mb, one[0].name), default=None)


def _foreign(flavor: Flavor) -> bool:
    """Of another architecture than nearly all images: what an image is of, no list tells."""
    return bool(flavor.architecture) and not flavor.architecture.startswith("x86")


def _fits(flavor: Flavor, image: Image) -> bool:
    return image.min_ram_mb <= flavor.ram_mb <= (_most_memory(image) or flavor.ram_mb)


def _most_memory(image: Image) -> int | None:
    """In MB; a 32-bit system uses 4 GB at most (BEHAVIOUR.md 11)."""
    return min(image.max_ram_mb or _OF_32_BIT, _OF_32_BIT) if image.os_bit == "32" else image.max_ram_mb


def _memory(image: Image) -> str:
    most = _most_memory(image)
    return f"{image.min_ram_mb} MB of memory at least" + (f" and {most} at most" if most else "")


def _words_of(flavor: Flavor, subnet: Subnet) -> str:
    return f"a server of flavor {flavor.name} in network {subnet.name or subnet.id}"


def _against(refusal: ApiError, what: str) -> Check:
    """A refusal is one where the cloud is clear about the request; what this log-in may not ask says nothing about the image."""
    said = f"{refusal.code}: {refusal.words}" if refusal.words else refusal.code
    if isinstance(refusal, Denied):
        return _unknowable(f"this log-in may not ask the cloud's dry run ({said})", _PROOF, because=refusal)
    busy = isinstance(refusal, Throttled) or (passes(refusal) and not refusal.retryable)
    if busy or refusal.error_class is ErrorClass.UNCLEAR or refusal.cloud_code is None:  # without a code nobody knows what of
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
