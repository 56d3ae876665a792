"""How a runbook's readiness is told: each server with what keeps it from coming back, then what concerns all of them."""

from __future__ import annotations

from datetime import timedelta

from backup_to_image.model import Check, Report
from backup_to_image.model.readiness import Readiness
from backup_to_image.steps.context import minutes
from backup_to_image.told.told import Fields, Grid, Told

__all__ = ["told_readiness"]

_STATES = {"ready": "ready", "unsure": "not to be told", "not_ready": "NOT ready"}
_MODES = {"drill": "as a drill", "failover": "for real"}


def told_readiness(seen: Readiness) -> Told:
    """Ready, or every reason why not. A set that is not ready, or that could not be looked at, ends with 3."""
    ready = sum(server.state == "ready" for server in seen.servers)
    title = f"{ready} of {len(seen.servers)} servers are ready" + (
        "" if not seen.against else "; something speaks against all of them"
    )
    rows = tuple(
        (
            server.group,
            server.source,
            server.image_name or ("to be made first" if server.make_from else "none"),
            minutes(timedelta(seconds=server.age_s)) if server.age_s is not None else "",
            server.verified_on or "never",
            _STATES[server.state],
        )
        for server in seen.servers
    )
    wide = Grid(
        title=f"Runbook {seen.runbook}, {' and '.join(_MODES[mode] for mode in seen.modes)}",
        columns=("group", "server", "image", "age", "verified", ""),
        rows=rows,
    )
    why = tuple((server.source, _words(check)) for server in seen.servers for check in server.against)
    return Told(
        exit_code=0 if seen.ready else 3,
        outcome=None if seen.ready else "refused",
        title=f"{seen.runbook}: {title}",
        content=_fields(seen),
        grids=(wide, *((Grid(title="Why not", columns=("server", "reason, and what to do"), rows=why),) if why else ())),
        proof=Report(subject="all of them together", checks=seen.checks) if seen.checks else None,
        notes=(f"Score {seen.score} of 100: {title}. Nothing was made.",),
    )


def _fields(seen: Readiness) -> Fields:
    """`runbook check --json`."""
    return {
        "runbook": seen.runbook,
        "modes": list(seen.modes),
        "ready": seen.ready,
        "score": seen.score,
        "at": seen.at.isoformat(),
        "servers": [server.model_dump(mode="json") for server in seen.servers],
        "checks": [check.model_dump(mode="json") for check in seen.checks],
    }


def _words(check: Check) -> str:
    unseen = "" if check.verdict == "refused" else " (could not be looked at)"
    return f"{check.rule}{unseen}: {check}"
