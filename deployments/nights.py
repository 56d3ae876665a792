"""The deployments that the policies in the worker's directory ask for: of their nights, and for the projects that they are in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from prefect.server.schemas.schedules import CronSchedule  # the server's own: what it schedules is what counts
from pydantic import ValidationError

from backup_to_image.blocks import DEFAULT_BLOCK
from backup_to_image.errors import UsageError
from backup_to_image.forms import files_in
from backup_to_image.model.policy import Policy
from backup_to_image.settings import Settings
from backup_to_image.steps.policy_file import read_policy
from deployments.from_files import FromFiles, block_of

__all__ = ["BLOCK_TAG", "NIGHT_SLUG", "nights_of", "once_for_each_block", "start_mistake"]

NIGHT_SLUG = "night"
BLOCK_TAG = "b2i-block"
"""On what runs for another project than the default one."""
_RISKY_HOURS = range(1, 4)
"""Local hours in which most of the world switches its clocks: a start in them comes twice, never, or at another hour."""
_LOOK_AHEAD = timedelta(days=800)
_MOST = 1000


async def nights_of(settings: Settings, night: dict[str, Any], shard: dict[str, Any], retention: dict[str, Any]) -> FromFiles:
    """Read every policy, and fill in what prefect.yaml has for them. One that is wrong keeps no other from being deployed."""
    found, names = FromFiles(), dict[str, str]()
    folder = settings.directory("policies")
    for path in files_in(folder) if folder else ():
        try:
            policy = read_policy(path).policy
        except UsageError as error:
            found.refused[path.name] = "; ".join(error.problems)
            continue
        mistake = await start_mistake(policy, now=datetime.now(UTC))
        if policy.name in names:
            mistake = f"name: {policy.name!r} is the name of {names[policy.name]} already"
        if mistake:
            found.refused[path.name] = mistake
            continue
        names[policy.name] = path.name
        schedules = [{"slug": NIGHT_SLUG, "cron": policy.schedule, "timezone": policy.timezone}] if policy.schedule else []
        found.declared.append(_declared(path, policy, night) | {"schedules": schedules})
        if policy.limits.shards > 1:
            found.declared.append(_declared(path, policy, shard))
        local = [{**one, "timezone": policy.timezone} for one in retention["schedules"]]
        found.declared.append(_declared(path, policy, retention) | {"schedules": local})
    return found


def once_for_each_block(fixed: Iterable[dict[str, Any]], policies: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What runs by schedule in the default project, such as the reconciler, once more for each other block of the policies."""
    scheduled = [one for one in fixed if one["schedules"]]
    blocks = {one["block"]: one["cloud"] for one in policies if one["block"] != DEFAULT_BLOCK}
    return [
        {
            **one,
            "name": f"{one['name']}-{block}",
            "tags": [*one["tags"], BLOCK_TAG],
            "description": f"For the project of the block **{block}**.\n\n{one['description']}",
            "block": block,
            "cloud": cloud,
        }
        for block, cloud in blocks.items()
        for one in scheduled
    ]


async def start_mistake(policy: Policy, *, now: datetime) -> str:
    """What speaks against the policy's schedule; empty if nothing does.

    Its local times stay out of 01:00 to 03:59, and out of what the zone's own switches of the clocks skip or double: there a
    night would begin twice, or at another hour.
    """
    if policy.schedule is None:
        return ""
    try:
        written = CronSchedule(cron=policy.schedule, timezone="UTC")
    except (ValidationError, ValueError):
        return f"schedule: {policy.schedule!r} is no cron; write minute, hour, day, month, weekday, such as `30 22 * * *`"
    # Counted in UTC, where no clock is switched, the hours are those that are written. They are the same on each day.
    day = now.replace(hour=1, minute=0, second=0, microsecond=0, tzinfo=UTC)
    for start in await written.get_dates(_MOST, start=day, end=day + _LOOK_AHEAD):  # pyright: ignore[reportArgumentType] - Prefect's own datetime type is one
        local = datetime.combine(start.date(), start.time(), ZoneInfo(policy.timezone))
        risky = local.hour in _RISKY_HOURS
        if risky or local.utcoffset() != local.replace(fold=1).utcoffset():
            why = "01:00 to 03:59 are kept free" if risky else f"the clocks of {policy.timezone} are switched then"
            return f"schedule: it would begin at {local:%H:%M}, and {why}: a night could begin twice, or not at its hour"
    return ""


def _declared(path: Path, policy: Policy, template: dict[str, Any]) -> dict[str, Any]:
    return {
        **template,
        "name": policy.name,
        "description": template["description"].replace("{policy}", policy.name).replace("{file}", path.name),
        "parameters": {"policy": path.name},
        "block": block_of(policy.cloud),
        "cloud": policy.cloud,
    }
