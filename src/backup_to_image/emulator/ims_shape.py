"""Images as IMS writes them, who sees which, and which ones a list means (BEHAVIOUR.md 7 and 9)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from .cloud import Cloud
from .store import moment
from .wire import Call, Doc, Refusal

__all__ = ["created_range", "find_image", "fits", "image_body", "image_time", "is_shared", "membership", "seen_by"]

_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "eq": operator.eq,
    "neq": operator.ne,
}


def image_time(text: str | None) -> str | None:
    """A moment as IMS writes it: whole seconds and Z."""
    return None if text is None else f"{text[:19]}Z"


def membership(cloud: Cloud, image: Doc, project: str) -> Doc | None:
    """The record that shares an image with a project, if there is one."""
    return cloud.get("image-member", f"{image['id']}/{project}")


def is_shared(cloud: Cloud, image: Doc) -> bool:
    """The owner has offered it to somebody."""
    return any(True for _ in cloud.walk("image-member", image_id=image["id"]))


def seen_by(cloud: Cloud, image: Doc, project: str) -> bool:
    """Whether that project may look at the image by its id."""
    return image["public"] or image["project"] == project or membership(cloud, image, project) is not None


def find_image(cloud: Cloud, call: Call, status: int = 404) -> Doc:
    """The image named in the path, if the caller can see it; otherwise IMG.0027."""
    image = cloud.get("image", call.path["image_id"].lower())
    if image is None or not seen_by(cloud, image, call.project):
        raise Refusal(status, "IMG.0027", "unknown image id")
    return image


def image_body(cloud: Cloud, image: Doc) -> Doc:
    """An image. Data disks do not show; numbers and booleans of the extensions are strings."""
    kind = "gold" if image["public"] else "shared" if is_shared(cloud, image) else "private"
    system: Doc = image["os"] or {}
    identity = image["id"]
    body: Doc = {
        "id": identity,
        "name": image["name"],
        "owner": image["project"],
        "status": image["status"],
        "visibility": {"gold": "public"}.get(kind, kind),
        "protected": image["protected"],
        "tags": [key if value is None else f"{key}={value}" for key, value in image["tags"].items()],
        "min_disk": image["min_disk"],
        "min_ram": image["min_ram"],
        "max_ram": str(image["max_ram"]),
        "size": 0,
        "virtual_size": None,
        "container_format": "bare",
        "disk_format": "zvhd2",
        "file": f"/v2/images/{identity}/file",
        "self": f"/v2/images/{identity}",
        "schema": "/v2/schemas/image",
        "created_at": image_time(image["created_at"]),
        "updated_at": image_time(image["updated_at"]),
        "virtual_env_type": "FusionCompute",
        "enterprise_project_id": "0",
        "hw_firmware_type": "bios",
        "__image_source_type": "uds",
        "__imagetype": kind,
        "__isregistered": "true",
        "__os_type": system.get("type", "Other"),
        "__os_bit": system.get("bit", "64"),
        "__os_version": system.get("version", ""),
        "__platform": system.get("platform", "Other"),
        "__backup_id": image["backup_id"] or "",
        "__data_origin": image.get("data_origin") or (f"server_backup,{image['backup_id']}" if image["backup_id"] else ""),
        "__description": image["description"],
        "__image_size": None if image["size_bytes"] is None else str(image["size_bytes"]),
        "__support_kvm": "true",
        **image["attributes"],
    }
    if image["active_at"] is not None:
        body["active_at"] = image_time(image["active_at"])
    if image["cmk_id"]:
        body["__system__cmkid"] = image["cmk_id"]
    if image["whole"] and cloud.switches["whole_image_field"] == "shown":
        body["__whole_image"] = "true"
    return body


def created_range(query: Doc) -> tuple[str, str]:
    """Between which creation times a list has to look at all: its created_at filter as bounds (both included)."""
    low, high = "", "~"
    if "created_at" in query:
        how, when = _time_filter(query["created_at"])
        if how in {"gt", "gte", "eq"}:
            low = when
        if how in {"lt", "lte", "eq"}:
            high = when + "~"
    return low, high


def _time_filter(text: str) -> tuple[str, str]:
    how, _, when = text.partition(":")
    return how, when.replace(" ", "T").removesuffix("Z")


def candidates(cloud: Cloud, call: Call, *, newest_first: bool, since: str, until: str) -> Iterator[Doc]:
    """Every image that the list could mean, by whose it is: own ones, the provider's, those of others shared with the caller."""
    query, project = call.query, call.project
    public = query.get("visibility") == "public" or query.get("__imagetype") == "gold"
    offered = "member_status" in query
    shared = query.get("visibility") == "shared" or query.get("__imagetype") == "shared"
    private = query.get("visibility") == "private" or query.get("__imagetype") == "private"
    owner = query.get("owner")
    if not public and not offered and owner in {None, project}:
        for image in cloud.store.walk("image", project, newest_first=newest_first, since=since, until=until):
            if (not shared and not private) or is_shared(cloud, image) == shared:
                yield image
    if owner == project:
        return
    if not private and not public:
        wanted = query.get("member_status", "accepted")
        for member in cloud.walk("image-member", project, newest_first=newest_first, status=wanted):
            image = cloud.get("image", member["image_id"])
            if image is not None:
                yield image
    if not private and not shared and not offered:
        yield from cloud.walk("image", newest_first=newest_first, public=True)


def fits(cloud: Cloud, image: Doc, query: Doc) -> bool:
    """Whether an image passes the filters that do not depend on whose it is."""
    system: Doc = image["os"] or {}
    values: Doc = {
        "id": image["id"],
        "name": image["name"],
        "status": image["status"],
        "owner": image["project"],
        "protected": image["protected"],
        "min_ram": image["min_ram"],
        "min_disk": image["min_disk"],
        "container_format": "bare",
        "disk_format": "zvhd2",
        "virtual_env_type": "FusionCompute",
        "__whole_image": image["whole"],
        "__isregistered": True,
        "__os_bit": system.get("bit", "64"),
        "__os_type": system.get("type", "Other"),
        "__platform": system.get("platform", "Other"),
        "__system__cmkid": image["cmk_id"],
    }
    for name, wanted in query.items():
        if name in values:
            if values[name] != wanted:
                return False
        elif name in {"created_at", "updated_at"}:
            how, when = _time_filter(wanted)
            if not _OPERATORS[how](image[name][:19], when):
                return False
        elif name == "tag":
            if not _tagged(image, wanted):
                return False
        elif name == "enterprise_project_id":
            if wanted not in {"0", "all_granted_eps"}:
                return False
        elif (
            name.startswith("__support_") and image["attributes"].get(name, "true" if name == "__support_kvm" else None) != wanted
        ):
            return False
    return cloud.faults.listed_until is None or image["created_at"] <= (cloud.faults.listed_until or "~")


def _tagged(image: Doc, wanted: str) -> bool:
    """key, key=value, or the old key.value."""
    tags: dict[str, Any] = image["tags"]
    if wanted in tags:
        return True
    key, sign, value = wanted.partition("=")
    if sign:
        return tags.get(key, None if value else "-") == value
    match = re.fullmatch(r"([^.]+)\.(.*)", wanted)
    return match is not None and tags.get(match[1]) == match[2]


def sort_key(name: str) -> Callable[[Doc], Any]:
    """How a list sorts."""
    if name == "created_at":
        return lambda image: (moment(image["created_at"]), image["id"])
    fixed = {"container_format": "bare", "disk_format": "zvhd2", "size": 0}
    return lambda image: (str(fixed.get(name, image.get(name))), image["created_at"], image["id"])
