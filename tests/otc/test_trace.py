import json
import logging

import httpx
import pytest

from backup_to_image.errors import NoAnswer
from backup_to_image.otc import Exchange
from backup_to_image.otc.trace import redacted
from tests.otc.stage import TOKEN, Stage, answer, catalog, reply

SECRETS = ("hush-password", "hush-passcode", "hush-secret-key", TOKEN)


async def test_every_exchange_is_shown_and_no_secret(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[Exchange] = []
    stage.says("getImageQuota", reply(503, {}), answer("ims/getImageQuota.ok"))
    stage.says("getServerLimits", httpx.ReadTimeout("slow"))
    async with stage.cloud(password="hush-password", passcode="hush-passcode", trace=shown.append) as cloud:
        await cloud.images.quota()
        with pytest.raises(NoAnswer):
            await cloud.servers.limits()
    assert len(shown) == cloud.requests
    assert [(one.operation, one.status) for one in shown[:3]] == [
        ("createToken", 201),
        ("getImageQuota", 503),
        ("getImageQuota", 200),
    ]
    assert shown[-1].status is None
    assert "no answer within 60 s" in shown[-1].error
    assert shown[2].response["quotas"]["resources"][0]["used"] == 37
    everything = "".join(one.model_dump_json() for one in shown) + caplog.text
    for secret in SECRETS:
        assert secret not in everything


async def test_a_signed_request_shows_neither_key_nor_signature(stage: Stage) -> None:
    shown: list[Exchange] = []
    stage.says("listAuthProjects", answer("iam/listAuthProjects.ok"))
    stage.says("getCatalog", reply(200, {"catalog": catalog()}))
    keys = {
        "username": None,
        "password": None,
        "access_key": "AK",
        "secret_key": "hush-secret-key",
        "security_token": "hush-token",
    }
    async with stage.cloud(**keys, trace=shown.append) as cloud:
        await cloud.login()
    everything = "".join(one.model_dump_json() for one in shown)
    assert "hush" not in everything
    assert "Signature=" not in everything


def test_secret_fields_are_hidden_at_any_depth() -> None:
    body = {
        "server": {"adminPass": "x1", "user_data": "x2", "name": "n", "list": [{"password": "x3", "sk": "x4", "passcode": "x5"}]}
    }
    shown = json.dumps(redacted(body))
    assert not any(f"x{number}" in shown for number in range(1, 6))
    assert '"name": "n"' in shown


async def test_a_trace_costs_nothing_where_nobody_looks(stage: Stage) -> None:
    stage.says("getImageQuota", answer("ims/getImageQuota.ok"))
    async with stage.cloud() as cloud:
        assert (await cloud.images.quota())["image"].limit == 50
