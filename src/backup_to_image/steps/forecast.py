"""How long the image quota lasts. Arithmetic alone; no request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import floor
from statistics import fmean

from backup_to_image.model import Quota
from backup_to_image.model.board import Forecast
from backup_to_image.model.night import NightReport

__all__ = ["forecast"]

_NIGHT = timedelta(days=1)
_WINDOW = 14
"""How many nights back the images are counted."""
_FEWEST = 3
"""Fewer nights with images tell nothing of a pace."""
_LAST_NIGHT = timedelta(hours=36)
"""A report that is older is not last night's."""


def forecast(quota: Quota | None, made_at: Iterable[datetime], reports: Sequence[NightReport], *, now: datetime) -> Forecast:
    """How many more nights fit into the quota. `made_at`: when each image was made that is there now.

    An image that was deleted leaves no trace, so what is there cannot tell a fleet that never deletes from one that began three
    nights ago and is to keep three. Last night's reports can: they know what they made and what retention took. Without them
    only those nights count from which retention, if there is any, has taken what it takes; where those are empty and the last
    ones are not, nobody can tell.
    """
    if quota is None:
        return Forecast(words="unknown: the image quota could not be read")
    base = Forecast(used=quota.used, limit=quota.limit, free=quota.free)
    said = f"{quota.used} images, no limit" if quota.limit is None else f"{quota.used} of {quota.limit} images"
    pace = _pace(_by_night(made_at, now), [one for one in reports if now - one.ended_at <= _LAST_NIGHT])
    if quota.free is not None and quota.free <= 0:
        return base.model_copy(update={"per_night": pace, "nights_left": 0, "words": f"{said}: full"})
    if quota.limit is None:
        return base.model_copy(update={"per_night": pace, "words": said})
    if pace is None:
        return base.model_copy(update={"words": f"{said}; how fast it grows is unknown"})
    if pace <= 0:
        return base.model_copy(update={"per_night": 0.0, "words": f"{said}, not growing"})
    left = floor((quota.free or 0) / pace)
    words = "the next night does not fit" if left == 0 else f"full in {left} night{'' if left == 1 else 's'}"
    update = {"per_night": round(pace, 1), "nights_left": left, "words": f"{said}, {round(pace, 1):g} more each night: {words}"}
    return base.model_copy(update=update)


def _pace(nights: Sequence[int], last_night: Sequence[NightReport]) -> float | None:
    """How many images more there are after a night than before it; None where nothing tells."""
    made = sum(len(report.with_outcome("made", "partly")) for report in last_night)
    newest = nights[0] if nights else 0
    if made and 2 * made >= newest:  # a night that was run again tells only of its last run, which made next to nothing
        retired = {image for report in last_night for image in report.retired}
        retired |= {image for report in last_night for server in report.servers for image in server.retired}
        return max(0.0, float(max(made, newest) - len(retired)))
    if not any(nights):
        return 0.0
    if len(nights) < _FEWEST:
        return None
    lately, long_ago = fmean(nights[:_FEWEST]), fmean(nights[len(nights) // 2 :])
    return None if lately > 0 and long_ago == 0 else long_ago


def _by_night(made_at: Iterable[datetime], now: datetime) -> list[int]:
    """How many were made in each of the last nights, last night first, as far back as there are any at all."""
    ages = [max(0, (now - one) // _NIGHT) for one in made_at]
    reach = min(_WINDOW, max(ages, default=-1) + 1)
    return [sum(age == night for age in ages) for night in range(reach)]
