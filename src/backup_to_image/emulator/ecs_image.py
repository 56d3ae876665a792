"""Which images a project may start servers from, and what stands behind a full-ECS image: its backup (BEHAVIOUR.md 9 and 11)."""

from __future__ import annotations

from .cloud import Cloud
from .guests import HEALTHY
from .wire import Doc, Refusal

__all__ = ["backup_behind", "inherited_profile", "usable_image"]

# The states in which a backup can feed a launch (Ecs.0048's text: Available or Creating).
_FEEDS = {"available", "protecting", "waiting_protect"}


def usable_image(cloud: Cloud, image_id: str, project: str) -> Doc:
    """The image, if the project sees it and it is active; else Ecs.0031 or Ecs.0032."""
    image = cloud.get("image", image_id.lower())
    if image is None or image["status"] == "deleted" or not _sees(cloud, image, project):
        raise Refusal(400, "Ecs.0031", "the image does not exist")
    if image["status"] != "active":
        raise Refusal(400, "Ecs.0032", f"the image is {image['status']}, not active")
    return image


def _sees(cloud: Cloud, image: Doc, project: str) -> bool:
    if image.get("public") or image["project"] == project:
        return True
    member = cloud.get("image-member", f"{image['id']}/{project}")
    if member is None:
        return False
    # A rejected image is hidden, and yet the member pages say that it can be used (BEHAVIOUR.md 14).
    return member["status"] == "accepted" or (member["status"] == "rejected" and cloud.switches["rejected_image"] == "usable")


def backup_behind(cloud: Cloud, image: Doc) -> Doc | None:
    """The backup behind a full-ECS image, None for other images; Ecs.0034 when it is gone, Ecs.0048 when not usable now."""
    if not image.get("whole"):
        return None
    backup = cloud.get("backup", image["backup_id"])
    if backup is None or backup["status"] == "deleted":
        raise Refusal(400, "Ecs.0034", "the full-ECS backup does not exist or has been deleted")
    if backup["status"] not in _FEEDS:
        raise Refusal(400, "Ecs.0048", f"the backup behind the full-ECS image is {backup['status']}")
    return backup


def inherited_profile(cloud: Cloud, backup: Doc | None) -> str:
    """What runs inside a server from this backup (None: from an image without one): the same as where it was made."""
    source = cloud.get("server", backup["resource_id"]) if backup is not None else None
    return (source or backup or {}).get("profile") or HEALTHY  # a replica's source is in another region, so it knows by itself
