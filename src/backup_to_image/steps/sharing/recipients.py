"""Whom an image may be shared with: only projects that b2i.yaml names."""

from __future__ import annotations

import re

from backup_to_image.model import Check, Image, Value
from backup_to_image.settings import PROJECT_ID, Settings

__all__ = ["MOST_MEMBERS", "SWISS", "Recipients", "most_members", "resolve", "resolve_members"]

MOST_MEMBERS = 10
"""Projects that a full-ECS image can be shared with (BEHAVIOUR.md 9 and 13)."""
_MOST_OTHERS, _MOST_OTHERS_SWISS = 256, 128
SWISS = "eu-ch2"
"""The region with pages of its own about sharing (BEHAVIOUR.md 14)."""
_PAGE = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"
_LIST_PAGE = "docs/how-to-share.md"


class Recipients(Value):
    """Project ids, and what is wrong with those that were named."""

    projects: tuple[str, ...]
    checks: tuple[Check, ...]


def most_members(image: Image, region: str | None) -> int:
    """How many projects may have this image. What CBR knows no backup of is no full-ECS image, and takes more."""
    if image.backup_id:
        return MOST_MEMBERS
    return _MOST_OTHERS_SWISS if region == SWISS else _MOST_OTHERS


def resolve(
    named: tuple[str, ...],
    own_project: str,
    settings: Settings,
    *,
    members: tuple[str, ...] = (),
    most: int = MOST_MEMBERS,
) -> Recipients:
    """Turn aliases and ids into project ids and check them against the allow-list, the form and the limit.

    `members` are the projects that the image is shared with already; all of them count, those that have not answered too.
    """
    checks: list[Check] = []
    projects: dict[str, None] = {}

    def refuse(why: str, action: str, code: str, page: str) -> None:
        checks.append(Check(rule="recipients", verdict="refused", why=why, action=action, code=code, page=page))

    for name in named:
        project = settings.projects.get(name, name).lower()
        if not re.fullmatch(PROJECT_ID, project):
            checks.append(_unreadable(name, settings))
        elif project == own_project.lower():
            refuse(f"{name} is this project itself", "Leave it out: an image is not shared with its owner.", "IMG.0076", _PAGE)
        elif project not in settings.recipients:
            where = settings.file or "b2i.yaml"
            refuse(
                f"{name} is not on the list of projects that images may be shared with",
                f"If it may, add this to {where}: `projects: {{ALIAS: {project}}}`.",
                "b2i.not-allowed",
                _LIST_PAGE,
            )
        projects[project] = None
    total = set(projects) | {member.lower() for member in members}
    if len(total) > max(most, len(set(members))):
        there = f" ({len(set(members))} have it already)" if members else ""
        refuse(
            f"{len(total)} projects would have the image{there}, {most} are the most",
            "Name fewer recipients, or take the image back from some with `b2i unshare`.",
            "IMG.0088",
            _PAGE,
        )
    if named and not checks:
        why = f"{len(total)} of at most {most}, all that are named on the list of b2i.yaml"
        checks.append(Check(rule="recipients", verdict="passed", why=why))
    return Recipients(projects=tuple(projects), checks=tuple(checks))


def resolve_members(named: tuple[str, ...], settings: Settings) -> Recipients:
    """Turn aliases and ids into project ids, to take an image back: from whom it may be taken needs no list."""
    projects = {name: settings.projects.get(name, name).lower() for name in named}
    checks = tuple(_unreadable(name, settings) for name, project in projects.items() if not re.fullmatch(PROJECT_ID, project))
    return Recipients(projects=tuple(dict.fromkeys(projects.values())), checks=checks)


def _unreadable(name: str, settings: Settings) -> Check:
    known = f"known aliases: {', '.join(sorted(settings.projects))}" if settings.projects else "no alias is known"
    return Check(
        rule="recipients",
        verdict="refused",
        why=f"{name!r} is neither a project id (32 hex digits) nor an alias of b2i.yaml ({known})",
        action="Write the recipient's project id, or add the alias.",
        page=_LIST_PAGE,
    )
