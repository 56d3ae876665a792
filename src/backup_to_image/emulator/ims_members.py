"""Sharing of images: offers by the owner, answers by the recipient, one by one or in jobs (BEHAVIOUR.md 9)."""

from __future__ import annotations

from datetime import datetime

from . import jobs
from .cbr_shape import used_mb
from .cloud import Cloud
from .ims_create import open_vault
from .ims_native import native
from .ims_shape import find_image, image_time, membership
from .services import Handler
from .wire import Answer, Call, Doc, Refusal

__all__ = ["ROUTES", "WORK"]

_ADD, _UPDATE, _REMOVE = "imsAddImageMembersJob", "imsUpdateImageMembersJob", "imsDelImageMembersJob"

# Recipients of a full-ECS image, and of any other.
_WHOLE_LIMIT, _LIMIT = 10, 256

# How long a job about members takes, at speed 1; accepting copies into the recipient's vault.
_QUICK, _ACCEPTING = 5.0, 20.0


def _offerable(cloud: Cloud, image: Doc | None, call: Call) -> Doc:
    """The image, if its owner may share it at all."""
    if image is None:
        raise Refusal(400, "IMG.0027", "unknown image id")
    if image["public"]:
        raise Refusal(400, "IMG.0089", "public images are shared already")
    if image["project"] != call.project:
        raise Refusal(
            400, "IMG.0047" if membership(cloud, image, call.project) else "IMG.0027", "only the owner can share an image"
        )
    if image["status"] != "active" or image.get("leaving"):
        raise Refusal(400, "IMG.0046", "image not usable")
    if image["whole"] and (image.get("of_shared_backup") or cloud.switches["whole_image_sharing"] == "refused"):
        raise Refusal(400, "IMG.0135", "this full-ECS image is not shareable")
    if image["cmk_id"] and cloud.switches["encrypted_images"] == "refused":
        raise Refusal(400, "IMG.0098", "encrypted image not shareable")
    return image


def _check_guest(cloud: Cloud, image: Doc, project: str, reserved: int = 0) -> None:
    """Whether an image can be offered to that project, beside the offers that the same call makes already."""
    if project == image["project"]:
        raise Refusal(400, "IMG.0076", "sharing with oneself")
    if cloud.get("project", project) is None:
        raise Refusal(400, "IMG.0108", "project unknown in this region")
    if membership(cloud, image, project) is not None:
        return
    everybody = cloud.switches["members_counted"] == "all"
    counted = sum(1 for member in cloud.walk("image-member", image_id=image["id"]) if everybody or member["status"] != "pending")
    if counted + (reserved if everybody else 0) >= (_WHOLE_LIMIT if image["whole"] else _LIMIT):
        raise Refusal(400, "IMG.0088", "share quota used up")


def _offer(cloud: Cloud, image: Doc, project: str, when: datetime) -> Doc:
    found = membership(cloud, image, project)
    if found is not None:
        return found
    moment = cloud.stamp(when)
    return cloud.new(
        "image-member",
        {
            "id": f"{image['id']}/{project}",
            "project": project,
            "image_id": image["id"],
            "status": "pending",
            "vault_id": None,
            "stored_mb": 0,
            "created_at": moment,
            "updated_at": moment,
        },
    )


def batch_add(cloud: Cloud, call: Call) -> Answer:
    """batchAddImageMembers: a job; with several pairs, those that cannot be are told in its results only."""
    projects: list[str] = [project.lower() for project in call.body["projects"]]
    results: list[Doc] = []
    refused: list[Refusal] = []
    for identity in call.body["images"]:
        reserved = 0
        for project in projects:
            status = "success"
            try:
                image = _offerable(cloud, cloud.get("image", identity.lower()), call)
                _check_guest(cloud, image, project, reserved)
                reserved += membership(cloud, image, project) is None
            except Refusal as refusal:
                refused.append(refusal)
                status = "failed"
            results.append({"image_id": identity.lower(), "project_id": project, "status": status})
    if refused and (len(refused) == len(results) or cloud.switches["member_failures"] == "at_once"):
        raise refused[0]
    return _job(cloud, call, _ADD, _QUICK, {"results": results}, {"owner": call.project}, "IMG.0112")


def _added(cloud: Cloud, job: Doc, when: datetime) -> None:
    for result in job["entities"]["results"]:
        image = cloud.get("image", result["image_id"])
        if result["status"] == "success" and image is not None:
            _offer(cloud, image, result["project_id"], when)


def batch_update(cloud: Cloud, call: Call) -> Answer:
    """batchUpdateImageMembers: the recipient accepts (into one vault for all) or rejects."""
    body: Doc = call.body
    if body["project_id"].lower() != call.project:
        raise Refusal(400, "IMG.0030", "token and project do not belong together")
    images = [_offered(cloud, call, identity.lower()) for identity in body["images"]]
    outcome: Doc | None = None
    vault: Doc | None = None
    if body["status"] == "accepted" and any(image["whole"] for image in images):
        vault = open_vault(cloud, call, body.get("vault_id"))
        try:
            _check_room(cloud, call, vault, images)
        except Refusal as refusal:
            if cloud.switches["accept_refusal"] == "at_once":
                raise
            outcome = jobs.fail_with(refusal.code, refusal.message)
    word = "FAIL" if outcome else "success"
    results = [{"image_id": image["id"], "project_id": call.project, "status": word} for image in images]
    detail = {"status": body["status"], "vault_id": vault["id"] if vault else None}
    seconds = _ACCEPTING if vault else _QUICK
    return _job(cloud, call, _UPDATE, seconds, {"results": results}, detail, "IMG.0114", outcome)


def _offered(cloud: Cloud, call: Call, identity: str) -> Doc:
    image = cloud.get("image", identity)
    if image is None or membership(cloud, image, call.project) is None:
        raise Refusal(400, "IMG.0114", "the image is not shared with this project")
    return image


def _check_room(cloud: Cloud, call: Call, vault: Doc, images: list[Doc]) -> None:
    """Free space must hold the system and data disk backups: their disks' sizes are the measure (BEHAVIOUR.md 9 and 14)."""
    needed = sum(disk["size"] for image in images for disk in image["disks"]) * 1024
    if "vault-full" in call.struck or vault["size"] * 1024 - used_mb(cloud, vault) < needed:
        raise Refusal(400, "IMG.0182", "vault too small")


def _answer(cloud: Cloud, image: Doc, project: str, status: str, vault_id: str | None, when: datetime) -> Doc | None:
    member = membership(cloud, image, project)
    if member is not None:
        accepted = status == "accepted"
        stored = sum(disk["size"] for disk in image["disks"]) * 1024 * 3 // 10 if accepted else 0
        member.update(status=status, vault_id=vault_id if accepted else None, stored_mb=stored, updated_at=cloud.stamp(when))
        cloud.save("image-member", member)
    return member


def _updated(cloud: Cloud, job: Doc, when: datetime) -> None:
    for result in job["entities"]["results"]:
        image = cloud.get("image", result["image_id"])
        if (
            image is None
            or _answer(cloud, image, job["project"], job["detail"]["status"], job["detail"]["vault_id"], when) is None
        ):
            result["status"] = "failed"  # withdrawn meanwhile
            cloud.save("ims-job", job)


def batch_delete(cloud: Cloud, call: Call) -> Answer:
    """batchDeleteImageMembers: the owner ends shares; the results of its job are empty."""
    pairs: list[list[str]] = []
    for identity in call.body["images"]:
        image = cloud.get("image", identity.lower())
        if image is None or image["project"] != call.project:
            raise Refusal(400, "IMG.0027" if image is None else "IMG.0047", "only the owner can end a share")
        for project in call.body["projects"]:
            if membership(cloud, image, project.lower()) is None:
                raise Refusal(400, "IMG.0113", "member removal failed")
            pairs.append([image["id"], project.lower()])
    return _job(cloud, call, _REMOVE, _QUICK, {"results": []}, {"pairs": pairs}, "IMG.0113")


def _removed(cloud: Cloud, job: Doc, when: datetime) -> None:
    del when
    for image_id, project in job["detail"]["pairs"]:
        cloud.remove("image-member", f"{image_id}/{project}")


def _job(
    cloud: Cloud,
    call: Call,
    job_type: str,
    seconds: float,
    entities: Doc,
    detail: Doc,
    default_code: str,
    outcome: Doc | None = None,
) -> Answer:
    job = jobs.start(
        cloud,
        call,
        "ims-job",
        job_type,
        seconds=seconds,
        entities=entities,
        detail=detail,
        outcome=outcome,
        default_code=default_code,
    )
    return Answer(200, {"job_id": job["id"]})


def _member_job_failed(cloud: Cloud, job: Doc, when: datetime) -> None:
    del when
    for result in job["entities"]["results"]:
        result["status"] = "FAIL"
    cloud.save("ims-job", job)


def list_members(cloud: Cloud, call: Call) -> Answer:
    """listImageMembers: to the owner all of them, to a recipient himself."""
    image = find_image(cloud, call)
    members = [
        member
        for member in cloud.walk("image-member", image_id=image["id"])
        if call.project in {image["project"], member["project"]}
    ]
    return Answer(200, {"members": [_body(member) for member in members], "schema": "/v2/schemas/members"})


def add_member(cloud: Cloud, call: Call) -> Answer:
    """addImageMember: offers the image to one project, at once."""
    image = _offerable(cloud, find_image(cloud, call), call)
    project = call.body["member"].lower()
    _check_guest(cloud, image, project)
    if membership(cloud, image, project) is not None:
        raise Refusal(409, "IMG.0112", "the project is a member already")
    return Answer(200, _body(_offer(cloud, image, project, cloud.now())))


def _member(cloud: Cloud, call: Call) -> tuple[Doc, Doc]:
    image = find_image(cloud, call)
    member = membership(cloud, image, call.path["member_id"].lower())
    if member is None or call.project not in {image["project"], member["project"]}:
        raise Refusal(404, "IMG.0121", "object not found")
    return image, member


def get_member(cloud: Cloud, call: Call) -> Answer:
    """GetImageMember."""
    return Answer(200, _body(_member(cloud, call)[1]))


def update_member(cloud: Cloud, call: Call) -> Answer:
    """updateImageMember: the recipient accepts or rejects, at once."""
    image, member = _member(cloud, call)
    if member["project"] != call.project:
        raise Refusal(403, "IMG.0106", "only the recipient can answer")
    vault: Doc | None = None
    if call.body["status"] == "accepted" and image["whole"]:
        vault = open_vault(cloud, call, call.body.get("vault_id"))
        _check_room(cloud, call, vault, [image])
    _answer(cloud, image, call.project, call.body["status"], vault["id"] if vault else None, cloud.now())
    return Answer(200, _body(member))


def delete_member(cloud: Cloud, call: Call) -> Answer:
    """deleteImageMember: the owner ends a share at once, without notice to the recipient."""
    image, member = _member(cloud, call)
    if image["project"] != call.project:
        raise Refusal(403, "IMG.0047", "only the owner can end a share")
    cloud.remove("image-member", member["id"])
    return Answer(204)


def _body(member: Doc) -> Doc:
    return {
        "image_id": member["image_id"],
        "member_id": member["project"],
        "status": member["status"],
        "created_at": image_time(member["created_at"]),
        "updated_at": image_time(member["updated_at"]),
        "schema": "/v2/schemas/member",
    }


WORK = {
    _ADD: jobs.Work(finish=_added, failed=_member_job_failed),
    _UPDATE: jobs.Work(finish=_updated, failed=_member_job_failed),
    _REMOVE: jobs.Work(finish=_removed, failed=_member_job_failed),
}

ROUTES: dict[str, Handler] = {
    "batchAddImageMembers": batch_add,
    "batchUpdateImageMembers": batch_update,
    "batchDeleteImageMembers": batch_delete,
    "listImageMembers": native(list_members),
    "addImageMember": native(add_member),
    "getImageMember": native(get_member),
    "updateImageMember": native(update_member),
    "deleteImageMember": native(delete_member),
}
