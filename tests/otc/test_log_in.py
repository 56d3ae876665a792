import asyncio
import json
from datetime import timedelta

import httpx
import pytest

from backup_to_image.errors import BadAnswer, Denied, LoginRefused, UsageError
from backup_to_image.otc import Cloud
from tests.otc.stage import HOST, PROJECT, TOKEN, Stage, answer, catalog, example, reply, token

BACKUP = "6f1d2c3b-0a19-4e58-9b77-1c2d3e4f5a6b"


def order() -> dict[str, str]:
    return {"backup_id": BACKUP, "name": "web01"}


def told_to_iam(stage: Stage) -> dict[str, object]:
    return json.loads(stage.requests("createToken")[0].content)["auth"]


async def test_logging_in_names_the_project_and_the_region(stage: Stage, cloud: Cloud) -> None:
    project = await cloud.login()
    assert (project.id, project.name) == (PROJECT, "eu-de_dr")
    assert cloud.region == "eu-de"
    assert cloud.domain_id == "d0d1d2d3d4d5d6d7d8d9dadbdcdddedf"
    assert told_to_iam(stage) == example("iam/createToken.project-name")["request"]["body"]["auth"]


async def test_nothing_is_sent_before_something_is_asked(stage: Stage) -> None:
    async with stage.cloud() as cloud:
        assert cloud.requests == 0
        with pytest.raises(UsageError, match="Not logged in"):
            _ = cloud.project_id
    assert stage.asked == []


async def test_a_project_named_by_id_goes_before_its_name(stage: Stage) -> None:
    async with stage.cloud(project_id=PROJECT, user_id="u0u1") as cloud:
        await cloud.login()
    told = told_to_iam(stage)
    assert told["scope"] == {"project": {"id": PROJECT}}
    assert told["identity"] == {"methods": ["password"], "password": {"user": {"id": "u0u1", "password": "made-up-Passw0rd"}}}


async def test_a_virtual_mfa_device_sends_its_number_once(stage: Stage) -> None:
    stage.says("createToken", token(lifetime=timedelta(hours=1)))
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    async with stage.cloud(passcode="123456", password="with-mfa") as cloud:
        await cloud.login()
        assert json.loads(stage.requests("createToken")[0].content)["auth"]["identity"]["methods"] == ["password", "totp"]
        stage.clock.advance(3600)
        with pytest.raises(LoginRefused, match="passcode has been used"):
            await cloud.images.quota()
    assert len(stage.requests("createToken")) == 1


async def test_many_requests_at_once_log_in_once(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    await asyncio.gather(*(cloud.images.quota() for _ in range(20)))
    assert stage.logins == 1


async def test_the_token_is_renewed_ten_minutes_before_it_ends(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    await cloud.images.quota()
    stage.clock.advance(24 * 3600 - 601)
    await cloud.images.quota()
    assert stage.logins == 1
    stage.clock.advance(2)
    await cloud.images.quota()
    assert stage.logins == 2
    assert stage.requests("getImageQuota")[-1].headers["x-auth-token"] == f"{TOKEN}-2"


async def test_a_clock_that_is_days_off_does_not_log_in_again_and_again(stage: Stage, cloud: Cloud) -> None:
    stage.clock.advance(400 * 86400)
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    for _ in range(3):
        await cloud.images.quota()
    assert stage.logins == 1


@pytest.mark.parametrize(
    ("operation", "refused"),
    [
        ("getImageQuota", reply(401)),
        ("getImageQuota", reply(401, {"error_code": "APIGW.0301", "error_msg": "credentials refused"})),
        ("getImageQuota", reply(400, {"error": {"code": "IMG.0087", "message": "token"}})),
        ("getServerLimits", reply(401, {"error": {"code": "Common.0013", "message": "bad token"}})),
        ("listVaults", reply(500, {"error_code": "BackupService.9998", "error_msg": "authentication"})),
        ("listVpcs", answer("vpc/listVpcs.bad-token")),
        ("listVolumesDetail", reply(400, {"error": {"code": "EVS.0002", "message": "token"}})),
    ],
)
async def test_an_ended_token_is_renewed_once_whatever_its_service_calls_it(
    stage: Stage, cloud: Cloud, operation: str, refused: httpx.Response
) -> None:
    good = {
        "getImageQuota": "ims/getImageQuota.ok",
        "getServerLimits": "ecs/getServerLimits.ok",
        "listVaults": "cbr/listVaults.server-vaults",
        "listVpcs": "vpc/listVpcs.ok",
        "listVolumesDetail": "evs/listVolumesDetail.leftover",
    }
    stage.says(operation, refused, answer(good[operation]))
    match operation:
        case "getImageQuota":
            await cloud.images.quota()
        case "getServerLimits":
            await cloud.servers.limits()
        case "listVaults":
            assert [vault.name async for vault in cloud.vaults.list()] == ["vault-dr"]
        case "listVpcs":
            await cloud.networks.vpcs()
        case _:
            assert len([disk async for disk in cloud.disks.list()]) == 1
    assert stage.logins == 2
    assert len(stage.requests(operation)) == 2


async def test_a_token_that_ended_in_front_of_a_create_is_renewed_and_the_create_sent_once_more(
    stage: Stage, cloud: Cloud
) -> None:
    stage.says(
        "createWholeImage", reply(401, {"error": {"code": 401, "message": "x"}}), answer("ims/createWholeImage.from-backup")
    )
    await cloud.images.start_from_backup(**order())
    tokens = [request.headers["x-auth-token"] for request in stage.requests("createWholeImage")]
    assert tokens == [f"{TOKEN}-1", f"{TOKEN}-2"]


async def test_a_refusal_that_a_new_token_does_not_cure_is_shown(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(401))
    with pytest.raises(Denied):
        await cloud.images.quota()
    assert stage.logins == 2
    with pytest.raises(Denied):
        await cloud.images.quota()
    assert stage.logins == 2, "the newest token was refused too; another log-in would not help"


async def test_many_refused_at_once_renew_once(stage: Stage, cloud: Cloud) -> None:
    def look(request: httpx.Request) -> httpx.Response:
        return reply(401) if request.headers["x-auth-token"] == f"{TOKEN}-1" else answer("ims/getImageQuota.ok")

    stage.says("getImageQuota", look)
    await asyncio.gather(*(cloud.images.quota() for _ in range(10)))
    assert stage.logins == 2


async def test_a_refused_password_is_never_sent_again(stage: Stage) -> None:
    stage.says("createToken", answer("iam/createToken.wrong-password"))
    for _ in range(3):
        async with stage.cloud(password="refused-once") as cloud:
            with pytest.raises(LoginRefused, match="dr-robot") as caught:
                await cloud.login()
            assert "refused-once" not in repr(caught.value) + str(caught.value)
    assert len(stage.requests("createToken")) == 1
    async with stage.cloud(password="another") as cloud:
        with pytest.raises(LoginRefused):
            await cloud.login()
    assert len(stage.requests("createToken")) == 2


async def test_a_locked_user_is_left_alone_by_this_client_and_tried_by_the_next(stage: Stage) -> None:
    locked = reply(401, {"error_code": "IAM.0061", "error_msg": "locked"})
    stage.says("createToken", locked)
    async with stage.cloud(password="locked-out") as cloud:
        for _ in range(3):
            with pytest.raises(LoginRefused, match=r"IAM\.0061"):
                await cloud.images.quota()
    assert len(stage.requests("createToken")) == 1
    stage.says("createToken", token())
    async with stage.cloud(password="locked-out") as cloud:
        assert (await cloud.login()).id == PROJECT


async def test_a_throttled_log_in_waits_and_then_goes_through(stage: Stage, cloud: Cloud) -> None:
    stage.says("createToken", answer("iam/createToken.throttled"), token())
    before = stage.clock.now()
    await cloud.login()
    assert stage.clock.now() > before


async def test_a_token_without_catalog_fetches_it(stage: Stage, cloud: Cloud) -> None:
    stage.says("createToken", token(body=example("iam/createToken.project-id-nocatalog")["response"]["body"]))
    stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    await cloud.images.quota()
    assert stage.operations() == ["createToken", "getCatalog", "getImageQuota"]


async def test_a_log_in_without_the_token_header_is_a_bad_answer(stage: Stage, cloud: Cloud) -> None:
    stage.says("createToken", reply(201, example("iam/createToken.project-name")["response"]["body"]))
    with pytest.raises(BadAnswer, match="X-Subject-Token"):
        await cloud.login()


@pytest.mark.parametrize("form", ["plain", "scoped"])
async def test_a_key_pair_signs_each_request_and_finds_its_project_by_name(stage: Stage, form: str) -> None:
    stage.says("listAuthProjects", answer("iam/listAuthProjects.ok"))
    stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    keys = {"username": None, "password": None, "access_key": "AKEXAMPLE", "secret_key": "SK-made-up", "signature": form}
    async with stage.cloud(**keys) as cloud:
        await cloud.images.quota()
        assert cloud.project_id == PROJECT
    assert stage.operations() == ["listAuthProjects", "getCatalog", "getImageQuota"]
    last = stage.requests("getImageQuota")[0].headers
    assert last["authorization"].startswith(f"SDK-HMAC-SHA256 {'Access' if form == 'plain' else 'Credential'}=AKEXAMPLE")
    assert last["x-project-id"] == PROJECT
    assert last["x-sdk-date"] == "20260310T020000Z"
    assert last["host"] == f"ims.{HOST}"
    assert "x-auth-token" not in last


async def test_a_refused_key_pair_is_told_as_such(stage: Stage) -> None:
    stage.says("listAuthProjects", reply(401, {"error_code": "APIGW.0301", "error_msg": "no"}))
    keys = {"username": None, "password": None, "access_key": "AKEXAMPLE", "secret_key": "SK-made-up"}
    async with stage.cloud(**keys) as cloud:
        with pytest.raises(LoginRefused, match="key pair"):
            await cloud.login()


async def test_an_unknown_project_name_is_refused_with_what_was_looked_for(stage: Stage) -> None:
    stage.says("listAuthProjects", answer("iam/listAuthProjects.ok"))
    keys = {
        "username": None,
        "password": None,
        "access_key": "AKEXAMPLE",
        "secret_key": "SK-made-up",
        "project_name": "eu-de_other",
    }
    async with stage.cloud(**keys) as cloud:
        with pytest.raises(UsageError, match="eu-de_other"):
            await cloud.login()


async def test_a_given_token_is_used_as_it_is(stage: Stage) -> None:
    stage.says("listAuthProjects", answer("iam/listAuthProjects.ok"))
    stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    stage.says("getImageQuota", reply(401))
    async with stage.cloud(username=None, password=None, token="given") as cloud:
        with pytest.raises(Denied):
            await cloud.images.quota()
    assert stage.requests("createToken") == []
    assert stage.requests("getImageQuota")[0].headers["x-auth-token"] == "given"


async def test_a_missing_service_names_what_the_catalog_has(stage: Stage, cloud: Cloud) -> None:
    told = example("iam/createToken.project-name")["response"]["body"]
    told["token"]["catalog"] = [entry for entry in catalog() if entry["type"] != "cbr"]
    stage.says("createToken", reply(201, told, {"X-Subject-Token": "x"}))
    with pytest.raises(UsageError, match=r"cbr.*eu-de.*glance \(image\)"):
        await cloud.backups.get(BACKUP)


async def test_an_endpoint_without_tls_is_refused_except_on_loopback(stage: Stage, cloud: Cloud) -> None:
    told = example("iam/createToken.project-name")["response"]["body"]
    told["token"]["catalog"] = [
        {**catalog()[0], "endpoints": [{"interface": "public", "region": "eu-de", "url": f"http://ims.{HOST}"}]}
    ]
    stage.says("createToken", reply(201, told, {"X-Subject-Token": "x"}))
    with pytest.raises(UsageError, match="http://"):
        await cloud.images.quota()
