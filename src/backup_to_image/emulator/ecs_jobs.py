"""ECS jobs: one for the call, one sub-job for each server; the cause of a failure sits in the sub-job (BEHAVIOUR.md 6)."""

from __future__ import annotations

import uuid

from . import jobs
from .cloud import Cloud
from .job_body import job_body
from .wire import Answer, Call, Doc, Refusal

__all__ = ["KIND", "get_ecs_job", "servers_of", "start", "taken"]

KIND = "ecs-job"

# By job type: what its sub-jobs are called, and what the job itself says when one of them has failed.
_TYPES = {
    "createServer": ("createSingleServer", "Ecs.0204", "Failed to create the ECS."),
    "startServers": ("startSingleServer", "Ecs.0226", "Failed to start."),
    "stopServers": ("stopSingleServer", "Ecs.0611", "Batch operation failed."),
    "rebootServers": ("rebootSingleServer", "Ecs.0227", "Failed to reboot."),
    "deleteServers": ("deleteSingleServer", "Ecs.0611", "Batch operation failed."),
    "changeOs": ("changeSingleServerOs", "Ecs.0204", "Failed to change the OS."),
}


def start(
    cloud: Cloud,
    call: Call,
    job_type: str,
    server_ids: list[str],
    *,
    seconds: float,
    outcome: Doc | None = None,
    **detail: object,
) -> Doc:
    """Begin a job over these servers that takes so many seconds at speed 1."""
    subs = [{"job_id": uuid.uuid4().hex, "server_id": server_id} for server_id in server_ids]
    code = _TYPES[job_type][1]
    return jobs.start(
        cloud,
        call,
        KIND,
        job_type,
        seconds=seconds,
        entities={},
        detail={"subs": subs, **detail},
        outcome=outcome,
        default_code=code,
    )


def taken(cloud: Cloud, job: Doc, **more: object) -> Answer:
    """The answer to an order that was taken: 200, or 202 by a system that is busy."""
    return Answer(int(cloud.switches["taken_status"]), {"job_id": job["id"], **more})


def servers_of(cloud: Cloud, job: Doc) -> list[Doc]:
    """The job's servers that are still there."""
    found = (cloud.get("server", sub["server_id"]) for sub in job["detail"]["subs"])
    return [server for server in found if server is not None]


def get_ecs_job(cloud: Cloud, call: Call) -> Answer:
    """getEcsJob: a job of the project with its sub-jobs; ids of other services or projects mean nothing here."""
    job = cloud.own(KIND, call.path["job_id"].replace("-", "").lower(), call.project)
    if job is None:
        raise Refusal(400, "Common.0011", "invalid job id")
    sub_type, code, reason = _TYPES[job["job_type"]]
    failing = job["detail"].get("failing")
    subs: list[Doc] = []
    for sub in job["detail"]["subs"]:
        status = job["status"]
        if status == "FAIL" and failing is not None and sub["server_id"] not in failing:
            status = "SUCCESS"
        entities: Doc = {"server_id": sub["server_id"]} if status == "SUCCESS" else {}
        if status == "FAIL":
            entities["errorcode_message"] = job["fail_reason"]
        told = job | {"id": sub["job_id"], "job_type": sub_type, "status": status}
        if status != "FAIL":
            told |= {"error_code": None, "fail_reason": None}
        subs.append(job_body(cloud, told, entities))
    body = job_body(cloud, job, {"sub_jobs_total": len(subs), "sub_jobs": subs})
    if job["status"] == "FAIL" and cloud.switches["job_cause"] == "in_sub_job":
        body |= {"error_code": code, "fail_reason": reason}
    return Answer(200, body)
