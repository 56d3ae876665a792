"""Image Management: images here, their making in ims_create, sharing in ims_members, tags in ims_tags (BEHAVIOUR.md 5 to 10)."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from . import ims_create, ims_members, ims_tags, jobs
from .cbr import begin_deletion
from .cloud import Cloud
from .ims_malformed import admits, malformed
from .ims_native import native
from .ims_shape import candidates, created_range, find_image, fits, image_body, is_shared, sort_key
from .services import Service
from .store import moment
from .things import quota, set_server_status
from .wire import Answer, Call, Doc, Refusal

__all__ = ["SERVICE"]

_CLOUD_PAGE, _NATIVE_PAGE = 500, 25

# How long an image takes to disappear, at speed 1.
_DELETE_SECONDS = 6.0


def list_cloud_images(cloud: Cloud, call: Call) -> Answer:
    """listCloudImages: 500 a page, no total, no next link."""
    limit = call.query.get("limit", _CLOUD_PAGE)
    return Answer(200, {"images": [image_body(cloud, image) for image in _page(cloud, call, limit)]})


def list_images(cloud: Cloud, call: Call) -> Answer:
    """listImages: 25 a page, with the link to the next."""
    limit = call.query.get("limit", _NATIVE_PAGE)
    found = _page(cloud, call, limit + 1)
    page = found[:limit]
    asked = {name: str(value).lower() if isinstance(value, bool) else value for name, value in call.query.items()}
    asked.pop("marker", None)
    body: Doc = {"schema": "/v2/schemas/images", "first": _link(asked), "images": [image_body(cloud, image) for image in page]}
    if len(found) > limit:
        body["next"] = _link({**asked, "marker": page[-1]["id"], "limit": limit})
    return Answer(200, body)


def _link(query: Doc) -> str:
    return f"/v2/images?{urlencode(query)}" if query else "/v2/images"


def _page(cloud: Cloud, call: Call, limit: int) -> list[Doc]:
    """The images of one page, in order; a marker that is not there is refused."""
    query = call.query
    by, newest_first = query.get("sort_key", "created_at"), query.get("sort_dir", "desc") == "desc"
    since, until = created_range(query)
    marker = _marker(cloud, query.get("marker"))
    filters = {name: value for name, value in query.items() if name not in {"marker", "limit", "sort_key", "sort_dir"}}
    if by == "created_at" and query.get("owner") == call.project:
        # The index is in this order already: only what the page needs is looked at.
        if marker is not None:
            since, until = (
                (since, min(until, marker["created_at"])) if newest_first else (max(since, marker["created_at"]), until)
            )
        walk = (
            image
            for image in candidates(cloud, call, newest_first=newest_first, since=since, until=until)
            if fits(cloud, image, filters)
        )
        if marker is not None:
            place = (marker["created_at"], marker["id"])
            walk = (
                image
                for image in walk
                if ((image["created_at"], image["id"]) < place) == newest_first and image["id"] != marker["id"]
            )
        return list(islice(walk, limit))
    key = sort_key(by)
    found = {image["id"]: image for image in candidates(cloud, call, newest_first=newest_first, since=since, until=until)}
    ordered = sorted((image for image in found.values() if fits(cloud, image, filters)), key=key, reverse=newest_first)
    if marker is not None:
        ordered = [image for image in ordered if (key(image) < key(marker)) == newest_first and image["id"] != marker["id"]]
    return ordered[:limit]


def _marker(cloud: Cloud, identity: str | None) -> Doc | None:
    if identity is None:
        return None
    marker = cloud.get("image", identity)
    if marker is None:
        raise Refusal(400, "IMG.0027", "marker not found")
    return marker


def get_image(cloud: Cloud, call: Call) -> Answer:
    """getImage: own, public and offered ones."""
    return Answer(200, image_body(cloud, find_image(cloud, call)))


def update_cloud_image(cloud: Cloud, call: Call) -> Answer:
    """updateCloudImage: name, description, memory limits, further attributes; of active own images."""
    image = find_image(cloud, call, status=400)
    if image["project"] != call.project:
        raise Refusal(400, "IMG.0047", "only the owner can do this")
    if image["status"] != "active":
        raise Refusal(400, "IMG.0046", "image not usable")
    changed: Doc = {**image, "attributes": dict(image["attributes"])}
    for patch in call.body:
        _apply(cloud, changed, patch)
    changed["updated_at"] = cloud.stamp()
    cloud.save("image", changed)
    return Answer(200, image_body(cloud, changed))


# Attributes that cannot be changed: what they say comes from the image itself.
_FIXED = {
    "id",
    "owner",
    "status",
    "visibility",
    "created_at",
    "updated_at",
    "active_at",
    "tags",
    "self",
    "file",
    "schema",
    "size",
    "__backup_id",
    "__data_origin",
    "__imagetype",
    "__image_size",
    "__whole_image",
    "min_disk",
}


def _apply(cloud: Cloud, image: Doc, patch: Doc) -> None:
    name, value = patch["path"].removeprefix("/"), patch.get("value")
    fields = {
        "name": "name",
        "__description": "description",
        "min_ram": "min_ram",
        "max_ram": "max_ram",
        "protected": "protected",
    }
    if name in _FIXED:
        raise Refusal(400, "IMG.0035", f"{name} cannot be changed")
    if name in fields:
        field = fields[name]
        if patch["op"] != "add" and not image[field] and name in {"max_ram", "min_ram", "__description"}:
            raise Refusal(400, "IMG.0035", "attribute conflict")
        if patch["op"] == "remove":
            if name in {"name", "protected"}:
                raise Refusal(400, "IMG.0035", f"{name} cannot be removed")
            image[field] = "" if field == "description" else 0
        else:
            image[field] = _value(cloud, image, name, value)
        return
    if patch["op"] != "add" and name not in image["attributes"]:
        raise Refusal(400, "IMG.0035", "attribute conflict")
    if patch["op"] == "remove":
        del image["attributes"][name]
    else:
        image["attributes"][name] = str(value).lower() if isinstance(value, bool) else str(value)


def _value(cloud: Cloud, image: Doc, name: str, value: Any) -> Any:
    if name == "name":
        ims_create.check_name(cloud, image["project"], str(value), besides=image["id"])
        return str(value)
    if name == "__description":
        ims_create.check_description(cloud, str(value))
        return str(value)
    if name == "protected":
        return str(value).lower() == "true"
    if not str(value).isdigit():
        raise Refusal(400, "IMG.0055", "bad memory size")
    return int(value)


def delete_image(cloud: Cloud, call: Call) -> Answer:
    """deleteImage: 204 means that it will go, in a while, and perhaps without its backup."""
    image = find_image(cloud, call)
    if image["public"]:
        raise Refusal(400, "IMG.0094", "public images cannot be deleted")
    if image["project"] != call.project:
        raise Refusal(400, "IMG.0092", "only the owner can delete an image")
    if image["protected"]:
        raise Refusal(400, "IMG.0028", "image is protected")
    if image["status"] in {"queued", "saving"}:
        raise Refusal(400, "IMG.0090", "image still being made")
    if "delete-ignored" not in call.struck and not image.get("leaving"):
        order: Doc = call.body or {}
        asked = order.get("delete_backup", cloud.switches["delete_backup_default"] == "true")
        image["leaving"] = {"delete_backup": asked}
        image["due"] = cloud.due(_DELETE_SECONDS)
        cloud.save("image", image)
    return Answer(204)


def image_moved(cloud: Cloud, image: Doc, when: datetime) -> None:
    """What became of an image whose time has come: active at last, or gone."""
    if not image.get("leaving"):
        ims_create.activate(cloud, image, when)
        return
    for member in list(cloud.walk("image-member", image_id=image["id"])):
        cloud.remove("image-member", member["id"])
    cloud.remove("image", image["id"])
    backup = cloud.get("backup", image["backup_id"]) if image["leaving"]["delete_backup"] and image["backup_id"] else None
    if backup is None or backup["project"] != image["project"] or backup["status"] not in {"available", "error"}:
        return  # a backup of somebody else, or one that CBR will not let go now: it survives (IMG.0176)
    vault = cloud.get("vault", backup["vault_id"])
    expired = backup["expired_at"] is not None and moment(backup["expired_at"]) <= when
    if not (vault is not None and vault["locked"] and backup["auto"] and not expired):
        begin_deletion(cloud, backup, when)


def get_job(cloud: Cloud, call: Call) -> Answer:
    """getImsJob: also a failed job is a 200."""
    job = cloud.own("ims-job", call.path["job_id"].lower(), call.project)
    if job is None:
        raise Refusal(400, "IMG.0023", "job lookup failed")
    entities: Doc = dict(job["entities"])
    running = job["status"] in {"INIT", "RUNNING"}
    image_id = job["detail"].get("image_id")
    if image_id and (job["status"] == "SUCCESS" or (job["status"] == "RUNNING" and cloud.switches["image_id_in_job"] == "early")):
        entities["image_id"] = image_id
    if job["status"] == "RUNNING" and cloud.switches["job_progress"] == "shown" and image_id:
        entities["process_percent"] = _progress(cloud, job)
        entities["current_task"] = "create_image"
    if "results" in entities and cloud.switches["member_results"] == "upper":
        words = {"success": "SUCCESS", "failed": "FAIL"}
        entities["results"] = [
            {**result, "status": words.get(result["status"], result["status"])} for result in entities["results"]
        ]
    if job["status"] == "FAIL" and cloud.switches["fail_entities"] == "details":
        entities["error_code"], entities["error"] = job["error_code"], job["fail_reason"]
    not_yet = "" if cloud.switches["running_end_time"] == "empty" else None
    return Answer(
        200,
        {
            "job_id": job["id"],
            "job_type": job["job_type"],
            "status": job["status"],
            "begin_time": _job_time(job["begin_time"]),
            "end_time": not_yet if running else _job_time(job["end_time"]),
            "error_code": job["error_code"],
            "fail_reason": job["fail_reason"],
            "entities": {} if job["status"] == "INIT" else entities,
        },
    )


def _job_time(text: str) -> str:
    return f"{text[:23]}Z"


def _progress(cloud: Cloud, job: Doc) -> float:
    whole = timedelta(seconds=job["remaining"] / cloud.speed)
    part = (cloud.now() - moment(job["begin_time"])) / whole if whole else 1.0
    return round(min(0.99, max(0.0, part)), 2)


def get_quota(cloud: Cloud, call: Call) -> Answer:
    """getImageQuota: `quota` is the limit."""
    own = list(cloud.walk("image", call.project))
    shared = sum(1 for image in own if is_shared(cloud, image))
    limit = quota(cloud, call.project)["images"]
    resources: list[Doc] = [
        {"type": "image", "used": len(own), "quota": limit, "min": 1, "max": max(1000, limit)},
        {"type": "image_shared", "used": shared, "quota": max(100, limit), "min": 1, "max": max(1000, limit)},
    ]
    return Answer(200, {"quotas": {"resources": resources}})


def event_due(cloud: Cloud, event: Doc, when: datetime) -> None:
    """Something that was arranged to happen: a stopped server is started."""
    del when
    server = cloud.get("server", event["target"])
    cloud.remove("event", event["id"])
    if server is not None and event["do"] == "start-server" and server["status"] == "SHUTOFF":
        set_server_status(cloud, server, "ACTIVE")


def _version(cloud: Cloud, origin: str, number: str, status: str) -> Doc:
    return {"id": f"v{number}", "status": status, "links": [{"rel": "self", "href": f"{origin}:{cloud.port('ims')}/v2/"}]}


def versions(cloud: Cloud, origin: str) -> Doc:
    """What glance answers at its root: openstacksdk looks there first."""
    return {"versions": [_version(cloud, origin, "2.5", "CURRENT"), _version(cloud, origin, "2.0", "SUPPORTED")]}


SERVICE = Service(
    name="ims",
    routes={
        "listCloudImages": list_cloud_images,
        "updateCloudImage": update_cloud_image,
        "listImages": native(list_images),
        "getImage": native(get_image),
        "deleteImage": native(delete_image),
        "getImsJob": get_job,
        "getImageQuota": get_quota,
        **ims_create.ROUTES,
        **ims_members.ROUTES,
        **ims_tags.ROUTES,
    },
    malformed=malformed,
    admits=admits,
    transitions={"image": image_moved, "event": event_due, "ims-job": jobs.runner({**ims_create.WORK, **ims_members.WORK})},
    discovery={"/": versions, "/v2": versions, "/versions": versions},
)
