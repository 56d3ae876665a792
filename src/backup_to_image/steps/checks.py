"""The rules of validation, one function each: facts in, checks out, no request anywhere.

They are those of BEHAVIOUR.md 4.2, 8 and 13 and of the user guide's page on full-ECS images. What the API cannot tell is said as
"unknowable", with the proof that there is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from backup_to_image.model import Backup, Check, ImageOrder, Verdict
from backup_to_image.steps.findings import Findings
from backup_to_image.steps.names import OUR_TAGS

__all__ = ["backup_checks", "order_checks", "sharing_checks"]

_GUIDE = "IMS umn/source/creating_a_private_image/creating_a_full-ecs_image_from_a_cbr_backup.rst"
_MARKS = "docs/cli.md"
_CREATE = "IMS api-ref/source/ims_apis/image/creating_a_full-ecs_image.rst"
_BACKUP = "CBR api-ref/source/cbr_apis/backups/querying_a_specified_backup.rst"
_REPLICAS = "CBR umn/source/backup_management/replicating_a_backup_across_regions.rst"
_SHARING = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"

_IMAGE_NAME = re.compile(r"[A-Za-z0-9._-]([A-Za-z0-9._ -]*[A-Za-z0-9._-])?")
_TAG_TEXT = re.compile(r"[A-Za-z0-9_-]*")
_WAITS = {"protecting", "waiting_protect", "restoring", "waiting_restore"}


def order_checks(order: ImageOrder, name: str | None) -> Iterator[Check]:
    """The order itself: name (None: not known yet), description, tags. All mistakes, not the first."""
    wrong = False
    if name is None:
        pass
    elif not name:
        yield _refuse(
            "image name", "the name is empty", "Give 1 to 128 letters, digits, '-', '.', '_' or spaces.", "IMG.0013", _CREATE
        )
    elif len(name) > 128:
        yield _refuse("image name", f"{len(name)} characters, 128 are the most", "Give a shorter one.", "IMG.0002", _CREATE)
    elif not _IMAGE_NAME.fullmatch(name):
        strange = "".join(sorted(set(re.sub(r"[A-Za-z0-9._ -]", "", name))))
        what = f"{name!r} has {strange!r}" if strange else f"{name!r} begins or ends with a space"
        yield _refuse("image name", what, "Use letters, digits, '-', '.', '_' and inner spaces.", "IMG.0003", _CREATE)
    else:
        yield _check("image name", "passed", f"{name!r}")
    if len(order.description) > 1024:
        yield _refuse(
            "description", f"{len(order.description)} characters, 1024 are the most", "Shorten it.", "IMG.0004", _CREATE
        )
        wrong = True
    if re.search(r"[<>\r\n]", order.description):
        yield _refuse("description", "it has '<', '>' or a line break", "Leave them out.", "IMG.0054", _CREATE)
        wrong = True
    if not wrong:
        yield _check("description", "passed", "none" if not order.description else f"{len(order.description)} characters")
    yield from _tag_checks(order.tags)


def _tag_checks(tags: dict[str, str]) -> Iterator[Check]:
    fine = True
    most = 10 - OUR_TAGS
    if len(tags) > most:
        fine = False
        yield _refuse(
            "tags",
            f"{len(tags)} tags; an image has room for 10, of which {OUR_TAGS} are kept for ours",
            f"Name at most {most}.",
            "IMG.0116",
            _CREATE,
        )
    for key, value in tags.items():
        if key.startswith("b2i-"):
            fine = False
            yield _refuse(
                "tags", f"{key!r} is one of our own marks", "Choose a key that does not begin with 'b2i-'.", page=_MARKS
            )
        elif not (1 <= len(key) <= 36 and _TAG_TEXT.fullmatch(key)):
            fine = False
            yield _refuse("tags", f"key {key!r} is not 1 to 36 letters, digits, '_' or '-'", "Correct it.", "IMG.0115", _CREATE)
        if len(value) > 43 or not _TAG_TEXT.fullmatch(value):
            fine = False
            yield _refuse(
                "tags",
                f"value {value!r} of {key!r} is not 0 to 43 letters, digits, '_' or '-'",
                "Correct it.",
                "IMG.0115",
                _CREATE,
            )
    if fine:
        yield _check("tags", "passed", f"{len(tags)} of the order, up to {OUR_TAGS} of ours")


def backup_checks(found: Findings, own_project: str) -> Iterator[Check]:
    """The backup and what is around it, rule by rule."""
    backup = found.backup
    yield _check("exists", "passed", f"backup {backup.id} ({backup.name or 'without a name'})", page=_BACKUP)
    if backup.kind != "server":
        yield _refuse(
            "of a server", "it is the backup of a disk or file system", "Choose the backup of a server.", "IMG.0198", _GUIDE
        )
        return
    yield _check("of a server", "passed", f"server {backup.resource_name or backup.resource_id}")
    yield _kind_of_server(found)
    yield _readiness(found)
    yield _system_disk(found)
    yield _use(found)
    yield _vault(found)
    yield _owner(backup, own_project)
    yield _quota(found)
    yield _power(found)
    yield _shared_disks(found)
    yield _sizes(found)
    if backup.expires_at and not found.image:
        yield _check(
            "expiry", "passed", f"expires {backup.expires_at:%Y-%m-%d}; once it has an image, CBR neither counts nor deletes it"
        )
    yield _check(
        "guest preparation",
        "unknowable",
        "no API shows whether DHCP, Cloud-Init, drivers and fstab were prepared; the proof is a launched server that answers",
        action="Launch one from the image: `--launch SPEC.yaml` with probes.",
        page=_GUIDE,
    )
    yield _check(
        "operating system known",
        "unknowable",
        "only the image's own job tells whether the source server carries its OS version",
        action="If the job fails with IMG.0195, set the OS of the source server.",
        page=_GUIDE,
    )


def sharing_checks(found: Findings, own_project: str) -> Iterator[Check]:
    """Whether the image could be shared at all; asked only when the order shares."""
    if found.backup.project_id != own_project and not found.backup.replica:
        yield _refuse(
            "shareable",
            "the backup was shared with this project, and the image of a shared backup cannot be shared",
            "Let the backup's owner make and share the image.",
            "IMG.0135",
            _GUIDE,
        )
    elif found.backup.encrypted or any(disk.encrypted for disk in found.backup.disks):
        yield _refuse(
            "shareable",
            "a disk in the backup is encrypted, and encrypted images cannot be shared",
            "Leave out the recipients, or restore to unencrypted disks and back those up.",
            "IMG.0098",
            _SHARING,
        )
    elif found.backup.replica:
        yield _check("shareable", "warned", "no page tells whether the image of a replica can be shared", page=_GUIDE)
    else:
        yield _check("shareable", "passed", "own backup, not encrypted", page=_GUIDE)


def _owner(backup: Backup, own_project: str) -> Check:
    if backup.project_id == own_project:
        return _check("own backup", "passed", "it belongs to this project", page=_GUIDE)
    if backup.replica:
        # BEHAVIOUR.md 14
        why = f"it is a replica; project {backup.project_id}, which it names, may be that of the backup that was copied"
        return _check("own backup", "passed", why, page=_REPLICAS)
    why = f"it belongs to project {backup.project_id}: an image can be made of it, but never be shared"
    return _check("own backup", "warned", why, page=_GUIDE)


def _kind_of_server(found: Findings) -> Check:
    if found.backup.replica:
        return _check("an ECS", "passed", "it is a replica, and CBR copies backups of ECSs alone", page=_REPLICAS)
    if found.source:
        return _check("an ECS", "passed", f"server {found.source.name} exists in ECS")
    if found.source_gone:
        why = "the source server is gone, so ECS cannot tell whether it was an ECS or a bare metal server"
    else:
        why = f"the source server could not be read: {found.unread.get('source server', 'no reason given')}"
    return _check("an ECS", "unknowable", why, action="A backup of a bare metal server would be refused with IMG.0180.")


def _readiness(found: Findings) -> Check:
    status = found.backup.status
    if status == "available" or found.image:
        return _check("ready", "passed", f"the backup is {status}")
    if status in _WAITS:
        return _check(
            "ready",
            "refused",
            f"the backup is {status}, it must be available",
            action="Wait for it: `--wait-backup 1h`, or run the same command later.",
            waiting_helps=True,
            code="IMG.0032",
            page=_CREATE,
        )
    if status == "error":
        return _refuse(
            "ready",
            "the backup failed and can only be deleted",
            "Choose another backup of the server, or make one.",
            "IMG.0032",
            _BACKUP,
        )
    return _refuse("ready", f"the backup is {status}", "Choose another backup of the server.", "IMG.0032", _CREATE)


def _system_disk(found: Findings) -> Check:
    backup = found.backup
    marked = any(disk.system for disk in backup.disks)
    if backup.contains_system_disk is False or (backup.disks and not marked and backup.contains_system_disk is None):
        return _refuse(
            "system disk", "the backup holds no system disk", "Back up the server with its system disk.", "IMG.0033", _GUIDE
        )
    if not backup.disks and backup.contains_system_disk is None:
        return _check("system disk", "unknowable", "the backup does not tell which disks it holds", page=_BACKUP)
    data = [disk for disk in backup.disks if not disk.system]
    return _check(
        "system disk", "passed", f"the system disk and {len(data)} data disk{'' if len(data) == 1 else 's'}", page=_GUIDE
    )


def _use(found: Findings) -> Check:
    if found.image is None:
        return _check("unused", "passed", "no image has been made of it", page=_GUIDE)
    image = found.image
    return _check(
        "unused",
        "passed" if image.status in {"active", "saving", "queued"} else "warned",
        f"it has its one image already: {image.name} ({image.id}, {image.status}), which would be adopted",
        page=_GUIDE,
    )


def _vault(found: Findings) -> Check:
    vault = found.vault
    if vault is None:
        reason = found.unread.get("vault", "no such vault in this project")
        return _check("vault", "unknowable", f"the vault could not be read: {reason}")
    if vault.status in {"available", "lock"}:
        return _check("vault", "passed", f"vault {vault.name} is {vault.status}")
    if found.image:
        return _check("vault", "warned", f"vault {vault.name} is {vault.status}")
    return _refuse("vault", f"vault {vault.name} is {vault.status}", "See to the vault in CBR first.", "IMG.0188", _GUIDE)


def _quota(found: Findings) -> Check:
    if found.image:
        return _check("image quota", "passed", "nothing new is made")
    if found.quota is None:
        return _check(
            "image quota",
            "unknowable",
            f"the quota could not be read: {found.unread.get('image quota', 'the answer does not name it')}",
        )
    free = found.quota.free
    if free is not None and free < 1:
        return _refuse(
            "image quota",
            f"{found.quota.used} of {found.quota.limit} images exist",
            "Delete images that nobody needs, or ask for a larger quota.",
            "IMG.0015",
            "IMS api-ref/source/ims_apis/image_quota/querying_the_image_quota.rst",
        )
    return _check(
        "image quota", "passed", f"{found.quota.used} of {'no limit' if found.quota.limit is None else found.quota.limit} used"
    )


def _power(found: Findings) -> Check:
    source = found.source
    if source is None:
        return _check("power state", "passed" if found.source_gone else "unknowable", "no source server to be started meanwhile")
    if source.metadata.get("EcmResStatus", "").lower() == "freeze":
        return _refuse(
            "power state", f"server {source.name} is frozen", "Settle the account's arrears first.", "Ecs.0003", _GUIDE
        )
    if source.status == "SHUTOFF":
        return _check(
            "power state",
            "warned",
            f"server {source.name} is stopped: do not start it while its image is made (it is watched)",
            page=_GUIDE,
        )
    return _check("power state", "passed", f"server {source.name} is {source.status}")


def _shared_disks(found: Findings) -> Check:
    mine = {disk.disk_id for disk in found.backup.disks}
    shared = [disk.name or disk.id for disk in found.source_disks if disk.shared and (disk.id in mine or not mine)]
    if shared:
        return _check(
            "shared disks",
            "warned",
            f"attached to several servers: {', '.join(shared)}; the sources disagree whether an image may hold them",
            action="Detach them before the backup if the image fails.",
        )
    if found.source is None or "source disks" in found.unread:
        return _check("shared disks", "unknowable", "the source server's disks are not to be seen")
    return _check("shared disks", "passed", "none")


def _sizes(found: Findings) -> Check:
    total = sum(disk.size_gb for disk in found.backup.disks)
    system = next((disk.size_gb for disk in found.backup.disks if disk.system), 0)
    if system > 1024:
        return _check("sizes", "warned", f"the system disk has {system} GB, and a launch takes 1024 at most", page=_GUIDE)
    if total > 4096:
        return _check("sizes", "warned", f"{total} GB in all; above 4 TB the cloud advises against it and it takes long")
    return _check("sizes", "passed", f"{total} GB in {len(found.backup.disks)} disks" if found.backup.disks else "not told")


def _check(
    rule: str, verdict: Verdict, why: str, *, action: str = "", waiting_helps: bool = False, code: str = "", page: str = ""
) -> Check:
    return Check(rule=rule, verdict=verdict, why=why, action=action, waiting_helps=waiting_helps, code=code, page=page)


def _refuse(rule: str, why: str, action: str, code: str = "", page: str = "") -> Check:
    return _check(rule, "refused", why, action=action, code=code, page=page)
