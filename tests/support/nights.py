"""Invented nights: reports such as a night writes them, drawn by a seed, with failures, late ones and whatever else may come."""

import heapq
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from backup_to_image.model import ProbeResult, Quota
from backup_to_image.model.night import NightReport, Phase, ServerNight, Verified

__all__ = ["BEGAN", "invented_night"]

BEGAN = datetime(2026, 11, 25, 21, 30, tzinfo=UTC)
_KINDS = ("web", "db", "app", "cache", "mail", "build")
_TROUBLE: list[dict[str, Any]] = [
    {
        "outcome": "failed",
        "code": "IMG.0182",
        "reason": "the vault has too little room for the backups behind the image",
        "action": "Make the vault larger, then `b2i nightly` again: it does only what is missing.",
    },
    {
        "outcome": "failed",
        "code": "b2i.job-failed",
        "reason": "the image job ended in FAIL: IMG.0132 backup {short} is being restored",
        "action": "Wait until the restore is over, then run the policy again.",
    },
    {
        "outcome": "partly",
        "code": "IMG.0088",
        "reason": "the image is there, sharing it was refused: it has 10 recipients already",
        "action": "Take a recipient away, then `b2i create BACKUP --share-with dr`.",
    },
]
_LATE = {
    "outcome": "late",
    "code": "b2i.still-running",
    "reason": "the image is still being made, 3 times as long as usual",
    "action": "Nothing: the reconciler finishes it.",
}
_SKIPPED = {
    "outcome": "skipped",
    "reason": "its newest backup is 31 h old, 26 h are allowed",
    "action": "`b2i backups --server NAME` says why; `backup: {make_one: if_missing}` makes one.",
}


def invented_night(servers: int, *, seed: int = 1, at_once: int = 40, calm: bool = False, **given: Any) -> NightReport:
    """A night of so many servers, `at_once` image tasks at a time; a calm one has no trouble."""
    random = Random(seed)  # noqa: S311 - invented, not secret
    places = [BEGAN + timedelta(seconds=1 + place / 4) for place in range(at_once)]
    found = [_server(random, number, places, calm=calm) for number in range(servers)]
    ended = max([phase.ended_at for one in found for phase in one.phases], default=BEGAN + timedelta(seconds=9))
    bad = sum(one.bad for one in found)
    values: dict[str, Any] = {
        "policy": "nightly-shop",
        "night": "2026-11-25",
        "project_id": "0123456789abcdef0123456789abcdef",
        "outcome": "made" if not bad else "failed" if bad * 20 > servers else "partly",
        "began_at": BEGAN,
        "ended_at": ended + timedelta(seconds=12),
        "deadline": BEGAN + timedelta(hours=6),
        "servers": tuple(found),
        "requests": 40 + 4 * servers,
        "images_at_once": at_once,
        "quota": Quota(used=servers * 12, limit=servers * 14 + 100),
        "retired": tuple(image for one in found for image in one.retired),
        "notes": () if calm else ("the cloud refused one request for its pace (IMG.0060); it was sent again 60 s later",),
    }
    return NightReport(**values | given)


def _server(random: Random, number: int, places: list[datetime], *, calm: bool) -> ServerNight:
    kind = random.choice(_KINDS)
    name = f"shop-{kind}-{number:03}" + (".customers.eu-de.internal.example.com" if random.random() < 0.05 else "")
    backup = _uuid(random)
    base: dict[str, Any] = {
        "server_id": _uuid(random),
        "server_name": name,
        "backup_id": backup,
        "backup_created_at": BEGAN - timedelta(minutes=random.randrange(60, 600)),
        "outcome": "made",
    }
    if not calm and random.random() < 0.03:
        return ServerNight(**base | _SKIPPED)
    trouble: dict[str, Any] = {}
    if not calm and random.random() < 0.025:
        trouble = random.choice(_TROUBLE) | {}
        trouble["reason"] = trouble["reason"].format(short=backup[:8])
    elif not calm and random.random() < 0.006:
        trouble = dict(_LATE)
    phases, verified = _phases(random, places, trouble, calm=calm)
    there = trouble.get("outcome") not in {"failed", "late"}
    if there:
        base |= {"image_id": _uuid(random), "image_name": f"{name}-20261125-{backup[:8]}", "retired": (_uuid(random),)}
    if not calm and there and not trouble and random.random() < 0.004:
        base["doubtful"] = "the server was restored while its image was made"
    return ServerNight(**base | trouble | {"phases": phases, "verified": verified})


def _phases(
    random: Random, places: list[datetime], trouble: dict[str, Any], *, calm: bool
) -> tuple[tuple[Phase, ...], Verified | None]:
    """As a night notes them: a server is looked at shortly before its turn, unless it has to be backed up first."""
    at = BEGAN + timedelta(milliseconds=200)
    phases: list[Phase] = []
    if not calm and random.random() < 0.04:
        phases.append(_phase("backup", at, random.uniform(120, 420)))
        at = phases[-1].ended_at
    free = heapq.heappop(places)
    looking = random.uniform(1, 4)
    at = max(at, free - timedelta(seconds=looking + random.uniform(1, 25)))
    phases.append(_phase("validate", at, looking))
    at = phases[-1].ended_at
    free = max(free, at)
    phases.append(Phase(name="place", began_at=at, ended_at=free))
    making = random.lognormvariate(4.85, 0.28) * (3.2 if trouble.get("outcome") == "late" else 1)
    rest = [("create", random.uniform(1, 4)), ("wait", making * (0.4 if trouble.get("outcome") == "failed" else 1))]
    at = free
    for name, seconds in rest:
        phases.append(_phase(name, at, seconds))
        at = phases[-1].ended_at
    heapq.heappush(places, at)
    if trouble.get("outcome") in {"failed", "late"}:
        return tuple(phases), None
    verified = None
    after = [("share", random.uniform(4, 20))]
    if random.random() < 0.02:
        after += [("launch", random.uniform(60, 120)), ("verify", random.uniform(15, 60))]
        probe = ProbeResult(server_id=_uuid(random), probe="console:login:", ok=True, answer="found", seconds=31)
        verified = Verified(ok=True, launch_id=f"{random.getrandbits(48):012x}", seconds=140, probes=(probe,))
    for name, seconds in [*after, ("retire", random.uniform(3, 9))]:
        phases.append(_phase(name, at, seconds))
        at = phases[-1].ended_at
    return tuple(phases), verified


def _phase(name: Any, at: datetime, seconds: float) -> Phase:
    return Phase(name=name, began_at=at, ended_at=at + timedelta(seconds=seconds))


def _uuid(random: Random) -> str:
    return str(UUID(int=random.getrandbits(128), version=4))
