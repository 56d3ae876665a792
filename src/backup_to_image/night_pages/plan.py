"""The plan of a night for people: a row for each server, how many images it takes, and whether the quota has room."""

from __future__ import annotations

from collections import Counter

from backup_to_image.model import Value
from backup_to_image.model.night import NightPlan
from backup_to_image.pages.words import plain

__all__ = ["PlanRow", "plan_rows", "plan_sentence", "quota_line"]

_WHAT = {
    "refuse": "refuse",
    "skip": "skip",
    "back_up": "back up, then make an image",
    "make": "make an image",
    "adopt": "adopt its image",
}


class PlanRow(Value):
    """What would happen with one server."""

    server: str
    action: str
    what: str
    """The action in words."""
    why: str
    advice: str


def plan_rows(plan: NightPlan) -> list[PlanRow]:
    """A row for each server; what would get no image stands first."""
    order = list(_WHAT)
    members = sorted(plan.members, key=lambda one: (order.index(one.action), one.server_name, one.server_id))
    return [
        PlanRow(
            server=plain(one.server_name or one.server_id),
            action=one.action,
            what=_WHAT[one.action],
            why=plain(" ".join(filter(None, ("" if one.code in one.reason else f"{one.code}:", one.reason)))),
            advice=plain(one.advice),
        )
        for one in members
    ]


def plan_sentence(plan: NightPlan) -> str:
    """What the night would do, in numbers, and that nothing was done."""
    if not plan.members:
        return f"No server fits {plain(plan.policy)}. Nothing was made."
    counts = Counter(one.action for one in plan.members)
    parts = [f"make {counts['make'] + counts['back_up']:,} images"]
    if counts["back_up"]:
        parts[0] += f" ({counts['back_up']:,} after a backup)"
    parts += [f"{verb} {counts[verb]:,}" for verb in ("adopt", "skip", "refuse") if counts[verb]]
    parts += [f"let {plan.going:,} older image{'' if plan.going == 1 else 's'} go"] if plan.going else []
    return f"{plain(plan.policy)} would {', '.join(parts)}. Nothing was made."


def quota_line(plan: NightPlan) -> str:
    """How many images have to fit, and whether they do; where not, the number to ask for."""
    need = f"{plan.needed:,} image{'' if plan.needed == 1 else 's'} ha{'s' if plan.needed == 1 else 've'} to fit"
    if plan.quota is None:
        return f"Quota of images: it could not be read; {need} beside those that exist."
    free = plan.quota.free
    if free is None:
        return f"Quota of images: {need}, and there is no limit."
    room = f"{max(0, free):,} of {plan.quota.limit:,} are free"
    if free >= plan.needed:
        return f"Quota of images: {need}, {room}."
    return f"Quota of images: {need}, only {room}: ask for at least {plan.quota.used + plan.needed:,}."
