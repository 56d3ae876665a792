"""Whom an image may be shared with: only projects that b2i.yaml names."""

from __future__ import annotations

import re

from backup_to_image.model import Check, Value
from backup_to_image.settings import PROJECT_ID, Settings

__all__ = ["MOST_MEMBERS", "Recipients", "resolve"]

MOST_MEMBERS = 10
"""Projects that a full-ECS image can be shared with (BEHAVIOUR.md 9 and 13)."""
_PAGE = "IMS api-ref/source/common_parameters/restrictions_on_image_sharing.rst"


class Recipients(Value):
    """Project ids, and what is wrong with those that were named."""

    projects: tuple[str, ...]
    checks: tuple[Check, ...]


def resolve(named: tuple[str, ...], own_project: str, settings: Settings, *, members: tuple[str, ...] = ()) -> Recipients:
    """Turn aliases and ids into project ids and check them against the allow-list, the form and the limit of ten.

    `members` are the projects that the image is shared with already; all of them count, those that have not answered too.
    """
    checks: list[Check] = []
    projects: dict[str, None] = {}

    def refuse(why: str, action: str, code: str = "", page: str = "") -> None:
        checks.append(Check(rule="recipients", verdict="refused", why=why, action=action, code=code, page=page))

    allowed = {ident.lower() for ident in settings.projects.values()}
    for name in named:
        project = settings.projects.get(name, name).lower()
        if not re.fullmatch(PROJECT_ID, project):
            known = f"known aliases: {', '.join(sorted(settings.projects))}" if settings.projects else "no alias is known"
            refuse(
                f"{name!r} is neither a project id (32 hex digits) nor an alias of b2i.yaml ({known})",
                "Write the recipient's project id, or add the alias.",
            )
        elif project == own_project.lower():
            refuse(f"{name} is this project itself", "Leave it out: an image is not shared with its owner.", "IMG.0076", _PAGE)
        elif project not in allowed:
            where = settings.file or "b2i.yaml"
            refuse(
                f"{name} is not on the list of projects that images may be shared with",
                f"If it may, add this to {where}: `projects: {{ALIAS: {project}}}`.",
                "b2i.not-allowed",
            )
        projects[project] = None
    total = set(projects) | {member.lower() for member in members}
    if len(total) > MOST_MEMBERS:
        refuse(
            f"{len(total)} projects would have the image, {MOST_MEMBERS} are the most",
            "Name fewer recipients, or take the image back from some.",
            "IMG.0088",
            _PAGE,
        )
    if named and not checks:
        checks.append(
            Check(
                rule="recipients", verdict="passed", why=f"{len(projects)} of at most {MOST_MEMBERS}, all on the list of b2i.yaml"
            )
        )
    return Recipients(projects=tuple(projects), checks=tuple(checks))
