"""Asynchronous work: a job passes through INIT, RUNNING and then SUCCESS or FAIL by the clock, and calls back at its end.

`start` keeps a job document: id, project, service, job_type, status, begin_time, end_time, error_code, fail_reason, entities,
detail (whatever the callbacks need). Its `due` drives it. A service registers what its jobs do with `Work` entries, by job type:
`running` is called when INIT is over, `finish` when the job ends well, `failed` when it ends in FAIL.
`transitions={"ecs-job": jobs.runner({...})}` is all a service has to declare.

The faults job-fails and job-stuck are handled here. `fail_with(code, reason)` as `outcome` makes a job end in FAIL from the
start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from .cloud import Cloud, Transition
from .wire import Call, Doc

__all__ = ["Work", "end", "fail_with", "runner", "start", "unfinished"]

# INIT lasts this long at speed 1, but never more than a quarter of the whole.
_INIT = 2.0

Callback = Callable[[Cloud, Doc, datetime], None]


def _nothing(cloud: Cloud, job: Doc, when: datetime) -> None:
    del cloud, job, when


@dataclass(frozen=True, slots=True)
class Work:
    """What a type of job does when it begins to run, when it succeeds, when it fails."""

    finish: Callback = _nothing
    running: Callback = _nothing
    failed: Callback = _nothing


def fail_with(code: str, reason: str) -> Doc:
    """An outcome for `start`: the job ends in FAIL with that code and reason."""
    return {"code": code, "reason": reason}


def start(
    cloud: Cloud,
    call: Call,
    kind: str,
    job_type: str,
    *,
    seconds: float,
    entities: Doc,
    detail: Doc,
    outcome: Doc | None = None,
    default_code: str,
) -> Doc:
    """Begin a job of the caller that takes so many seconds (at speed 1) and return it.

    `default_code` is the service's code for a job that the fault job-fails ends without naming one.
    """
    broken = call.struck.get("job-fails")
    if broken is not None:
        outcome = fail_with(broken["code"] or default_code, broken["reason"])
    stuck = call.struck.get("job-stuck")
    init = min(_INIT, seconds / 4)
    return cloud.new(
        kind,
        {
            "kind": kind,
            "project": call.project,
            "job_type": job_type,
            "status": "INIT",
            "begin_time": cloud.stamp(),
            "end_time": None,
            "error_code": None,
            "fail_reason": None,
            "entities": entities,
            "detail": detail,
            "outcome": outcome,
            "remaining": seconds - init,
            "stuck": None if stuck is None else {"seconds": stuck["seconds"]},
            "due": cloud.due(init),
        },
        hex_id=True,
    )


def runner(work: Mapping[str, Work]) -> Transition:
    """The transition for a kind of job, given what each job type does."""

    def advance(cloud: Cloud, job: Doc, when: datetime) -> None:
        todo = work[job["job_type"]]
        if job["status"] == "INIT":
            job["status"] = "RUNNING"
            stuck = job["stuck"]
            if stuck is None:
                job["due"] = cloud.due(job["remaining"], when)
            elif stuck["seconds"] is not None:
                job["due"] = cloud.due(job["remaining"] + stuck["seconds"], when)
            cloud.save(job["kind"], job)
            todo.running(cloud, job, when)
        elif job["status"] == "RUNNING":
            end(cloud, job, when, job["outcome"])
            (todo.finish if job["outcome"] is None else todo.failed)(cloud, job, when)

    return advance


def end(cloud: Cloud, job: Doc, when: datetime, outcome: Doc | None) -> None:
    """The job reaches its final state at that moment."""
    job["status"] = "SUCCESS" if outcome is None else "FAIL"
    job["end_time"] = cloud.stamp(when)
    job["due"] = None
    if outcome is not None:
        job["error_code"], job["fail_reason"] = outcome["code"], outcome["reason"]
    cloud.save(job["kind"], job)


def unfinished(cloud: Cloud, kind: str, project: str, job_types: tuple[str, ...]) -> int:
    """How many jobs of those types the project has that are not final yet."""
    return sum(1 for job in cloud.walk(kind, project) if job["status"] in {"INIT", "RUNNING"} and job["job_type"] in job_types)
