"""The rules of sharing an image that is there, one function each: facts in, checks out (BEHAVIOUR.md 8, 9 and 14)."""

from __future__ import annotations

from collections.abc import Iterator

from backup_to_image.model import Backup, Check, Image, Value
from backup_to_image.settings import Settings
from backup_to_image.steps.sharing.recipients import SWISS, most_members

__all__ = ["ImageFacts", "ownership_check", "region_checks", "share_checks", "state_check"]

_GUIDE = "IMS umn/source/creating_a_private_image/creating_a_full-ecs_image_from_a_cbr_backup.rst"
_SHARING = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"
_SWISS_SHARING = "IMS-CH api-ref/source/common_parameters/restrictions_on_image_sharing.rst"
_IN_WORK = {"queued", "saving"}


class ImageFacts(Value):
    """An image, and the backup behind it as far as it is to be seen."""

    image: Image
    backup: Backup | None = None
    backup_unknown: bool = False
    """CBR says that there is no such backup."""
    unread: str = ""
    """Why the backup could not be read."""


def share_checks(found: ImageFacts, own_project: str, region: str | None, settings: Settings) -> Iterator[Check]:
    """Whether the image may be shared at all, with whomever."""
    image = found.image
    yield ownership_check(image, own_project)
    yield state_check(image)
    yield _kind(image, region)
    if image.owner == own_project:
        yield from _origin(found, own_project)
        yield _encryption(found)
    if image.backup_id:
        yield from region_checks(region, settings)


def ownership_check(image: Image, own_project: str) -> Check:
    """Only the owner shares, and only what is not everybody's anyhow."""
    if image.visibility == "public":
        return _refuse(
            "own image", "it is a public image, which everybody has", "Share images of your own.", "IMG.0089", _SHARING
        )
    if image.owner != own_project:
        why = f"it belongs to project {image.owner}; who has got an image cannot share it on"
        return _refuse("own image", why, "Let its owner do this.", "IMG.0106", _SHARING)
    return Check(rule="own image", verdict="passed", why="it belongs to this project", page=_SHARING)


def state_check(image: Image) -> Check:
    """Only an active image is shared, accepted and launched."""
    if image.status == "active":
        return Check(rule="active", verdict="passed", why="the image is active (Normal in the console)")
    waits = image.status in _IN_WORK
    return Check(
        rule="active",
        verdict="refused",
        why=f"the image is {image.status}, it must be active",
        action="Wait until it is Normal; `b2i reconcile` shows how far its order is." if waits else "Choose another image.",
        waiting_helps=waits,
        code="IMG.0046",
        page=_SHARING,
    )


def _kind(image: Image, region: str | None) -> Check:
    most = most_members(image, region)
    if image.backup_id:
        return Check(rule="kind", verdict="passed", why=f"a full-ECS image, for {most} projects at most", page=_SHARING)
    why = f"it is no full-ECS image: it holds one disk, {most} projects may have it, and they need no vault"
    return Check(rule="kind", verdict="passed", why=why, page=_SHARING)


def _origin(found: ImageFacts, own_project: str) -> Iterator[Check]:
    image, backup, rule = found.image, found.backup, "origin"
    if image.backup_id is None:
        return
    if found.backup_unknown:
        why = f"CBR knows no backup {image.backup_id} here: it was a CSBS backup, or one that was shared with this project"
        yield _refuse(rule, why, "Make an image of a CBR backup of this project, and share that.", "IMG.0135", _GUIDE)
    elif backup is None:
        yield Check(rule=rule, verdict="unknowable", why=f"the backup behind it could not be read: {found.unread}", page=_GUIDE)
    elif backup.replica:
        why = "made of a replica of a CBR backup; no page tells whether such an image can be shared"
        yield Check(rule=rule, verdict="warned", why=why, page=_GUIDE)
    elif backup.project_id != own_project:
        why = "the backup behind it was shared with this project, and the image of a shared backup cannot be shared"
        yield _refuse(rule, why, "Let the backup's owner make and share the image.", "IMG.0135", _GUIDE)
    else:
        yield Check(rule=rule, verdict="passed", why="made of a CBR backup of this project", page=_GUIDE)


def _encryption(found: ImageFacts) -> Check:
    backup = found.backup
    disks = backup is not None and (backup.encrypted or any(disk.encrypted for disk in backup.disks))
    if found.image.encrypted or disks:
        what = "the image is encrypted" if found.image.encrypted else "a disk in the backup behind it is encrypted"
        action = "Restore to unencrypted disks, back those up and share the image of that backup."
        return _refuse("not encrypted", f"{what}, and encrypted images cannot be shared", action, "IMG.0098", _SHARING)
    return Check(rule="not encrypted", verdict="passed", why="nothing says that a disk is encrypted", page=_SHARING)


def region_checks(region: str | None, settings: Settings) -> Iterator[Check]:
    """eu-ch2, where one page says that full-ECS images cannot be shared and another that they can (BEHAVIOUR.md 14)."""
    if region != SWISS:
        return
    if settings.share_in_eu_ch2:
        why = "the pages of eu-ch2 disagree whether full-ECS images can be shared; b2i.yaml says to try"
        yield Check(rule="region", verdict="warned", why=why, page=_SWISS_SHARING)
        return
    yield _refuse(
        "region",
        "the pages of eu-ch2 disagree whether full-ECS images can be shared there",
        f"To try it all the same, add `share_in_eu_ch2: true` to {settings.file or 'b2i.yaml'}.",
        "IMG.0135",
        _SWISS_SHARING,
    )


def _refuse(rule: str, why: str, action: str, code: str, page: str) -> Check:
    return Check(rule=rule, verdict="refused", why=why, action=action, code=code, page=page)
