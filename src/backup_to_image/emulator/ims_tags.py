"""Tags of images: at most ten, set and removed one by one or several at once (BEHAVIOUR.md 13)."""

from __future__ import annotations

from .cloud import Cloud
from .ims_shape import find_image, membership
from .services import Handler
from .wire import Answer, Call, Doc, Refusal

__all__ = ["ROUTES"]

_LIMIT = 10


def _own(cloud: Cloud, call: Call, status: int = 404) -> Doc:
    """The image of the call, if it is the caller's: recipients cannot tag what is shared with them."""
    image = find_image(cloud, call, status)
    if image["project"] != call.project:
        raise Refusal(400, "IMG.0047", "only the owner can tag an image")
    return image


def _set(cloud: Cloud, image: Doc, tags: Doc) -> None:
    merged = {**image["tags"], **tags}
    if len(merged) > _LIMIT:
        raise Refusal(400, "IMG.0116", "too many tags")
    image["tags"], image["updated_at"] = merged, cloud.stamp()
    cloud.save("image", image)


def put_tag(cloud: Cloud, call: Call) -> Answer:
    """putImageTag, the old call: one tag, in either form."""
    image = cloud.get("image", call.body["image_id"].lower())
    if image is None or (
        image["project"] != call.project and membership(cloud, image, call.project) is None and not image["public"]
    ):
        raise Refusal(400, "IMG.0027", "unknown image id")
    if image["project"] != call.project:
        raise Refusal(400, "IMG.0047", "only the owner can tag an image")
    if "tag" in call.body:
        key, _, value = call.body["tag"].partition(".")
    else:
        key, value = call.body["image_tag"]["key"], call.body["image_tag"]["value"]
    _set(cloud, image, {key: value})
    return Answer(204)


def list_tags(cloud: Cloud, call: Call) -> Answer:
    """ListImageTags."""
    image = find_image(cloud, call)
    return Answer(200, {"tags": [{"key": key, "value": value or ""} for key, value in image["tags"].items()]})


def add_tag(cloud: Cloud, call: Call) -> Answer:
    """addImageTag: a key that is there gets the new value."""
    tag: Doc = call.body["tag"]
    _set(cloud, _own(cloud, call), {tag["key"]: tag["value"]})
    return Answer(204)


def delete_tag(cloud: Cloud, call: Call) -> Answer:
    """deleteImageTag: a key that is not there is 404."""
    image = _own(cloud, call)
    if call.path["key"] not in image["tags"]:
        raise Refusal(404, "IMG.0121", "object not found")
    _drop(cloud, image, [call.path["key"]])
    return Answer(204)


def _drop(cloud: Cloud, image: Doc, keys: list[str]) -> None:
    image["tags"] = {key: value for key, value in image["tags"].items() if key not in keys}
    image["updated_at"] = cloud.stamp()
    cloud.save("image", image)


def batch_tags(cloud: Cloud, call: Call) -> Answer:
    """batchImageTags: sets or removes several; what is so already stays so."""
    image = _own(cloud, call)
    given: list[Doc] = call.body["tags"]
    if call.body["action"] == "create":
        _set(cloud, image, {tag["key"]: tag["value"] for tag in given})
    else:
        _drop(cloud, image, [tag["key"] for tag in given])
    return Answer(204)


def list_project_tags(cloud: Cloud, call: Call) -> Answer:
    """listProjectImageTags: every key with the values in use."""
    found: dict[str, list[str]] = {}
    for image in cloud.walk("image", call.project):
        for key, value in image["tags"].items():
            values = found.setdefault(key, [])
            if (value or "") not in values:
                values.append(value or "")
    return Answer(200, {"tags": [{"key": key, "values": values} for key, values in found.items()]})


def query_by_tag(cloud: Cloud, call: Call) -> Answer:
    """queryImagesByTag: own images whose tags fit, or their number. Limit and offset are strings here."""
    body: Doc = call.body
    found = [image for image in cloud.walk("image", call.project, newest_first=True) if _fits(image, body)]
    if body["action"] == "count":
        return Answer(200, {"total_count": len(found)})
    start = int(body.get("offset", "0"))
    resources = [
        {
            "resource_id": image["id"],
            "resource_name": image["name"],
            "resource_detail": {"status": image["status"]},
            "tags": [{"key": key, "value": value or ""} for key, value in image["tags"].items()],
        }
        for image in found[start : start + int(body.get("limit", "10"))]
    ]
    return Answer(200, {"resources": resources, "total_count": len(found)})


def _fits(image: Doc, body: Doc) -> bool:
    def has(entry: Doc) -> bool:
        value = image["tags"].get(entry["key"], _ABSENT)
        return value is not _ABSENT and (not entry["values"] or (value or "") in entry["values"])

    if body.get("without_any_tag"):
        return not image["tags"]
    names = {"resource_name": image["name"], "resource_id": image["id"]}
    return (
        all(has(entry) for entry in body.get("tags", []))
        and (not body.get("tags_any") or any(has(entry) for entry in body["tags_any"]))
        and not (body.get("not_tags") and all(has(entry) for entry in body["not_tags"]))
        and not any(has(entry) for entry in body.get("not_tags_any", []))
        and all(match["value"] in names[match["key"]] for match in body.get("matches", []))
    )


_ABSENT = object()

ROUTES: dict[str, Handler] = {
    "putImageTag": put_tag,
    "listImageTags": list_tags,
    "addImageTag": add_tag,
    "deleteImageTag": delete_tag,
    "batchImageTags": batch_tags,
    "listProjectImageTags": list_project_tags,
    "queryImagesByTag": query_by_tag,
}
