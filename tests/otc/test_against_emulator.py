"""The client and the pretend cloud, written apart from each other from one contract: they must understand each other."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator
from backup_to_image.errors import AlreadyUsed, ApiError, Denied, LoginRefused, NoAnswer, NotFound, Throttled
from backup_to_image.model import Job, LaunchDisk, LaunchRequest
from backup_to_image.otc import Cloud, Credentials

Account = dict[str, Any]


class Region:
    """An emulated region with its clock and account, and clients for its users."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.emulator = Emulator(clock=self.clock)
        self.account: Account = self.emulator.account()

    def cloud(self, who: Account | None = None, **more: Any) -> Cloud:
        who = who or self.account
        told: dict[str, Any] = {
            "auth_url": self.account["auth_url"],
            "region": self.account["region"],
            "project_id": who["project_id"],
        }
        if "access_key" not in more:
            told |= {"username": who["user"], "password": SecretStr(who["password"]), "user_domain_name": who["domain_name"]}
        return Cloud.connect(Credentials(**told | more), clock=self.clock, transport=self.emulator.transport())


@pytest.fixture
async def region() -> AsyncIterator[Region]:
    made = Region()
    yield made
    await made.emulator.aclose()


@pytest.fixture
async def cloud(region: Region) -> AsyncIterator[Cloud]:
    async with region.cloud() as connected:
        yield connected


async def finished(clock: FakeClock, look: Callable[[], Awaitable[Job]]) -> Job:
    for _ in range(200):
        job = await look()
        if job.status in {"SUCCESS", "FAIL"}:
            return job
        assert job.status in {"INIT", "RUNNING"}
        await clock.sleep(10)
    raise AssertionError("the job does not end")


async def make_image(region: Region, cloud: Cloud, backup_id: str) -> str:
    job_id = await cloud.images.start_from_backup(
        backup_id=backup_id,
        name=f"img-{backup_id[:8]}",
        description="made by a test",
        tags={"b2i-source": "x", "b2i-policy": "p"},
    )
    job = await finished(region.clock, lambda: cloud.images.job(job_id))
    assert (job.status, job.service, job.error_code) == ("SUCCESS", "ims", None)
    assert job.image_id
    return job.image_id


async def test_a_backup_becomes_an_image_that_is_shared_accepted_launched_and_removed(region: Region, cloud: Cloud) -> None:
    account = region.account
    backup = await cloud.backups.get(account["backups"]["available"][0])
    assert backup.disks[0].system
    assert (await cloud.vaults.get(backup.vault_id or "")).status == "available"
    image_id = await make_image(region, cloud, backup.id)

    image = await cloud.images.get(image_id)
    assert (image.status, image.owner, image.backup_id) == ("active", cloud.project_id, backup.id)
    assert image.tags == {"b2i-source": "x", "b2i-policy": "p"}
    assert image.description == "made by a test"
    assert [one.id async for one in cloud.images.list(owner=cloud.project_id, whole=True, tag="b2i-policy=p")] == [image_id]
    assert (await cloud.backups.get(backup.id)).image_ids == (image_id,)
    with pytest.raises(AlreadyUsed):
        await cloud.images.start_from_backup(backup_id=backup.id, name="again")

    partner = account["recipient"]
    job_id = await cloud.images.share([image_id], [partner["project_id"]])
    job = await finished(region.clock, lambda: cloud.images.job(job_id))
    assert [(one.project_id, one.ok) for one in job.members] == [(partner["project_id"], True)]
    async with region.cloud(partner) as theirs:
        offers = [one.id async for one in theirs.images.list(visibility="shared", member_status="pending")]
        assert image_id in offers
        accept = await theirs.images.set_member([image_id], "accepted", vault_id=partner["vault"])
        assert (await finished(region.clock, lambda: theirs.images.job(accept))).status == "SUCCESS"
    assert [(one.project_id, one.status) for one in await cloud.images.members(image_id)] == [(partner["project_id"], "accepted")]

    await cloud.images.set_tag(image_id, "b2i-verified", "2026-03-10")
    assert (await cloud.images.tags(image_id))["b2i-verified"] == "2026-03-10"
    await cloud.images.remove_tag(image_id, "b2i-verified")
    assert "b2i-verified" not in (await cloud.images.get(image_id)).tags

    data = next(disk for disk in backup.disks if not disk.system)
    request = LaunchRequest(
        name="drill-web-01",
        image_id=image_id,
        flavor_id=account["flavor"],
        vpc_id=account["vpc"],
        subnet_ids=(account["subnet"],),
        security_group_ids=(account["security_group"],),
        zone="eu-de-01",
        key_name=account["keypair"],
        tags={"b2i-launch": "0123456789ab"},
        data_disks=(LaunchDisk(snapshot_id=data.snapshot_id, type="SSD", size_gb=data.size_gb + 10),),
        description="a drill",
    )
    assert await cloud.servers.launch(request, dry_run=True) == (None, ())
    launch_id, server_ids = await cloud.servers.launch(request)
    assert len(server_ids) == 1
    launched = await finished(region.clock, lambda: cloud.servers.job(launch_id or ""))
    assert launched.status == "SUCCESS", launched
    assert launched.server_ids == server_ids
    server = await cloud.servers.get(server_ids[0])
    assert (server.status, server.image_id, server.tags["b2i-launch"]) == ("ACTIVE", image_id, "0123456789ab")
    assert {disk.size_gb for disk in await cloud.servers.disks(server.id)} >= {data.size_gb + 10}
    assert [one.id async for one in cloud.servers.list(tags="b2i-launch=0123456789ab")] == [server.id]
    assert isinstance(await cloud.servers.console(server.id), str)

    disks = [one.id async for one in cloud.disks.list(server_id=server.id)]
    gone = await cloud.servers.delete([server.id])
    assert (await finished(region.clock, lambda: cloud.servers.job(gone))).status == "SUCCESS"
    assert await cloud.servers.find(server.id) is None
    assert [one async for one in cloud.disks.list(ids=disks)] == []

    await cloud.images.delete(image_id, delete_backup=True)
    await region.clock.sleep(600)
    assert [one async for one in cloud.images.list(ids=[image_id])] == []
    with pytest.raises(NotFound):
        await cloud.images.get(image_id)


async def test_a_server_is_backed_up_now_and_its_backup_found_by_the_restore_point(region: Region, cloud: Cloud) -> None:
    vault = await cloud.vaults.get(region.account["vault"])
    backup = await cloud.backups.get(region.account["backups"]["available"][0])
    point = await cloud.restore_points.create(vault.id, [backup.resource_id], name="manualbk_now")
    assert point.skipped == ()
    for _ in range(100):
        if (await cloud.restore_points.get(point.id)).status != "protecting":
            break
        await region.clock.sleep(30)
    (made,) = [one async for one in cloud.backups.list(restore_point_id=point.id)]
    assert (made.resource_id, made.status) == (backup.resource_id, "available")


async def test_everything_that_can_be_listed_is_understood(region: Region, cloud: Cloud) -> None:
    assert len([one async for one in cloud.backups.list()]) > 10
    assert region.account["vault"] in [one.id async for one in cloud.vaults.list(object_type="server")]
    assert {"image", "image_shared"} <= set(await cloud.images.quota())
    assert ((await cloud.servers.limits()).servers.free or 0) > 0
    assert region.account["flavor"] in [one.id for one in await cloud.servers.flavors()]
    assert [zone.name for zone in await cloud.servers.zones()] == ["eu-de-01", "eu-de-02", "eu-de-03"]
    assert region.account["keypair"] in await cloud.servers.key_pairs()
    assert region.account["vpc"] in [one.id for one in await cloud.networks.vpcs()]
    assert region.account["subnet"] in [one.id for one in await cloud.networks.subnets(region.account["vpc"])]
    assert region.account["security_group"] in [one.id for one in await cloud.networks.security_groups()]
    assert len([one async for one in cloud.disks.list()]) > 10
    assert await cloud.public_ips.list() == []


@pytest.mark.parametrize("signature", ["plain", "scoped"])
async def test_a_key_pair_does_for_a_password(region: Region, signature: str) -> None:
    keys = {"access_key": region.account["ak"], "secret_key": SecretStr(region.account["sk"]), "signature": signature}
    async with region.cloud(**keys) as cloud:
        assert (await cloud.login()).id == region.account["project_id"]
        backup = region.account["backups"]["available"][1]
        assert (await cloud.backups.get(backup)).id == backup
        assert await cloud.images.start_from_backup(backup_id=backup, name="signed")


async def test_a_wrong_key_is_told(region: Region) -> None:
    async with region.cloud(access_key=region.account["ak"], secret_key=SecretStr("wrong")) as cloud:
        with pytest.raises(LoginRefused):
            await cloud.login()


async def test_a_wrong_password_is_sent_once(region: Region) -> None:
    for _ in range(4):
        async with region.cloud(password=SecretStr("wrong")) as cloud:
            with pytest.raises(LoginRefused):
                await cloud.login()
    logins = [asked for asked in region.emulator.requests if asked["operationId"] == "createToken"]
    assert len(logins) == 1


@pytest.mark.parametrize(
    "fault", ["throttled-429", "error-500", "html-502", "error-503", "reset-before", "lost-answer", "token-expired"]
)
@pytest.mark.parametrize("operation", ["getBackup", "getImsJob", "listCloudImages", "getServer", "listVolumesDetail", "listVpcs"])
async def test_reading_survives_what_passes(region: Region, cloud: Cloud, fault: str, operation: str) -> None:
    backup = await cloud.backups.get(region.account["backups"]["available"][0])
    job = await cloud.images.start_from_backup(backup_id=backup.id, name="x") if operation == "getImsJob" else ""
    region.emulator.faults.arm(fault, operation=operation, times=1 if fault == "token-expired" else 2)
    before = cloud.requests
    match operation:
        case "getBackup":
            assert await cloud.backups.get(backup.id) == backup
        case "getImsJob":
            assert (await cloud.images.job(job)).status in {"INIT", "RUNNING"}
        case "listCloudImages":
            assert [one async for one in cloud.images.list(owner=cloud.project_id)]
        case "getServer":
            assert (await cloud.servers.get(backup.resource_id)).id == backup.resource_id
        case "listVolumesDetail":
            assert [one async for one in cloud.disks.list(server_id=backup.resource_id)]
        case _:
            assert await cloud.networks.vpcs()
    assert cloud.requests - before >= 3, "it was struck, and asked again"


@pytest.mark.parametrize(
    ("fault", "parameters", "error", "made"),
    [
        ("lost-answer", {}, NoAnswer, True),
        ("reset-before", {}, NoAnswer, False),
        ("truncated-json", {}, NoAnswer, True),
        ("error-500", {}, NoAnswer, False),
        ("error-500", {"effect": True}, NoAnswer, True),
        ("html-502", {"effect": True}, NoAnswer, True),
        ("error-503", {"effect": True}, NoAnswer, True),
        ("throttled-429", {}, Throttled, False),
        ("img-0060", {}, Throttled, False),
        ("forbidden", {}, Denied, False),
    ],
)
async def test_a_create_is_sent_once_whatever_becomes_of_it(
    region: Region, cloud: Cloud, fault: str, parameters: dict[str, Any], error: type[Exception], made: bool
) -> None:
    backup_id = region.account["backups"]["available"][0]
    region.emulator.faults.arm(fault, operation="createWholeImage", times=None, **parameters)
    with pytest.raises(error) as caught:
        await cloud.images.start_from_backup(backup_id=backup_id, name="once")
    if isinstance(caught.value, NoAnswer):
        assert caught.value.sent
    region.emulator.faults.disarm()
    asked = [one for one in region.emulator.requests if one["operationId"] == "createWholeImage"]
    assert len(asked) == 1
    await region.clock.sleep(300)
    assert bool([one async for one in cloud.images.list(owner=cloud.project_id, name="once")]) == made


async def test_a_token_that_ends_just_before_a_create_makes_one_image(region: Region, cloud: Cloud) -> None:
    backup_id = region.account["backups"]["available"][0]
    await cloud.login()
    region.emulator.faults.arm("token-expired", operation="createWholeImage", times=1)
    assert await cloud.images.start_from_backup(backup_id=backup_id, name="once")


async def test_a_long_wait_outlives_its_token(region: Region, cloud: Cloud) -> None:
    await cloud.images.quota()
    await region.clock.sleep(3 * 86400)
    await asyncio.gather(*(cloud.images.quota() for _ in range(10)))
    logins = [one for one in region.emulator.requests if one["operationId"] == "createToken"]
    assert len(logins) == 2


async def test_odd_answers_are_understood_all_the_same(region: Region, cloud: Cloud) -> None:
    region.emulator.faults.arm("unknown-fields", times=None)
    backup = await cloud.backups.get(region.account["backups"]["available"][0])
    assert (await cloud.servers.get(backup.resource_id)).id == backup.resource_id
    image_id = await make_image(region, cloud, backup.id)
    region.emulator.faults.arm("unknown-enum", operation="getImage", times=1, field="status", value="thawing")
    assert (await cloud.images.get(image_id)).status == "thawing"


@pytest.mark.parametrize("fault", ["doubled-page", "shifting-page"])
async def test_moving_pages_lose_and_double_nothing(region: Region, cloud: Cloud, fault: str) -> None:
    await cloud.login()
    whole = [one.id async for one in cloud.images.list(owner=cloud.project_id)]
    assert len(whole) > 4
    region.emulator.faults.arm(fault, operation="listCloudImages", times=None)
    assert [one.id async for one in cloud.images.list(owner=cloud.project_id, page_size=3)] == whole


async def test_each_kind_of_unusable_backup_is_refused_with_a_code_that_the_tables_know(region: Region, cloud: Cloud) -> None:
    for kind in ("error", "volume", "already_used"):
        with pytest.raises(ApiError) as caught:
            await cloud.images.start_from_backup(backup_id=region.account["backups"][kind], name="never")
        assert caught.value.cloud_code
        assert caught.value.cause
        assert caught.value.action
