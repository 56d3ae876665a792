"""What an account may do and has room for, step by step: read-only calls made once, judged by plain rules.

Each step of the pipeline has the calls that it reads with, and the IAM action that each takes. What changes something cannot be
tried without changing it: it is named with its action and said to be untried.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from backup_to_image.errors import ApiError, CloudError, Denied, NotFound, UsageError
from backup_to_image.model import Check, Limits, Quota, Value, Vault
from backup_to_image.otc import Cloud
from backup_to_image.settings import Settings

__all__ = ["STEPS", "Checkup", "Right", "check_account", "journal_check", "local_checks", "skew_check"]

T = TypeVar("T")
Outcome = Literal["granted", "missing", "unclear", "not tried"]

STEPS = ("validate", "create", "share", "accept", "launch", "teardown", "change-os", "retention")

_IMAGES = "IMS api-ref/source/permissions_and_supported_actions/image_management.rst"
_IMAGE_QUOTA = "IMS api-ref/source/permissions_and_supported_actions/image_quota.rst"
_SHARING = "IMS api-ref/source/permissions_and_supported_actions/image_sharing.rst"
_TAGS = "IMS api-ref/source/permissions_and_supported_actions/image_tagging.rst"
_CBR = "CBR api-ref/source/permissions_policies_and_supported_actions/cbr_actions.rst"
_ECS = "ECS api-ref/source/permissions_and_supported_actions"
_VPC = "VPC api-ref/source/permissions_and_supported_actions/permissions_and_supported_actions_of_api_v1_and_v2"
_EVS = "EVS api-ref/source/permissions_policies_and_supported_actions/disk.rst"
_EIP = "EIP api-ref/source/permissions_policies_and_supported_actions/eip.rst"


class _Action(Value):
    """An IAM action, what it lets one do, the page that names it, and the steps that need it."""

    action: str
    does: str
    page: str
    steps: tuple[str, ...]


# Calls that read: tried. The key is the probe's name in _probes.
_READS: Mapping[str, _Action] = {
    "backups": _Action(action="cbr:backups:list", does="list backups", page=_CBR, steps=("validate", "create", "retention")),
    "backup": _Action(
        action="cbr:backups:get",
        does="read a backup with its disks",
        page=_CBR,
        steps=("validate", "create", "share", "launch", "change-os", "retention"),
    ),
    "vaults": _Action(action="cbr:vaults:list", does="list vaults", page=_CBR, steps=("validate", "accept")),
    "vault": _Action(action="cbr:vaults:get", does="read a backup's vault", page=_CBR, steps=("validate",)),
    "servers": _Action(
        action="ecs:cloudServers:list",
        does="list servers and their tags",
        page=f"{_ECS}/lifecycle_management.rst",
        steps=("launch", "teardown", "change-os", "retention"),
    ),
    "server": _Action(
        action="ecs:cloudServers:showServer",
        does="read a server",
        page=f"{_ECS}/lifecycle_management.rst",
        steps=("validate", "launch", "teardown", "change-os", "retention"),
    ),
    "disks": _Action(action="evs:volumes:list", does="list disks", page=_EVS, steps=("validate", "teardown", "change-os")),
    "images": _Action(
        action="ims:images:list", does="list images", page=_IMAGES, steps=("validate", "create", "share", "accept", "retention")
    ),
    "image": _Action(
        action="ims:images:get",
        does="read an image",
        page=_IMAGES,
        steps=("create", "share", "accept", "launch", "change-os", "retention"),
    ),
    "image quota": _Action(action="ims:quotas:get", does="read the image quota", page=_IMAGE_QUOTA, steps=("validate",)),
    "members": _Action(
        action="ims:images:share", does="read an image's members", page=_SHARING, steps=("share", "accept", "retention")
    ),
    "vpcs": _Action(action="vpc:vpcs:list", does="list VPCs", page=f"{_VPC}/vpc.rst", steps=("launch",)),
    "subnets": _Action(action="vpc:subnets:get", does="list subnets", page=f"{_VPC}/subnet.rst", steps=("launch",)),
    "groups": _Action(
        action="vpc:securityGroups:get", does="list security groups", page=f"{_VPC}/security_group.rst", steps=("launch",)
    ),
    "flavors": _Action(
        action="ecs:cloudServerFlavors:get", does="list flavors", page=f"{_ECS}/specifications_query.rst", steps=("launch",)
    ),
    "limits": _Action(
        action="ecs:cloudServerQuotas:get",
        does="read the quotas of servers, vCPUs and RAM",
        page=f"{_ECS}/tenant_quota_management.rst",
        steps=("launch",),
    ),
    "zones": _Action(
        action="ecs:availabilityZones:list", does="list availability zones", page=f"{_ECS}/az_management.rst", steps=("launch",)
    ),
    "key pairs": _Action(
        action="ecs:serverKeypairs:list",
        does="list key pairs",
        page=f"{_ECS}/ssh_key_management.rst",
        steps=("launch", "change-os"),
    ),
    "addresses": _Action(action="vpc:publicIps:list", does="list public addresses", page=_EIP, steps=("teardown",)),
}

# Calls that change something: never tried here.
_CHANGES = (
    _Action(
        action="ims:wholeImages:create",
        does="make a full-ECS image (it also takes cbr:*:* and the other actions that its page names)",
        page=_IMAGES,
        steps=("create",),
    ),
    _Action(action="ims:images:update", does="tag an image", page=_TAGS, steps=("create",)),
    _Action(action="ims:images:share", does="add a member to an image, or remove one", page=_SHARING, steps=("share",)),
    _Action(action="ims:images:share", does="accept or reject what others share", page=_SHARING, steps=("accept",)),
    _Action(
        action="ecs:cloudServers:createServers",
        does="launch a server (with a new public address also vpc:publicIps:create)",
        page=f"{_ECS}/lifecycle_management.rst",
        steps=("launch",),
    ),
    _Action(
        action="ecs:cloudServers:deleteServers",
        does="delete servers",
        page=f"{_ECS}/lifecycle_management.rst",
        steps=("teardown",),
    ),
    _Action(action="evs:volumes:delete", does="delete a disk that stayed behind", page=_EVS, steps=("teardown",)),
    _Action(
        action="ecs:cloudServers:changeOS",
        does="replace a server's system disk",
        page=f"{_ECS}/ecs_status_management.rst",
        steps=("change-os",),
    ),
    _Action(
        action="ecs:cloudServers:stop",
        does="shut a running server down first (`--stop`)",
        page=f"{_ECS}/batch_operations.rst",
        steps=("change-os",),
    ),
    _Action(action="ims:images:delete", does="delete an image", page=_IMAGES, steps=("retention",)),
    _Action(action="cbr:backups:delete", does="delete a backup behind its image", page=_CBR, steps=("retention",)),
    _Action(action="vpc:publicIps:delete", does="release an address that stayed behind", page=_EIP, steps=("teardown",)),
)


class Right(Value):
    """One action of one step: whether the account may, as far as a look can tell."""

    step: str
    action: str
    does: str
    outcome: Outcome
    why: str
    code: str | None = None
    remedy: str = ""
    page: str = ""
    changes: bool = False
    """It changes something, so it was not tried."""


class Checkup(Value):
    """What was found; None where it could not be read."""

    rights: tuple[Right, ...]
    steps: dict[str, Literal["open", "blocked", "unclear"]]
    """blocked: a right is missing. open: every look was let through; what changes something was not tried all the same."""
    images: Quota | None
    limits: Limits | None
    vaults: tuple[Vault, ...] | None
    checks: tuple[Check, ...]


class _Look(Value):
    """How one probe ended. `skipped` says why it could not be made."""

    value: Any = None
    error: Any = None
    skipped: str = ""


async def check_account(cloud: Cloud) -> Checkup:
    """Look at everything that the steps look at, about twenty requests. Reads only; safe to repeat.

    A refusal is a finding, not an error. Raises LoginRefused when the log-in itself is refused.
    """
    await cloud.login()
    looks = await _probes(cloud)
    rights = tuple(_rights(looks))
    quotas: dict[str, Quota] = looks["image quota"].value or {}
    images = quotas.get("image")
    limits: Limits | None = looks["limits"].value
    vaults: tuple[Vault, ...] | None = looks["vaults"].value
    checks = (*_quota_checks(images, limits), *_vault_checks(vaults or ()))
    return Checkup(
        rights=rights,
        steps={step: _readiness([right for right in rights if right.step == step]) for step in STEPS},
        images=images,
        limits=limits,
        vaults=vaults,
        checks=checks,
    )


async def _probes(cloud: Cloud) -> dict[str, _Look]:
    """Every reading call once; those that need an id after the list that holds one."""
    first: dict[str, Awaitable[Any]] = {
        "backups": _first(cloud.backups.list(limit=1)),
        "vaults": _all(cloud.vaults.list()),
        "servers": _first(cloud.servers.list()),
        "disks": _first(cloud.disks.list()),
        "images": _first(cloud.images.list(whole=True, owner=cloud.project_id, newest_first=True, page_size=1)),
        "image quota": cloud.images.quota(),
        "vpcs": cloud.networks.vpcs(),
        "subnets": cloud.networks.subnets(),
        "groups": cloud.networks.security_groups(),
        "flavors": cloud.servers.flavors(),
        "limits": cloud.servers.limits(),
        "zones": cloud.servers.zones(),
        "key pairs": cloud.servers.key_pairs(),
        "addresses": cloud.public_ips.list(),
    }
    looks = dict(zip(first, await asyncio.gather(*(_look(call) for call in first.values())), strict=True))
    backup, server, image = looks["backups"].value, looks["servers"].value, looks["images"].value
    vault_id = backup.vault_id if backup else next((vault.id for vault in looks["vaults"].value or ()), None)
    second: dict[str, Awaitable[Any] | str] = {
        "backup": cloud.backups.get(backup.id) if backup else "there is no backup to read",
        "vault": cloud.vaults.get(vault_id) if vault_id else "there is no vault to read",
        "server": cloud.servers.get(server.id) if server else "there is no server to read",
        "image": cloud.images.get(image.id) if image else "there is no full-ECS image to read yet",
        "members": cloud.images.members(image.id) if image else "there is no full-ECS image to read yet",
    }
    ended = await asyncio.gather(*(_look(call) for call in second.values()))
    return {**looks, **dict(zip(second, ended, strict=True))}


async def _look(call: Awaitable[Any] | str) -> _Look:
    if isinstance(call, str):
        return _Look(skipped=call)
    try:
        return _Look(value=await call)
    except (CloudError, UsageError) as error:  # UsageError: the catalog has no such service
        return _Look(error=error)


def _rights(looks: Mapping[str, _Look]) -> Iterator[Right]:
    for step in STEPS:
        for name, action in _READS.items():
            if step in action.steps:
                yield _right(step, action, looks[name])
        for action in _CHANGES:
            if step in action.steps:
                why = "it cannot be tried without changing something"
                yield Right(
                    step=step,
                    action=action.action,
                    does=action.does,
                    outcome="not tried",
                    why=why,
                    page=action.page,
                    changes=True,
                )


def _right(step: str, action: _Action, look: _Look) -> Right:
    outcome, why, code, remedy = _judge(step, action, look)
    return Right(
        step=step, action=action.action, does=action.does, outcome=outcome, why=why, code=code, remedy=remedy, page=action.page
    )


def _judge(step: str, action: _Action, look: _Look) -> tuple[Outcome, str, str | None, str]:
    error = look.error
    if error is None:
        return ("not tried", look.skipped, None, "") if look.skipped else ("granted", "the cloud answered", None, "")
    if isinstance(error, NotFound):
        return "granted", "the cloud looked, and there was nothing", error.cloud_code, ""
    if isinstance(error, Denied):
        said = ": ".join(part for part in (error.cloud_code or f"HTTP {error.status}", error.words) if part)
        return "missing", f"refused: {said}", error.cloud_code, f"Grant {action.action} to this user's group; {step} needs it."
    code = error.cloud_code if isinstance(error, ApiError) else None
    return "unclear", error.message, code, error.action or "Run it again."


def _readiness(rights: list[Right]) -> Literal["open", "blocked", "unclear"]:
    outcomes = {right.outcome for right in rights}
    return "blocked" if "missing" in outcomes else "unclear" if "unclear" in outcomes else "open"


def _quota_checks(images: Quota | None, limits: Limits | None) -> Iterator[Check]:
    used = {"images": images} | ({"servers": limits.servers, "vCPUs": limits.vcpus, "RAM": limits.ram_mb} if limits else {})
    for what, quota in used.items():
        if quota is None:
            yield Check(rule=f"quota of {what}", verdict="unknowable", why="it could not be read")
        elif quota.free is not None and quota.free < 1:
            yield Check(
                rule=f"quota of {what}",
                verdict="refused",
                why=f"{quota.used} of {quota.limit} are used: none is left",
                action="Delete what nobody needs, or ask for a larger quota.",
                code="IMG.0015" if what == "images" else "Ecs.0001",
            )
        else:
            limit = "no limit" if quota.limit is None else quota.limit
            near = quota.free is not None and quota.limit is not None and quota.free * 10 < quota.limit
            yield Check(rule=f"quota of {what}", verdict="warned" if near else "passed", why=f"{quota.used} of {limit} used")


def _vault_checks(vaults: tuple[Vault, ...]) -> Iterator[Check]:
    for vault in vaults:
        rule = f"vault {vault.name or vault.id}"
        if vault.status not in {"available", "lock"}:
            yield Check(
                rule=rule,
                verdict="warned",
                why=f"it is {vault.status}: no image can be made of the backups in it",
                action="See to the vault in CBR.",
                code="IMG.0188",
            )
        elif vault.size_gb * 1024 <= vault.used_mb:
            why = "it is full: it takes no new backup and no shared image; images of the backups in it can be made"
            yield Check(rule=rule, verdict="warned", why=why, action="Enlarge it, or delete backups that nobody needs.")


def local_checks(settings: Settings) -> Iterator[Check]:
    """The settings file: whether there is one, and whom it lets images be shared with."""
    if settings.file is None:
        yield Check(
            rule="settings file",
            verdict="warned",
            why="there is none, so images can be shared with nobody",
            action="To share, write ./b2i.yaml with `projects: {ALIAS: PROJECT_ID}`.",
        )
        return
    yield Check(rule="settings file", verdict="passed", why=str(settings.file))
    allowed = ", ".join(f"{alias} ({ident})" for alias, ident in settings.projects.items())
    yield Check(
        rule="recipients", verdict="passed" if allowed else "warned", why=allowed or "none: images can be shared with nobody"
    )


def journal_check(folder: str, trouble: str | None) -> Check:
    """The journal: where it lies, and whether it can be written."""
    if trouble is None:
        return Check(rule="journal", verdict="passed", why=f"{folder} can be written")
    action = "Make room, correct the rights, or name another folder as `journal:` in b2i.yaml. Nothing is made without it."
    return Check(rule="journal", verdict="refused", why=trouble, action=action, code="b2i.journal")


def skew_check(seconds: float | None) -> Check:
    """This machine's clock beside the cloud's. Names, deadlines and signatures of requests are made from it."""
    if seconds is None:
        return Check(rule="clock", verdict="unknowable", why="no answer carried a date")
    words = f"this clock is {abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} the cloud's"
    if abs(seconds) < 60:
        return Check(rule="clock", verdict="passed", why=words)
    return Check(
        rule="clock",
        verdict="refused" if abs(seconds) >= 300 else "warned",
        why=words,
        action="Set it by NTP: signed requests are refused with a wrong time, and dates in names would be wrong.",
    )


async def _first(things: AsyncIterator[T]) -> T | None:
    async for thing in things:
        return thing
    return None


async def _all(things: AsyncIterator[T]) -> tuple[T, ...]:
    return tuple([thing async for thing in things])
