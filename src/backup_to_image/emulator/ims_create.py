"""How a full-ECS image comes about (BEHAVIOUR.md 4.2, 5 to 7): the checks, the job, the way to active or killed."""

from __future__ import annotations

from datetime import datetime

from . import jobs
from .cbr_checkpoints import begin_backup, busy
from .cbr_shape import images_of, used_mb
from .cloud import Cloud
from .making import backup_seconds, image_document, image_seconds
from .services import Handler
from .things import backup_of_child, quota
from .wire import Answer, Call, Doc, Refusal

__all__ = ["ROUTES", "WORK", "activate", "check_description", "check_name", "open_vault"]

_BY_BACKUP, _BY_SERVER = "imsCreateWholeImageByBackupJob", "imsCreateWholeImageByInstanceJob"

# So many images can be under way at once (BEHAVIOUR.md 13).
_AT_ONCE = 40

# A refusal that only the job tells comes this soon, at speed 1.
_LATE_REFUSAL_SECONDS = 8.0

# The same reasons in CBR's numbers, for a cloud that hands them on (BEHAVIOUR.md 14, where a refusal surfaces).
_CBR_CODES = {
    "IMG.0020": "BackupService.6200",
    "IMG.0029": "BackupService.6210",
    "IMG.0134": "BackupService.6211",
    "IMG.0032": "BackupService.6208",
    "IMG.0132": "BackupService.6208",
    "IMG.0033": "BackupService.6209",
    "IMG.0198": "BackupService.6207",
    "IMG.0180": "BackupService.6207",
}


def create_whole_image(cloud: Cloud, call: Call) -> Answer:
    """createWholeImage: a job, or the reason why not. Not idempotent; there is no client token."""
    body: Doc = call.body
    check_name(cloud, call.project, body["name"])
    check_description(cloud, body.get("description", ""))
    tags = _tags(body)
    _admit(cloud, call)
    if "instance_id" in body:
        return _from_server(cloud, call, tags)
    outcome: Doc | None = None
    backup: Doc | None = None
    try:
        backup = _usable_backup(cloud, call)
        if backup["os"] is None:
            missing = Refusal(400, "IMG.0195", "the source server has no OS version")
            if cloud.switches["os_metadata_refusal"] == "at_once":
                raise missing
            outcome = jobs.fail_with(missing.code, missing.message)
    except Refusal as refusal:
        code = _CBR_CODES.get(refusal.code, refusal.code) if cloud.switches["code_family"] == "cbr" else refusal.code
        if cloud.switches["refusals"] == "at_once":
            raise Refusal(400, code, refusal.message) from refusal
        outcome, backup = jobs.fail_with(code, refusal.message), None
    if backup is None or outcome is not None:
        return _start(cloud, call, _BY_BACKUP, None, _LATE_REFUSAL_SECONDS, outcome)
    return _start(cloud, call, _BY_BACKUP, _queue(cloud, call, backup, tags), image_seconds(backup), None)


def check_name(cloud: Cloud, project: str, name: str, *, besides: str | None = None) -> None:
    """Length and form of a name (for changes; the contract checks them at creation), and whether it is free."""
    if not name or name != name.strip() or not all(sign.isascii() and (sign.isalnum() or sign in "-._ ") for sign in name):
        raise Refusal(400, "IMG.0003", "bad name")
    if len(name) > 128:
        raise Refusal(400, "IMG.0002", "name too long")
    if cloud.switches["names"] == "unique" and any(image["id"] != besides for image in cloud.walk("image", project, name=name)):
        raise Refusal(400, "IMG.0009", "name in use")


def check_description(cloud: Cloud, text: str) -> None:
    """Length and form of a description; whether it may hold spaces is disputed."""
    if len(text) > 1024:
        raise Refusal(400, "IMG.0004", "description too long")
    if any(sign in "<>\r\n" for sign in text) or (cloud.switches["description_spaces"] == "refused" and " " in text):
        raise Refusal(400, "IMG.0054", "bad description")


def _tags(body: Doc) -> Doc:
    tags: Doc = {tag.partition(".")[0]: tag.partition(".")[2] for tag in body.get("tags", [])}
    tags.update({tag["key"]: tag["value"] for tag in body.get("image_tags", [])})
    return tags


def _admit(cloud: Cloud, call: Call) -> None:
    """Quota and flow control."""
    limits = quota(cloud, call.project)
    used = cloud.store.count("image", call.project)
    if "quota-gone" in call.struck:
        limits = cloud.new("quota", {**limits, "images": used}) if cloud.get("quota", call.project) is None else limits
        limits["images"] = used
        cloud.save("quota", limits)
    if used >= limits["images"] >= 0:
        raise Refusal(400, "IMG.0015", "image quota used up")
    if jobs.unfinished(cloud, "ims-job", call.project, (_BY_BACKUP, _BY_SERVER)) >= _AT_ONCE:
        raise Refusal(400, "IMG.0060", "too many tasks, flow control")


def _usable_backup(cloud: Cloud, call: Call) -> Doc:
    """The backup of the order, if it can become an image; every rule of BEHAVIOUR.md 4.2 that this call enforces."""
    switches = cloud.switches
    identity = call.body["backup_id"].lower()
    if call.body.get("whole_image_type", "CSBS") == "CSBS":
        raise Refusal(400, switches["no_type_code"], "no such CSBS backup")
    backup = cloud.get("backup", identity)
    if backup is None and (found := backup_of_child(cloud, identity)) is not None and found[0]["project"] == call.project:
        raise Refusal(400, switches["disk_backup_code"], "the backup is one of a disk")
    share = None if backup is None else next(cloud.walk("backup-member", backup_id=identity, dest_project=call.project), None)
    if backup is None or (backup["project"] != call.project and share is None):
        raise Refusal(400, switches["unknown_backup_code"], "no such backup")
    if backup["resource_type"] != "OS::Nova::Server":
        raise Refusal(400, switches["disk_backup_code"], "the backup is one of a disk")
    if share is not None and share["status"] != "accepted":
        raise Refusal(400, "IMG.0196", "the shared backup is not accepted")
    if share is not None and any(disk["encrypted"] for disk in backup["disks"]):
        raise Refusal(400, "IMG.0197", "the shared backup is encrypted")
    if images_of(cloud, backup, call.project):
        raise Refusal(400, switches["used_code"], "backup already turned into an image")
    if backup["bms"]:
        raise Refusal(400, "IMG.0180", "CBR cannot make an image of a bare metal server's backup")
    early = (
        backup["status"] == "protecting" and backup["restore_mode"] == "snapshot" and switches["while_protecting"] == "allowed"
    )
    if backup["status"] != "available" and not early:
        raise Refusal(400, switches["state_code"], f"backup not usable now: {backup['status']}")
    if not backup["contain_system_disk"]:
        raise Refusal(400, switches["no_system_disk_code"], "no system disk in the backup")
    if switches["shared_disks"] == "refused" and any(disk["multiattach"] for disk in backup["disks"]):
        raise Refusal(400, "IMG.0198", "the backup holds a shared disk")
    vault = cloud.get("vault", (share or {}).get("vault_id") or backup["vault_id"])
    if vault is None or vault["status"] not in {"available", "lock"}:
        raise Refusal(400, "IMG.0188", "vault not usable")
    return backup


def open_vault(cloud: Cloud, call: Call, vault_id: str | None) -> Doc:
    """A vault of the caller that can take the backup of a server, or IMS's reason why not."""
    vault = cloud.own("vault", (vault_id or "").lower(), call.project)
    if vault is None:
        raise Refusal(400, "IMG.0184", "vault not found")
    if vault["object_type"] != "server":
        raise Refusal(400, "IMG.0193", "vault is not a server vault")
    if vault["protect_type"] != "backup" or vault["status"] not in {"available", "lock"}:
        raise Refusal(400, "IMG.0188", "vault not usable")
    return vault


def _from_server(cloud: Cloud, call: Call, tags: Doc) -> Answer:
    """An image of a server: first a backup of its own in the vault, then the image of that."""
    server = cloud.own("server", call.body["instance_id"].lower(), call.project)
    if server is None:
        raise Refusal(400, "IMG.0005", "no such server")
    if server.get("bare_metal"):
        raise Refusal(400, "IMG.0063", "bare metal servers are not supported")
    if server["status"] not in {"ACTIVE", "SHUTOFF"}:
        raise Refusal(400, "IMG.0126", "server state forbids a full-ECS image")
    if busy(cloud, server["id"]):
        raise Refusal(400, "IMG.0136", "server is being backed up")
    tied = next(
        (
            vault
            for vault in cloud.walk("vault", call.project, object_type="server", protect_type="backup")
            if server["id"] in vault["resources"]
        ),
        None,
    )
    vault_id = call.body.get("vault_id")
    if vault_id is None and cloud.switches["vault_with_instance"] == "optional" and tied is not None:
        vault_id = tied["id"]
    vault = open_vault(cloud, call, vault_id)
    if tied is not None and tied["id"] != vault["id"]:
        raise Refusal(400, "IMG.0183", "server is tied to another vault")
    if tied is None and len(vault["resources"]) >= 256:
        raise Refusal(400, "IMG.0185", "vault has too many servers")
    volumes = [volume for identity in server["volumes"] if (volume := cloud.get("volume", identity)) is not None]
    if (
        "vault-full" in call.struck
        or used_mb(cloud, vault) + sum(volume["size"] for volume in volumes) * 1024 > vault["size"] * 1024
    ):
        raise Refusal(400, "IMG.0182", "vault too small")
    checkpoint = cloud.new(
        "checkpoint",
        {
            "project": call.project,
            "vault_id": vault["id"],
            "status": "protecting",
            "resources": [],
            "skipped": [],
            "name": f"image_{call.body['name'][:40]}",
            "description": "",
        },
    )
    if tied is None:
        vault["resources"].append(server["id"])
        cloud.save("vault", vault)
    backup = begin_backup(cloud, server["id"], vault, checkpoint, f"manualbk_{checkpoint['id'][:4]}")
    image = _queue(cloud, call, backup, tags)
    image["data_origin"] = f"instance,{server['id']}"
    cloud.save("image", image)
    outcome = jobs.fail_with("IMG.0195", "the source server has no OS version") if server["os"] is None else None
    return _start(cloud, call, _BY_SERVER, image, backup_seconds(server, volumes) + image_seconds(backup), outcome)


def _queue(cloud: Cloud, call: Call, backup: Doc, tags: Doc) -> Doc:
    """The image is there at once, queued."""
    image = image_document(backup, project=call.project, name=call.body["name"], created_at=cloud.stamp())
    image["tags"] = tags
    image["description"] = call.body.get("description", "")
    image["min_ram"], image["max_ram"] = call.body.get("min_ram", 0), call.body.get("max_ram", 0)
    return cloud.new("image", image)


def _start(cloud: Cloud, call: Call, job_type: str, image: Doc | None, seconds: float, outcome: Doc | None) -> Answer:
    detail: Doc = {"image_id": image["id"] if image else None, "killed": "image-killed" in call.struck, "later": None}
    if image is not None and (killed := call.struck.get("image-killed")):
        outcome = jobs.fail_with(killed["code"], killed["reason"])
    if image is not None and (early := call.struck.get("success-before-active")):
        detail["later"] = early["seconds"]
    if image is not None and "source-started" in call.struck:
        backup = cloud.get("backup", image["backup_id"]) or {"resource_id": ""}
        cloud.new("event", {"do": "start-server", "target": backup["resource_id"], "due": cloud.due(seconds / 2)})
    job = jobs.start(
        cloud,
        call,
        "ims-job",
        job_type,
        seconds=seconds,
        entities={"image_name": call.body["name"]},
        detail=detail,
        outcome=outcome,
        default_code="IMG.0061",
    )
    return Answer(200, {"job_id": job["id"]})


def _saving(cloud: Cloud, job: Doc, when: datetime) -> None:
    image = cloud.get("image", job["detail"]["image_id"] or "")
    if image is not None and image["status"] == "queued":
        image["status"], image["updated_at"] = "saving", cloud.stamp(when)
        cloud.save("image", image)


def _made(cloud: Cloud, job: Doc, when: datetime) -> None:
    image = cloud.get("image", job["detail"]["image_id"] or "")
    if image is None:
        return
    if job["detail"]["later"]:
        image["due"] = cloud.due(job["detail"]["later"], when)
        cloud.save("image", image)
    else:
        activate(cloud, image, when)


def activate(cloud: Cloud, image: Doc, when: datetime) -> None:
    """The image is Normal, as the console calls it. Compressed, so smaller than its backup."""
    image["status"] = "active"
    image["active_at"] = image["updated_at"] = cloud.stamp(when)
    image["size_bytes"] = int(image["gb"] * 2**30 * 0.3)
    cloud.save("image", image)


def _failed(cloud: Cloud, job: Doc, when: datetime) -> None:
    """An image that was killed stays to be seen; one whose order was found impossible is gone with its job."""
    image = cloud.get("image", job["detail"]["image_id"] or "")
    if image is None:
        return
    if job["detail"]["killed"]:
        image["status"], image["updated_at"] = "killed", cloud.stamp(when)
        cloud.save("image", image)
    else:
        cloud.remove("image", image["id"])


_IMAGE_WORK = jobs.Work(running=_saving, finish=_made, failed=_failed)

WORK = {_BY_BACKUP: _IMAGE_WORK, _BY_SERVER: _IMAGE_WORK}

ROUTES: dict[str, Handler] = {"createWholeImage": create_whole_image}
