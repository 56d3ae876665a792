"""How a job looks to ECS and EVS, whose job queries differ in their entities only (BEHAVIOUR.md 6)."""

from __future__ import annotations

from .cloud import Cloud
from .wire import Doc

__all__ = ["end_time", "job_body", "wire_time"]


def wire_time(stamp: str) -> str:
    """A moment with milliseconds, as job queries write it."""
    return stamp[:23] + "Z"


def end_time(cloud: Cloud, stamp: str | None) -> str | None:
    """The end of a job; what stands there while it runs is disputed."""
    if stamp is not None:
        return wire_time(stamp)
    return "" if cloud.switches["running_end_time"] == "empty" else None


def job_body(cloud: Cloud, job: Doc, entities: Doc) -> Doc:
    """A job with these entities."""
    return {
        "job_id": job["id"],
        "job_type": job["job_type"],
        "status": job["status"],
        "begin_time": wire_time(job["begin_time"]),
        "end_time": end_time(cloud, job["end_time"]),
        "error_code": job["error_code"],
        "fail_reason": job["fail_reason"],
        "entities": entities,
    }
