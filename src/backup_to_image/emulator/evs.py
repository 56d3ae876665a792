"""Disks: what a launch made and a teardown left (BEHAVIOUR.md 6 and 11)."""

from __future__ import annotations

import json
import uuid
from datetime import datetime

from . import jobs
from .cloud import Cloud
from .job_body import job_body
from .routing import Operation
from .services import Service
from .wire import Answer, Call, Doc, Problem, Refusal

__all__ = ["SERVICE"]

_PAGE = 1000
_MOST_IDS = 60
_SORT_KEYS = {"id", "status", "size", "created_at"}
_DELETABLE = {"available", "error", "error_extending", "error_restoring", "error_rollbacking", "error_deleting"}

# How long deleting a disk takes at speed 1 (the page's example: 7 s).
_DELETE_SECONDS = 7.0


def malformed(operation: Operation, problem: Problem) -> Refusal:
    """EVS's words for a request that does not fit the contract (its appendix, error_codes.rst)."""
    if problem.where == "path":
        code = {"project_id": "EVS.0001", "volume_id": "EVS.1002", "job_id": "Common.0011"}[problem.name]
    elif operation.id == "listVolumesDetail" and problem.name == "limit":
        code = {"maximum": "EVS.2142", "minimum": "EVS.1023"}.get(problem.rule, "EVS.5400")
    else:
        code = "EVS.5400"
    return Refusal(400, code, problem.message)


def list_volumes_detail(cloud: Cloud, call: Call) -> Answer:
    """listVolumesDetail: the project's disks that fit, newest first; `marker` is the last id seen, `offset` an index."""
    query = call.query
    key = query.get("sort_key", "created_at")
    if key not in _SORT_KEYS:
        raise Refusal(400, "EVS.1039", "invalid sort_key")
    found = [volume for volume in cloud.walk("volume", call.project) if _fits(volume, query)]
    found.sort(key=lambda volume: (volume[key], volume["id"]), reverse=query.get("sort_dir", "desc") == "desc")
    start = _start(found, query)
    limit = query.get("limit", _PAGE)
    page = found[start : start + limit]
    body: Doc = {"volumes": [_body(volume) for volume in page], "count": len(found)}
    if start + limit < len(found):
        address = f"{call.origin}:{cloud.port('evs')}/v2/{call.project}/cloudvolumes/detail?limit={limit}&marker={page[-1]['id']}"
        body["volumes_links"] = [{"rel": "next", "href": address}]
    return Answer(200, body)


def _fits(volume: Doc, query: Doc) -> bool:
    ids = _ids(query)
    server = query.get("server_id")
    wanted_metadata = _json(query, "metadata")
    return (
        (ids is None or volume["id"] in ids)
        and query.get("id") in {None, volume["id"]}
        and query.get("name", "") in (volume["name"] or "")
        and query.get("status") in {None, volume["status"]}
        and query.get("availability_zone") in {None, volume["az"]}
        and query.get("multiattach") in {None, bool(volume["multiattach"])}
        and server in {None, volume["server_id"]}
        and all(volume["metadata"].get(name) == value for name, value in wanted_metadata.items())
    )


def _ids(query: Doc) -> set[str] | None:
    """`ids=['a','b']`: single quotes, as the page writes it."""
    text: str | None = query.get("ids")
    if text is None:
        return None
    if not (text.startswith("[") and text.endswith("]")):
        raise Refusal(400, "EVS.5400", "ids must be a list like ['id1','id2']")
    ids = {part.strip().strip("'\"") for part in text[1:-1].split(",") if part.strip()}
    if len(ids) > _MOST_IDS:
        raise Refusal(400, "EVS.5400", f"at most {_MOST_IDS} ids")
    return ids


def _json(query: Doc, name: str) -> Doc:
    if name not in query:
        return {}
    try:
        value = json.loads(query[name])
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise Refusal(400, "EVS.5400", f"{name} must be a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType] - JSON has no narrower type


def _start(found: list[Doc], query: Doc) -> int:
    marker = query.get("marker")
    if marker is None:
        return query.get("offset", 0)
    for position, volume in enumerate(found):
        if volume["id"] == marker:
            return position + 1
    raise Refusal(400, "EVS.1024", "invalid filter marker")


def _body(volume: Doc) -> Doc:
    attachments: list[Doc] = []
    if volume["server_id"] and volume["status"] != "creating":
        attachments.append(
            {
                "server_id": volume["server_id"],
                "device": volume["device"],
                "volume_id": volume["id"],
                "attachment_id": volume["id"],
                "id": volume["id"],
            }
        )
    body: Doc = {
        "id": volume["id"],
        "name": volume["name"],
        "description": None,
        "status": volume["status"],
        "size": volume["size"],
        "volume_type": volume["type"],
        "availability_zone": volume["az"],
        "bootable": "true" if volume["bootable"] else "false",
        "encrypted": bool(volume["encrypted"]),
        "snapshot_id": volume["snapshot_id"],
        "multiattach": bool(volume["multiattach"]),
        "shareable": "true" if volume["multiattach"] else "false",
        "metadata": volume["metadata"],
        "attachments": attachments,
        "created_at": volume["created_at"].removesuffix("Z"),
        "os-vol-tenant-attr:tenant_id": volume["project"],
        "tags": volume.get("tags", {}),
    }
    if volume["bootable"] and volume.get("image_id"):
        body["volume_image_metadata"] = {"image_id": volume["image_id"]}
    return body


def delete_volume(cloud: Cloud, call: Call) -> Answer:
    """deleteVolume: take a disk away that nothing is attached to; the answer is a job."""
    volume = cloud.own("volume", call.path["volume_id"], call.project)
    if volume is None:
        raise Refusal(404, "EVS.5404", f"Volume {call.path['volume_id']} could not be found.")
    if volume.get("locked"):
        raise Refusal(400, "EVS.2068", "operation failed because of volume be locked")
    if volume["status"] == "backing-up":
        raise Refusal(400, "EVS.2130", "volume is backing-up, forbidden deleting")
    if volume["status"] not in _DELETABLE:
        raise Refusal(400, "EVS.1046", f"volume status is {volume['status']}; it must be available or in an error state")
    volume["status"] = "deleting"
    cloud.save("volume", volume)
    job = jobs.start(
        cloud,
        call,
        "evs-job",
        "deleteVolume",
        seconds=_DELETE_SECONDS,
        entities={"volume_id": volume["id"]},
        detail={"volume_id": volume["id"]},
        default_code="EVS.2024",
    )
    return Answer(200, {"job_id": _hyphenated(job["id"])})


def _deleted(cloud: Cloud, job: Doc, when: datetime) -> None:
    del when
    cloud.remove("volume", job["detail"]["volume_id"])


def _not_deleted(cloud: Cloud, job: Doc, when: datetime) -> None:
    del when
    volume = cloud.get("volume", job["detail"]["volume_id"])
    if volume is not None:
        volume["status"] = "error_deleting"
        cloud.save("volume", volume)


def get_evs_job(cloud: Cloud, call: Call) -> Answer:
    """getEvsJob: the state of a disk job; ids of other services or projects mean nothing here."""
    job = cloud.own("evs-job", call.path["job_id"].replace("-", "").lower(), call.project)
    if job is None:
        raise Refusal(400, "Common.0011", "invalid job id")
    return Answer(200, job_body(cloud, job, job["entities"]) | {"job_id": _hyphenated(job["id"])})


def _hyphenated(job_id: str) -> str:
    """EVS writes its job ids as UUIDs, the others as 32 hex digits."""
    return str(uuid.UUID(job_id))


SERVICE = Service(
    name="evs",
    routes={"listVolumesDetail": list_volumes_detail, "deleteVolume": delete_volume, "getEvsJob": get_evs_job},
    malformed=malformed,
    transitions={"evs-job": jobs.runner({"deleteVolume": jobs.Work(finish=_deleted, failed=_not_deleted)})},
)
