"""IMS bodies as values (BEHAVIOUR.md 6, 7, 9)."""

from __future__ import annotations

import re

from backup_to_image.model import Image, Job, Member, MemberResult, Quota
from backup_to_image.otc.wire import Body, flag, maybe, moment, need, number, part, parts, tags, text, whole

__all__ = ["image", "job", "member", "quotas"]

_FROM_BACKUP = re.compile(r"server_backup,\s*(\S+)")


def image(body: Body, operation: str) -> Image:
    origin = text(body, "__data_origin")
    named = _FROM_BACKUP.match(origin)
    no_injection = flag(body, "__support_fc_inject")
    return Image(
        id=need(body, "id", operation),
        name=text(body, "name"),
        status=need(body, "status", operation),
        owner=need(body, "owner", operation),
        visibility=text(body, "visibility"),
        backup_id=maybe(body, "__backup_id") or (named[1] if named else None),
        description=text(body, "__description", "description"),
        tags=tags(body),
        protected=flag(body, "protected") or False,
        encrypted=bool(text(body, "__system__cmkid")),
        min_disk_gb=whole(body, "min_disk") or 0,
        min_ram_mb=whole(body, "min_ram") or 0,
        max_ram_mb=whole(body, "max_ram") or None,
        os_type=text(body, "__os_type"),
        os_version=text(body, "__os_version"),
        os_bit=text(body, "__os_bit"),
        # "true" means that injection is NOT possible (BEHAVIOUR.md 7).
        injection=None if no_injection is None else not no_injection,
        data_origin=origin,
        created_at=moment(body, "created_at"),
        updated_at=moment(body, "updated_at"),
        active_at=moment(body, "active_at"),
    )


def job(body: Body, operation: str) -> Job:
    inside = part(body, "entities")
    results = parts(inside, "results")
    below = [part(sub, "entities") or sub for sub in parts(inside, "sub_jobs_result")]
    percent = number(inside, "process_percent")
    status = need(body, "status", operation).upper()
    return Job(
        id=need(body, "job_id", operation),
        service="ims",
        kind=text(body, "job_type"),
        status=status,
        error_code=maybe(body, "error_code", "code") or maybe(inside, "error_code"),
        fail_reason=text(body, "fail_reason", "message") or text(inside, "error", "fail_reason"),
        began_at=moment(body, "begin_time"),
        ended_at=moment(body, "end_time"),
        image_id=next((text(one, "image_id") for one in (inside, body, *below) if text(one, "image_id")), None),
        progress=None if percent is None else min(1.0, max(0.0, percent / 100 if percent > 1 else percent)),
        members=tuple(_result(one) for one in results),
    )


def _result(body: Body) -> MemberResult:
    status = text(body, "status")
    ok = {"success": True, "fail": False, "failed": False, "error": False}.get(status.lower())
    return MemberResult(image_id=text(body, "image_id"), project_id=text(body, "project_id"), status=status, ok=ok)


def member(body: Body, operation: str) -> Member:
    return Member(
        image_id=need(body, "image_id", operation),
        project_id=need(body, "member_id", operation),
        status=need(body, "status", operation),
        created_at=moment(body, "created_at"),
    )


def quotas(resources: list[Body]) -> dict[str, Quota]:
    """By type; a negative limit means none."""
    found: dict[str, Quota] = {}
    for one in resources:
        limit = whole(one, "quota")
        found[text(one, "type")] = Quota(used=whole(one, "used") or 0, limit=None if limit is None or limit < 0 else limit)
    return found
