"""Every documented example of IAM, CBR and IMS: taken or refused as marked, answered in the documented shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Client, Region, operation_of

EXAMPLES = Path(__file__).parents[1] / "contract" / "examples"
SERVICES = ("iam", "cbr", "ims")
FILES = sorted(path for service in SERVICES for path in (EXAMPLES / service).glob("*.json"))
EXAMPLES_READ: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in FILES}

# The ids of the examples; things of the demo company stand in for them, example by example, since most of them change something.
BACKUP, CHILD, VAULT, SERVER = (
    "6f1d2c3b-0a19-4e58-9b77-1c2d3e4f5a6b",
    "8b3f4e5d-2c3b-4a7a-9d99-3e4f5a6b7c8d",
    "3c4d5e6f-7081-4920-a3b4-c5d6e7f80910",
    "5b6c7d8e-9fa0-4b1c-8d2e-3f4a5b6c7d8e",
)
GUEST_VAULT, IMAGE, CHECKPOINT, LOG = (
    "4d5e6f70-8192-4a31-b4c5-d6e7f8091a2b",
    "1e2f3a4b-5c6d-4e7f-8091-a2b3c4d5e6f7",
    "9c405f6e-3d4c-4b8b-8eaa-4f5a6b7c8d9e",
    "229933aa-44bb-45cc-86dd-778899aabbcc",
)
PROJECT, GUEST, JOB = "a1b2c3d4e5f60718293a4b5c6d7e8f90", "0f9e8d7c6b5a49382716f5e4d3c2b1a0", "9a8b7c6d5e4f30211203f4e5d6c7b8a9"


class Stage:
    """The demo company, brought into the state that an example speaks of."""

    def __init__(self, region: Region, shop: Client, partner: Client) -> None:
        self.region, self.shop, self.partner = region, shop, partner
        self.cloud = region.emulator.cloud
        account = region.account
        self.names = {
            PROJECT: shop.project,
            GUEST: partner.project,
            VAULT: account["vault"],
            GUEST_VAULT: account["recipient"]["vault"],
            BACKUP: account["backups"]["available"][0],
            SERVER: region.find("server", "shop-web-01"),
            CHILD: self.cloud.get("backup", account["backups"]["available"][0])["disks"][1]["id"],
            "OTC00000000001000000xxx": account["domain_name"],
            "dr-robot": account["user"],
            "made-up-Passw0rd": account["password"],
            "eu-de_dr": "eu-de_dr",
        }

    async def job_of_image(self, seconds: float = 0, backup: str | None = None) -> str:
        answer = await self.shop.create_image(backup or self.names[BACKUP], "web01-2026-01-02")
        assert answer.status_code == 200, answer.text
        self.region.clock.advance(seconds)
        self.names[JOB] = answer.json()["job_id"]
        return self.names[JOB]

    async def image(self, seconds: float = 200, backup: str | None = None) -> str:
        await self.job_of_image(seconds, backup)
        found = (await self.shop.get("ims/v2/cloudimages", owner=self.shop.project, limit=1)).json()["images"][0]["id"]
        self.names[IMAGE] = found
        return found

    async def shared(self, status: str | None = None) -> None:
        image = await self.image()
        assert (await self.shop.post(f"ims/v2/images/{image}/members", {"member": self.partner.project})).status_code == 200
        if status == "accepted":
            body = {"status": status, "vault_id": self.names[GUEST_VAULT]}
            assert (await self.partner.put(f"ims/v2/images/{image}/members/{{p}}", body)).status_code == 200

    async def backup_shared(self, *, accept: bool) -> None:
        backup = self.names[BACKUP]
        assert (
            await self.shop.post(f"cbr/v3/{{p}}/backups/{backup}/members", {"members": [self.partner.project]})
        ).status_code == 200
        if accept:
            body = {"status": "accepted", "vault_id": self.names[GUEST_VAULT]}
            assert (await self.partner.put(f"cbr/v3/{{p}}/backups/{backup}/members/{{p}}", body)).status_code == 200

    async def tags(self, image: str, number: int) -> None:
        for at in range(0, number, 5):
            body = {"action": "create", "tags": [{"key": f"t{n}", "value": "x"} for n in range(at, min(number, at + 5))]}
            assert (await self.shop.post(f"ims/v2/{{p}}/images/{image}/tags/action", body)).status_code == 204


async def set_the_stage(stage: Stage, name: str) -> None:  # noqa: C901, PLR0912, PLR0915 - one line per example
    region, shop, faults, switches = stage.region, stage.shop, stage.region.emulator.faults, stage.region.emulator.switches
    names, known = stage.names, stage.region.account["backups"]
    match name:
        case (
            "getBackup.bad-token"
            | "getCatalog.unauthorized"
            | "listImages.unauthorized"
            | "listAuthProjects.bad-token"
            | "getImsJob.bad-token"
        ):
            switches["bad_token"] = "gateway" if name == "getBackup.bad-token" else "service"
        case "createToken.throttled" | "createWholeImage.throttled":
            faults.arm("throttled-429", operation=name.partition(".")[0])
        case "createToken.wrong-password":
            names["made-up-Passw0rd"] = "wrong-password"
        case "listProjects.forbidden":
            names["d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"] = "f" * 32
        case "listProjects.by-name":
            names["d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"] = stage.cloud.get(
                "user", next(iter(stage.cloud.walk("user", name=region.account["user"])))["id"]
            )["domain_id"]
        case "addBackupMembers.encrypted":
            names[BACKUP] = known["encrypted"]
        case "addBackupMembers.too-many":
            for number in range(10):
                stage.cloud.new("project", {"id": f"{number:032x}", "name": f"p{number}", "domain_id": "x", "region": "eu-de"})
            body = {"members": [f"{number:032x}" for number in range(10)]}
            assert (await shop.post(f"cbr/v3/{{p}}/backups/{names[BACKUP]}/members", body)).status_code == 200
        case (
            "createCheckpoint.busy"
            | "createCheckpoint.skipped"
            | "getOperationLog.failed"
            | "getCheckpoint.available"
            | "listOperationLogs.ok"
        ):
            if name == "getOperationLog.failed":
                faults.arm("backup-fails")
            body = {"checkpoint": {"vault_id": names[VAULT], "parameters": {"resources": [names[SERVER]]}}}
            made = (await shop.post("cbr/v3/{p}/checkpoints", body)).json()["checkpoint"]
            names[CHECKPOINT] = made["id"]
            names[LOG] = next(iter(stage.cloud.walk("operation-log", newest_first=True)))["id"]
            if name.startswith("createCheckpoint"):
                switches["busy_backup"] = "refused" if name.endswith("busy") else "skipped"
            else:
                region.clock.advance(200)
        case "deleteBackup.image-exists" | "getBackup.already-has-image" | "createWholeImage.backup-used":
            names[BACKUP] = known["already_used"]
        case "deleteBackup.locked-vault":
            names[BACKUP] = next(iter(stage.cloud.walk("backup", vault_id=region.find("vault", "worm-vault"))))["id"]
        case "getBackup.creating-image-possible":
            names[BACKUP] = region.find("backup", "manualbk_app02_instant")
        case "getBackupMember.ok" | "listBackupMembers.ok" | "deleteBackupMember.ok" | "getBackup.shared-to-me":
            await stage.backup_shared(accept=True)
        case (
            "listBackups.shared-pending"
            | "updateBackupMember.accept"
            | "updateBackupMember.accept-without-vault"
            | "updateBackupMember.wrong-vault-type"
        ):
            await stage.backup_shared(accept=False)
            if name.endswith("wrong-vault-type"):
                names[GUEST_VAULT] = region.find("vault", "partner-disk-vault")
        case "listVaults.server-error":
            faults.arm("error-500", operation="listVaults")
        case "addImageMember.not-shareable" | "batchAddImageMembers.not-shareable":
            await stage.image(backup=known["shared_accepted"])
        case "batchAddImageMembers.encrypted" | "getImage.encrypted":
            await stage.image(backup=known["encrypted"])
        case "batchAddImageMembers.other-region":
            await stage.image()
            names[GUEST] = "e" * 32
        case "batchAddImageMembers.share-quota":
            image = await stage.image()
            for number in range(10):
                stage.cloud.new("project", {"id": f"{number:032x}", "name": f"p{number}", "domain_id": "x", "region": "eu-de"})
                assert (await shop.post(f"ims/v2/images/{image}/members", {"member": f"{number:032x}"})).status_code == 200
        case (
            "batchDeleteImageMembers.ok"
            | "deleteImageMember.ok"
            | "listImageMembers.ok"
            | "batchUpdateImageMembers.reject"
            | "batchUpdateImageMembers.accept"
        ):
            await stage.shared()
        case "updateImageMember.accept" | "listCloudImages.pending-shares":
            await stage.shared()
        case "batchUpdateImageMembers.wrong-vault":
            await stage.shared()
            names[GUEST_VAULT] = region.find("vault", "partner-disk-vault")
        case "updateImageMember.vault-full":
            await stage.shared()
            names[GUEST_VAULT] = region.find("vault", "partner-small-vault")
        case "getImageMember.ok":
            await stage.shared("accepted")
        case "getImsJob.accept-fail":
            await stage.shared()
            body = {
                "images": [names[IMAGE]],
                "project_id": stage.partner.project,
                "status": "accepted",
                "vault_id": region.find("vault", "partner-small-vault"),
            }
            names[JOB] = (await stage.partner.put("ims/v1/cloudimages/members", body)).json()["job_id"]
            names[PROJECT] = stage.partner.project
            region.clock.advance(60)
        case "getImsJob.members-success":
            image = await stage.image()
            names[JOB] = (
                await shop.post("ims/v1/cloudimages/members", {"images": [image], "projects": [stage.partner.project]})
            ).json()["job_id"]
            region.clock.advance(60)
        case "createWholeImage.backup-unavailable":
            names[BACKUP] = known["error"]
        case "createWholeImage.flow-control":
            faults.arm("img-0060")
        case "createWholeImage.name-taken":
            await stage.image()
            switches["names"] = "unique"
        case "createWholeImage.quota":
            faults.arm("quota-gone")
        case "createWholeImage.wrong-type":
            names[BACKUP] = known["volume"]
        case "deleteImage.being-created" | "getImage.saving" | "updateCloudImage.not-active":
            await stage.image(10)
        case "deleteImage.protected":
            image = await stage.image()
            assert (
                await shop.patch(f"ims/v2/cloudimages/{image}", [{"op": "replace", "path": "/protected", "value": True}])
            ).status_code == 200
        case "getImage.killed":
            faults.arm("image-killed")
            await stage.image()
        case "getImageQuota.unavailable":
            faults.arm("error-503", operation="getImageQuota")
        case "getImsJob.fail":
            faults.arm("job-fails", code="IMG.0132", reason="backup state forbids it")
            await stage.job_of_image(200)
        case "getImsJob.init":
            await stage.job_of_image()
        case "getImsJob.running":
            switches["image_id_in_job"], switches["job_progress"] = "early", "shown"
            await stage.job_of_image(50)
        case "getImsJob.success":
            await stage.job_of_image(200)
        case "putImageTag.too-many" | "batchImageTags.too-many":
            await stage.tags(await stage.image(), 10)
        case "deleteImageTag.ok":
            image = await stage.image()
            assert (
                await shop.post(f"ims/v2/{{p}}/images/{image}/tags", {"tag": {"key": "keep", "value": "true"}})
            ).status_code == 204
        case "listProjectImageTags.forbidden":
            pytest.skip("reading tags is allowed to every role of the demo company")
        case _ if name.partition(".")[0] in _NEEDS_IMAGE and not name.endswith((".not-found", ".gone")):
            await stage.image()


_NEEDS_IMAGE = {
    "addImageMember",
    "addImageTag",
    "batchAddImageMembers",
    "batchDeleteImageMembers",
    "batchImageTags",
    "deleteImage",
    "deleteImageMember",
    "deleteImageTag",
    "getImage",
    "getImageMember",
    "listImageTags",
    "putImageTag",
    "updateCloudImage",
    "listCloudImages",
    "listImages",
}


def _named(node: Any, names: dict[str, str]) -> Any:
    text = json.dumps(node)
    for example, real in names.items():
        text = text.replace(example, real)
    return json.loads(text)


def _shape(node: Any) -> Any:
    """Names and kinds of an answer; lists by their first entry."""
    if isinstance(node, dict):
        return {key: _shape(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_shape(node[0])] if node else []
    return type(node).__name__


def _lacking(wanted: Any, got: Any, where: str = "") -> list[str]:
    """Fields of the documented answer that are not in ours."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        return [
            line
            for key, value in wanted.items()
            for line in (_lacking(value, got[key], f"{where}/{key}") if key in got else [f"{where}/{key}"])
        ]
    if isinstance(wanted, list) and isinstance(got, list) and wanted and got:
        return _lacking(wanted[0], got[0], f"{where}/0")
    return []


# Fields that examples have and that are disputed or empty in ours: BEHAVIOUR.md 14 names each.
_OPTIONAL = {
    "/description",
    "/expired_at",
    "/os_images_data",
    "/__whole_image",
    "/resource_az",
    "/current_task",
    "/image_name",
    "/support_lld",
    "/updated_at",
    "/vault_id",
    "/__system__cmkid",
    "/count",
    "/bind_rules",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_the_example_is_answered_as_documented(path: Path, region: Region, shop: Client, partner: Client) -> None:
    example = EXAMPLES_READ[path.stem]
    stage = Stage(region, shop, partner)
    await set_the_stage(stage, path.stem)
    names = dict(stage.names)
    if path.stem.endswith((".not-found", ".unknown-id", ".gone")) and path.stem not in _OF_AN_IMAGE:
        names = {key: value for key, value in names.items() if key in {PROJECT, GUEST}}
    if path.stem in _OF_AN_IMAGE and "ImageMember" in path.stem:
        await stage.image()
        names = dict(stage.names)
    request = _named(example["request"], names)
    for_guest = GUEST in example["request"]["path"].split("/")[2:3] or "recipient" in example.get("note", "").lower()
    for_guest = (
        for_guest
        or path.stem.startswith(("batchUpdateImageMembers", "updateImageMember"))
        or path.stem == "getImsJob.accept-fail"
    )
    client = partner if for_guest else shop
    if path.stem == "createWholeImage.forbidden":
        client = await region.login(user="shop-auditor", password="Only-Reads-2026")
    headers = {name: value for name, value in request.get("headers", {}).items() if name != "X-Auth-Token"}
    if "X-Subject-Token" in headers and path.stem == "checkToken.valid":
        headers["X-Subject-Token"] = client.headers["X-Auth-Token"]
    if "X-Auth-Token" in example["request"].get("headers", {}):
        headers |= client.headers
    if path.stem in {"getCatalog.unauthorized", "listImages.unauthorized"}:
        headers.pop("X-Auth-Token")
    if path.stem.endswith(".bad-token"):
        headers["X-Auth-Token"] = "not a token"
    query = {key: str(value).lower() if isinstance(value, bool) else value for key, value in request.get("query", {}).items()}
    given = {"json": request["body"]} if "body" in request else {}
    answer = await region.http.request(
        request["method"], region.endpoints[example["service"]] + request["path"], params=query, headers=headers, **given
    )

    wanted = example["response"]
    assert operation_of(example["service"], request["method"], request["path"])
    if example.get("request_invalid"):
        assert answer.status_code == 400
    elif path.stem in _SERVICE_WORDS:
        assert answer.status_code >= 400
    else:
        assert answer.status_code == wanted["status"], answer.text
    if wanted["status"] >= 400 and path.stem not in _SERVICE_WORDS and wanted.get("body"):
        assert _code(answer.json()) == _code(wanted["body"])
    if wanted["status"] < 300 and "body" in wanted:
        missing = [line for line in _lacking(wanted["body"], answer.json()) if not any(line.endswith(name) for name in _OPTIONAL)]
        assert missing == []


# What is not found here is the member, not the image or backup.
_OF_AN_IMAGE = {
    "getImageMember.not-found",
    "deleteImageMember.not-found",
    "getBackupMember.not-found",
    "deleteBackupMember.not-found",
}

# What a bad token gets is told in two ways (BEHAVIOUR.md 1.1 and 14); ours is by the tables of each service.
_SERVICE_WORDS = {"getImsJob.bad-token", "listAuthProjects.bad-token"}


def _code(body: dict[str, Any]) -> Any:
    return body.get("error_code") or body["error"]["code"]
