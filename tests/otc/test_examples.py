"""Every example of the contract: the client asks as it does, and understands what comes back."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from backup_to_image.clock import FakeClock
from backup_to_image.contract import openapi
from backup_to_image.doctor import diagnose
from backup_to_image.errors import AlreadyUsed, ApiError, B2iError, Denied, LoginRefused, NotFound, Throttled
from backup_to_image.model import Backup, LaunchDisk, LaunchPublicIp, LaunchRequest
from backup_to_image.otc import Cloud
from backup_to_image.otc.calls import Call, Reply
from backup_to_image.otc.refusals import TOKEN_REFUSED, refusal, said
from tests.otc.stage import EXAMPLES, PROJECT, Stage, catalog, example, reply, token

OTHER = "0f9e8d7c6b5a49382716f5e4d3c2b1a0"  # the recipient's project
BROKEN = Backup(id="6f1d", name="manualbk_web01", status="error", kind="server", resource_id="5b6c", project_id=PROJECT)
NAMES = sorted(f"{path.parent.name}/{path.stem}" for path in EXAMPLES.glob("*/*.json"))


async def every(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


def ids(request: dict[str, Any]) -> list[str]:
    """The variable parts of an example's path, without the project."""
    fixed = {"v1", "v2", "v3", "members", "tags", "action", "jobs", "backups", "checkpoints", "vaults", "images", "cloudimages"}
    fixed |= {"cloudservers", "servers", "changeos", "cloudvolumes", "publicips", "block_device", PROJECT, OTHER}
    return [step for step in request["path"].split("/")[1:] if step not in fixed and not step.startswith("v2.")]


def launch_request(body: dict[str, Any]) -> LaunchRequest:
    server = body["server"]
    return LaunchRequest(
        name=server["name"],
        image_id=server["imageRef"],
        flavor_id=server["flavorRef"],
        vpc_id=server["vpcid"],
        subnet_ids=tuple(nic["subnet_id"] for nic in server["nics"]),
        security_group_ids=tuple(group["id"] for group in server["security_groups"]),
        zone=server["availability_zone"],
        system_disk_type=server.get("root_volume", {}).get("volumetype", "SSD"),
        system_disk_gb=server.get("root_volume", {}).get("size"),
        data_disks=tuple(
            LaunchDisk(snapshot_id=one["extendparam"]["snapshotId"], type=one["volumetype"], size_gb=one["size"])
            for one in server.get("data_volumes", [])
        ),
        public_ip=LaunchPublicIp() if "publicip" in server else None,
        key_name=server["key_name"],
        tags=dict(tag.split(".", 1) for tag in server["tags"]),
    )


def start_image(cloud: Cloud, request: dict[str, Any]) -> Awaitable[Any]:
    body = request["body"]
    return cloud.images.start_from_backup(
        backup_id=body["backup_id"],
        name=body["name"],
        description=body["description"],
        tags={tag["key"]: tag["value"] for tag in body["image_tags"]},
    )


def act(cloud: Cloud, request: dict[str, Any]) -> Awaitable[Any]:
    ((verb, told),) = request["body"].items()
    servers = [one["id"] for one in told["servers"]]
    if verb == "os-start":
        return cloud.servers.start(servers)
    return cloud.servers.stop(servers, how=told["type"]) if verb == "os-stop" else cloud.servers.reboot(servers, how=told["type"])


def tag_image(cloud: Cloud, request: dict[str, Any]) -> Awaitable[Any]:
    tag = request["body"].get("image_tag") or dict(zip(("key", "value"), request["body"]["tag"].split("."), strict=True))
    return cloud.images.set_tag(request["body"]["image_id"], tag["key"], tag["value"])


def checkpoint(cloud: Cloud, request: dict[str, Any]) -> Awaitable[Any]:
    body = request["body"]["checkpoint"]
    told = body["parameters"]
    return cloud.restore_points.create(
        body["vault_id"], told["resources"], name=told["name"], description=told["description"], incremental=told["incremental"]
    )


CALLS: dict[str, Callable[[Cloud, dict[str, Any]], Awaitable[Any]]] = {
    "createToken": lambda cloud, _: cloud.login(),
    "getCatalog": lambda cloud, _: cloud.login(),
    "listAuthProjects": lambda cloud, _: cloud.login(),
    "getBackup": lambda cloud, request: cloud.backups.get(ids(request)[0]),
    "deleteBackup": lambda cloud, request: cloud.backups.delete(ids(request)[0]),
    "listBackups": lambda cloud, request: every(
        cloud.backups.list(
            server_id=request.get("query", {}).get("resource_id"),
            status=request.get("query", {}).get("status"),
            own_type=request.get("query", {}).get("own_type", "private"),
            member_status=request.get("query", {}).get("member_status"),
        )
    ),
    "listBackupMembers": lambda cloud, request: cloud.backups.members(ids(request)[0]),
    "addBackupMembers": lambda cloud, request: cloud.backups.share(ids(request)[0], request["body"]["members"]),
    "getBackupMember": lambda cloud, request: cloud.backups.member(ids(request)[0], request["path"].rpartition("/")[2]),
    "updateBackupMember": lambda cloud, request: cloud.backups.set_member(
        ids(request)[0], request["body"]["status"], vault_id=request["body"].get("vault_id")
    ),
    "deleteBackupMember": lambda cloud, request: cloud.backups.unshare(ids(request)[0], request["path"].rpartition("/")[2]),
    "getVault": lambda cloud, request: cloud.vaults.get(ids(request)[0]),
    "listVaults": lambda cloud, request: every(cloud.vaults.list(**request.get("query", {}))),
    "createCheckpoint": checkpoint,
    "listOperationLogs": lambda cloud, request: cloud.backups.why_failed(BROKEN),
    "getCheckpoint": lambda cloud, request: cloud.restore_points.get(ids(request)[0]),
    "createWholeImage": start_image,
    "getImsJob": lambda cloud, request: cloud.images.job(ids(request)[0]),
    "listCloudImages": lambda cloud, request: every(
        cloud.images.list(
            owner=request["query"].get("owner"),
            whole=True if "__whole_image" in request["query"] else None,
            tag=request["query"].get("tag"),
            ids=[request["query"]["id"]] if "id" in request["query"] else None,
            visibility=request["query"].get("visibility"),
            member_status=request["query"].get("member_status"),
        )
    ),
    "updateCloudImage": lambda cloud, request: cloud.images.patch(ids(request)[0], request["body"]),
    "getImage": lambda cloud, request: cloud.images.get(ids(request)[0]),
    "deleteImage": lambda cloud, request: cloud.images.delete(
        ids(request)[0], delete_backup=request.get("body", {}).get("delete_backup", False)
    ),
    "batchAddImageMembers": lambda cloud, request: cloud.images.share(request["body"]["images"], request["body"]["projects"]),
    "batchDeleteImageMembers": lambda cloud, request: cloud.images.unshare(
        request["body"]["images"], request["body"]["projects"]
    ),
    "batchUpdateImageMembers": lambda cloud, request: cloud.images.set_member(
        request["body"]["images"], request["body"]["status"], vault_id=request["body"].get("vault_id")
    ),
    "listImageMembers": lambda cloud, request: cloud.images.members(ids(request)[0]),
    "addImageMember": lambda cloud, request: cloud.images.share_one(ids(request)[0], request["body"]["member"]),
    "getImageMember": lambda cloud, request: cloud.images.member(ids(request)[0], request["path"].rpartition("/")[2]),
    "updateImageMember": lambda cloud, request: cloud.images.set_member_one(
        ids(request)[0], request["body"]["status"], vault_id=request["body"].get("vault_id")
    ),
    "deleteImageMember": lambda cloud, request: cloud.images.unshare_one(ids(request)[0], request["path"].rpartition("/")[2]),
    "putImageTag": tag_image,
    "listImageTags": lambda cloud, request: cloud.images.tags(ids(request)[0]),
    "deleteImageTag": lambda cloud, request: cloud.images.remove_tag(*ids(request)),
    "batchImageTags": lambda cloud, request: cloud.images.set_tags(
        ids(request)[0], {tag["key"]: tag.get("value", "") for tag in request["body"]["tags"]}
    ),
    "getImageQuota": lambda cloud, _: cloud.images.quota(),
    "createServers": lambda cloud, request: cloud.servers.launch(
        launch_request(request["body"]), dry_run=request["body"].get("dry_run", False)
    ),
    "getEcsJob": lambda cloud, request: cloud.servers.job(ids(request)[0]),
    "getServer": lambda cloud, request: cloud.servers.get(ids(request)[0]),
    "listServersDetail": lambda cloud, request: every(cloud.servers.list(tags=request["query"].get("tags"))),
    "serversAction": act,
    "deleteServers": lambda cloud, request: cloud.servers.delete([one["id"] for one in request["body"]["servers"]]),
    "changeOs": lambda cloud, request: cloud.servers.change_os(
        ids(request)[0], request["body"]["os-change"]["imageid"], key_name=request["body"]["os-change"]["keyname"]
    ),
    "listFlavors": lambda cloud, request: cloud.servers.flavors(request.get("query", {}).get("availability_zone")),
    "serverTagsAction": lambda cloud, request: cloud.servers.set_tags(
        ids(request)[0], {tag["key"]: tag["value"] for tag in request["body"]["tags"]}
    ),
    "listServerTags": lambda cloud, request: cloud.servers.tags(ids(request)[0]),
    "listServerDisks": lambda cloud, request: cloud.servers.disks(ids(request)[0]),
    "getServerLimits": lambda cloud, _: cloud.servers.limits(),
    "listAvailabilityZones": lambda cloud, _: cloud.servers.zones(),
    "getConsoleOutput": lambda cloud, request: cloud.servers.console(ids(request)[0]),
    "listKeypairs": lambda cloud, _: cloud.servers.key_pairs(),
    "listVpcs": lambda cloud, _: cloud.networks.vpcs(),
    "listSubnets": lambda cloud, request: cloud.networks.subnets(request.get("query", {}).get("vpc_id")),
    "listSecurityGroups": lambda cloud, _: cloud.networks.security_groups(),
    "listPublicIps": lambda cloud, _: cloud.public_ips.list(),
    "deletePublicIp": lambda cloud, request: cloud.public_ips.delete(ids(request)[0]),
    "listVolumesDetail": lambda cloud, request: every(cloud.disks.list(name=request.get("query", {}).get("name"))),
    "deleteVolume": lambda cloud, request: cloud.disks.delete(ids(request)[0]),
    "getEvsJob": lambda cloud, request: cloud.disks.job(ids(request)[0]),
}
NOT_USED = {
    "checkToken": "a token shows by use whether it is good",
    "listProjects": "listAuthProjects needs no further rights",
    "listImages": "the native list has no filter for full-ECS images and 25 entries a page",
    "addImageTag": "putImageTag adds and changes",
    "listProjectImageTags": "images carry their tags",
    "queryImagesByTag": "listCloudImages filters by tag",
    "getOperationLog": "states are read off backups and restore points",
    "createServersV11": "not on this cloud",
}
# Requests of a form that this client never sends; the answers of their refusals are read below with all others.
OTHER_FORM = {
    "iam/createToken.domain-scope",
    "ims/createWholeImage.from-server",
    "ims/batchImageTags.delete",
    "ims/deleteImage.not-found",
    "cbr/listOperationLogs.ok",
    "cbr/listOperationLogs.bad",
}


def test_each_operation_of_the_contract_is_used_or_left_out_for_a_reason() -> None:
    every_one = {told["operationId"] for path in openapi()["paths"].values() for told in path.values() if "operationId" in told}
    assert set(CALLS) | set(NOT_USED) == every_one
    assert not set(CALLS) & set(NOT_USED)


ASKED = [
    name
    for name in NAMES
    if not example(name).get("request_invalid") and example(name)["operationId"] not in NOT_USED and name not in OTHER_FORM
]


@pytest.mark.parametrize("name", ASKED)
async def test_the_client_asks_as_the_example_does_and_understands_the_answer(name: str, stage: Stage) -> None:
    told = example(name)
    operation = told["operationId"]
    outcome = await played(stage, told)
    asked = stage.requests(operation)[0]
    assert (asked.method, asked.url.path) == (told["request"]["method"], told["request"]["path"])
    if "body" in told["request"] and operation != "createToken" and name != "ims/putImageTag.too-many":  # written in the old form
        assert json.loads(asked.content) == told["request"]["body"]
    understood(outcome, told)


@pytest.mark.parametrize("name", NAMES)
def test_each_refusal_has_its_code_class_and_words(name: str) -> None:
    told = example(name)
    status, body = told["response"]["status"], told["response"].get("body")
    answered = Reply(
        operation=told["operationId"], status=status, headers={}, content=json.dumps(body).encode() if body is not None else b""
    )
    code, words = said(answered)
    if status < 300 and status != 202:
        return
    assert code == documented_code(body)
    error = refusal(Call(operation=told["operationId"], service=told["service"], method="GET", path="/"), answered, FakeClock())
    assert error.error_class is diagnose(code, status).error_class
    if code and name != "ecs/createServers.swapped-error":
        assert words


def documented_code(body: Any) -> str | None:
    inside = (body or {}).get("error") or body or {}
    found = [value for value in inside.values() if isinstance(value, str) and "." in value and value.rpartition(".")[2].isdigit()]
    return found[0] if found else None


async def played(stage: Stage, told: dict[str, Any]) -> Any:
    """What the client makes of the example: a value, or the error that it raises."""
    operation = told["operationId"]
    body = told["response"].get("body")
    recipient = operation in {"batchUpdateImageMembers", "updateImageMember"}
    if operation == "createToken" and told["response"]["status"] == 201:
        stage.says("createToken", token(body=body))
        stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    elif operation == "getCatalog":
        stage.says("createToken", token(body=example("iam/createToken.project-id-nocatalog")["response"]["body"]))
    else:
        stage.says(
            "createToken", token(project=OTHER if recipient or told["request"]["path"].startswith(f"/v3/{OTHER}") else PROJECT)
        )
        stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    if (operation, told["response"]["status"]) != ("createToken", 201):
        stage.says(operation, reply(told["response"]["status"], body, told["response"].get("headers")))
    signed = (
        {"username": None, "password": None, "access_key": "AK", "secret_key": "made-up"}
        if operation == "listAuthProjects"
        else {}
    )
    signed |= {"password": f"made-up for {told}"} if operation == "createToken" else {}
    async with stage.cloud(**signed) as cloud:
        try:
            return await CALLS[operation](cloud, told["request"])
        except B2iError as error:
            return error


def understood(outcome: Any, told: dict[str, Any]) -> None:
    status, body = told["response"]["status"], told["response"].get("body")
    code = documented_code(body) if status >= 300 or status == 202 else None
    if status < 300 and not code:
        assert not isinstance(outcome, Exception), outcome
        return
    if told["service"] == "iam":
        assert isinstance(outcome, LoginRefused | Denied if status in {401, 403} else ApiError)
        return
    assert isinstance(outcome, ApiError)
    assert outcome.cloud_code == code
    assert outcome.status == status
    wanted: type[ApiError] = ApiError
    if code in {"IMG.0029", "IMG.0134"}:
        wanted = AlreadyUsed
    elif status == 429 or code in {"IMG.0060", "Common.0024"}:
        wanted = Throttled
    elif status == 404:
        wanted = NotFound
    elif status in {401, 403} or code in TOKEN_REFUSED:
        wanted = Denied
    assert isinstance(outcome, wanted)
    assert outcome.action
    assert outcome.cause


def test_examples_are_really_read() -> None:
    assert len(NAMES) > 190
