import asyncio
from typing import Any

import httpx
import pytest

from backup_to_image.errors import AlreadyUsed, ApiError, BadAnswer, ErrorClass, NoAnswer, NotFound, StillRunning, Throttled
from backup_to_image.model import LaunchRequest
from backup_to_image.otc import Cloud
from tests.otc.stage import Act, Stage, answer, credentials, reply

BACKUP = "6f1d2c3b-0a19-4e58-9b77-1c2d3e4f5a6b"
IMAGE = "1e2f3a4b-5c6d-4e7f-8091-a2b3c4d5e6f7"
SERVER = "2f3a4b5c-6d7e-4f80-91a2-b3c4d5e6f708"
HTML = httpx.Response(502, html="<html><head><title>502 Bad Gateway</title></head><body>try <b>later</b></body></html>")
QUOTA = answer("ims/getImageQuota.ok")


def start(cloud: Cloud) -> Any:
    return cloud.images.start_from_backup(backup_id=BACKUP, name="web01", tags={"b2i-source": "x"})


def launch(cloud: Cloud, *, dry_run: bool = False) -> Any:
    request = LaunchRequest(
        name="drill",
        image_id=IMAGE,
        flavor_id="s3.large.2",
        vpc_id=BACKUP,
        subnet_ids=(SERVER,),
        zone="eu-de-01",
        tags={"a": "b"},
    )
    return cloud.servers.launch(request, dry_run=dry_run)


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("reset"),
        HTML,
        reply(500),
        reply(503, {}),
        reply(504),
        reply(429),
        answer("ims/createWholeImage.throttled"),
        reply(500, {"error": {"code": "Common.0001", "message": "trouble"}}),
    ],
    ids=str,
)
async def test_reading_is_repeated_until_it_works(stage: Stage, cloud: Cloud, trouble: Act) -> None:
    stage.says("getImageQuota", trouble, trouble, QUOTA)
    assert (await cloud.images.quota())["image"].used == 37
    assert len(stage.requests("getImageQuota")) == 3


async def test_reading_gives_up_after_a_short_time(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", HTML)
    before = stage.clock.now()
    with pytest.raises(ApiError, match="502 Bad Gateway try later"):
        await cloud.images.quota()
    assert 20 < (stage.clock.now() - before).total_seconds() < 120
    assert 3 <= len(stage.requests("getImageQuota")) <= 8


@pytest.mark.parametrize(
    "refused",
    [
        reply(400, {"error": {"code": "IMG.0027", "message": "unknown"}}),
        reply(400),
        reply(403),
        reply(404),
        reply(409, {"message": "conflict", "code": "409 Conflict", "title": "Conflict"}),
        reply(500, {"error_code": "BackupService.6210", "error_msg": "used"}),
        reply(400, {"error": {"code": "IMG.0046", "message": "not active"}}),
    ],
    ids=lambda answered: f"{answered.status_code} {answered.text[:40]}",
)
async def test_a_refusal_is_not_argued_with(stage: Stage, cloud: Cloud, refused: Act) -> None:
    stage.says("getImage", refused)
    with pytest.raises(ApiError):
        await cloud.images.get(IMAGE)
    assert len(stage.requests("getImage")) == 1


async def test_retry_after_is_waited_for(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(429, None, {"Retry-After": "42"}), QUOTA)
    await cloud.login()
    before = stage.clock.now()
    await cloud.images.quota()
    assert 42 <= (stage.clock.now() - before).total_seconds() < 43


async def test_a_retry_after_beyond_all_patience_is_handed_on(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(429, None, {"Retry-After": "86400"}))
    with pytest.raises(Throttled) as caught:
        await cloud.images.quota()
    assert caught.value.retry_after == 86400
    assert len(stage.requests("getImageQuota")) == 1


async def test_a_retry_after_may_be_a_date(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(429, None, {"Retry-After": "Tue, 10 Mar 2026 02:00:30 GMT"}), QUOTA)
    await cloud.images.quota()
    assert stage.clock.now().second >= 30


UNCLEAR: list[Act] = [
    httpx.ReadTimeout("slow"),
    httpx.ReadError("reset"),
    httpx.WriteError("reset"),
    httpx.RemoteProtocolError("reset"),
    HTML,
    reply(500),
    reply(500, {"error": {"code": "IMG.0014", "message": "internal error"}}),
    reply(503, {}),
    reply(302, None, {"Location": "https://portal.example/login?token=x"}),
    httpx.Response(200, text='{"job_id": "9a8b7c'),
    httpx.Response(200, text="<html>welcome</html>"),
    reply(200, {}),
    reply(200, []),
]


@pytest.mark.parametrize("trouble", UNCLEAR, ids=str)
@pytest.mark.parametrize("operation", ["createWholeImage", "createServers"])
async def test_an_unclear_answer_to_a_create_is_never_followed_by_a_second_one(
    stage: Stage, cloud: Cloud, operation: str, trouble: Act
) -> None:
    stage.says(operation, trouble)
    with pytest.raises(NoAnswer) as caught:
        await (start(cloud) if operation == "createWholeImage" else launch(cloud))
    assert caught.value.sent
    assert len(stage.requests(operation)) == 1


@pytest.mark.parametrize(
    "trouble",
    [httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), httpx.ProxyError("no"), httpx.PoolTimeout("busy")],
    ids=str,
)
async def test_a_create_that_did_not_get_through_says_so(stage: Stage, cloud: Cloud, trouble: Exception) -> None:
    stage.says("createWholeImage", trouble)
    with pytest.raises(NoAnswer) as caught:
        await start(cloud)
    assert not caught.value.sent
    assert len(stage.requests("createWholeImage")) == 1


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (answer("ims/createWholeImage.flow-control"), Throttled),
        (answer("ims/createWholeImage.throttled"), Throttled),
        (answer("ims/createWholeImage.backup-used"), AlreadyUsed),
        (reply(400, {"error": {"code": "IMG.0134", "message": "registered"}}), AlreadyUsed),
        (reply(500, {"error_code": "BackupService.6211", "error_msg": "used"}), AlreadyUsed),
        (reply(404, {"error": {"code": "IMG.0020", "message": "no backup"}}), NotFound),
    ],
)
async def test_a_coded_refusal_of_a_create_is_sent_once_and_told(
    stage: Stage, cloud: Cloud, refused: Act, kind: type[ApiError]
) -> None:
    stage.says("createWholeImage", refused)
    with pytest.raises(kind):
        await start(cloud)
    assert len(stage.requests("createWholeImage")) == 1


async def test_a_202_that_started_nothing_is_a_throttle(stage: Stage, cloud: Cloud) -> None:
    stage.says("createServers", answer("ecs/createServers.flow-limit"))
    with pytest.raises(Throttled) as caught:
        await launch(cloud)
    assert caught.value.cloud_code == "Common.0024"
    assert caught.value.error_class is ErrorClass.WAIT


async def test_a_202_that_was_taken_for_later_has_its_job(stage: Stage, cloud: Cloud) -> None:
    stage.says("createServers", reply(202, {"job_id": "9a8b7c6d5e4f30211203f4e5d6c7b8a9", "serverIds": [SERVER]}))
    assert await launch(cloud) == ("9a8b7c6d5e4f30211203f4e5d6c7b8a9", (SERVER,))


async def test_a_dry_run_starts_nothing(stage: Stage, cloud: Cloud) -> None:
    stage.says("createServers", answer("ecs/createServers.dry-run-ok"))
    assert await launch(cloud, dry_run=True) == (None, ())


async def test_a_redirect_is_not_followed(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(302, None, {"Location": "https://portal.example/login?next=secret"}))
    with pytest.raises(BadAnswer, match="portal") as caught:
        await cloud.images.quota()
    assert "secret" not in str(caught.value)
    assert len(stage.requests("getImageQuota")) == 1


async def test_half_an_answer_to_a_question_is_a_bad_answer(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", httpx.Response(200, text='{"quotas": {"resour'))
    with pytest.raises(BadAnswer):
        await cloud.images.quota()


async def test_a_missing_list_is_not_an_empty_list(stage: Stage, cloud: Cloud) -> None:
    stage.says("listCloudImages", reply(200, {}))
    with pytest.raises(BadAnswer, match="images"):
        _ = [image async for image in cloud.images.list()]


async def test_an_endless_answer_is_cut_off(stage: Stage, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    await cloud.login()
    monkeypatch.setattr("backup_to_image.otc.transport.BIGGEST_ANSWER", 1000)
    stage.says("getImageQuota", httpx.Response(200, text="x" * 2000))
    with pytest.raises(BadAnswer, match="more than"):
        await cloud.images.quota()


async def test_a_certificate_that_is_not_trusted_is_not_tried_again(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"))
    with pytest.raises(NoAnswer, match="CERTIFICATE_VERIFY_FAILED"):
        await cloud.images.quota()
    assert len(stage.requests("getImageQuota")) == 1


async def test_the_gateways_404_does_not_prove_that_a_thing_is_gone(stage: Stage, cloud: Cloud) -> None:
    stage.says("getServer", reply(404, {"error_code": "APIGW.0101", "error_msg": "no such api"}))
    with pytest.raises(ApiError) as caught:
        await cloud.servers.find(SERVER)
    assert not isinstance(caught.value, NotFound)


async def test_a_guard_has_the_last_word_after_every_wait_for_a_turn_and_a_log_in(stage: Stage, cloud: Cloud) -> None:
    """Whoever lost his right to ask while the request waited must not have asked."""
    stage.says("getImageQuota", reply(429, headers={"Retry-After": "200"}), QUOTA)
    asked_at: list[float] = []

    def guard() -> None:
        asked_at.append((stage.clock.now() - begun).total_seconds())
        raise StillRunning("Another run", last_seen="at it", deadline=None)

    await cloud.login()
    begun = stage.clock.now()
    throttled = asyncio.create_task(cloud.images.quota())
    await stage.clock.sleep(1)
    with pytest.raises(StillRunning):
        await cloud.images.start_from_backup(backup_id=BACKUP, name="web01", guard=guard)
    assert asked_at == [pytest.approx(200, abs=2)]
    assert stage.requests("createWholeImage") == []
    with pytest.raises(Throttled):
        await throttled


async def test_every_request_is_counted(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", HTML, QUOTA)
    await cloud.images.quota()
    assert cloud.requests == len(stage.asked) == 3


async def test_the_budget_halves_when_throttled_and_recovers(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(429), QUOTA)
    await cloud.login()
    before = cloud.budget.rate
    await cloud.images.quota()
    slowed = cloud.budget.rate
    assert before / 2 <= slowed < before * 0.6
    for _ in range(20):
        await cloud.images.quota()
    assert slowed < cloud.budget.rate < before


async def test_the_budget_says_what_it_waits_for_and_until_when(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", reply(429, None, {"Retry-After": "60"}), QUOTA)
    await cloud.login()
    assert cloud.budget.waiting_for is None
    began = stage.clock.now()
    asking = asyncio.create_task(cloud.images.quota())
    await stage.clock.sleep(30)  # in the middle of the pause
    assert cloud.budget.waiting_for is not None
    assert cloud.budget.until is not None
    assert "ims" in cloud.budget.waiting_for
    assert (cloud.budget.until - began).total_seconds() >= 60
    await asking
    assert cloud.budget.until is None


async def test_too_many_image_tasks_do_not_slow_the_reading(stage: Stage, cloud: Cloud) -> None:
    stage.says("createWholeImage", answer("ims/createWholeImage.flow-control"))
    await cloud.login()
    before = cloud.budget.rate
    with pytest.raises(Throttled):
        await start(cloud)
    assert cloud.budget.rate >= before


async def test_a_steady_stream_is_paced_and_a_burst_is_free(stage: Stage, cloud: Cloud) -> None:
    stage.says("getImageQuota", QUOTA)
    await cloud.login()
    before = stage.clock.now()
    await asyncio.gather(*(cloud.images.quota() for _ in range(50)))
    assert (stage.clock.now() - before).total_seconds() < 1
    await asyncio.gather(*(cloud.images.quota() for _ in range(300)))
    assert (stage.clock.now() - before).total_seconds() > 5


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_loopback_never_goes_through_a_proxy(scheme: str, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@127.0.0.1:9")
    seen: list[str] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.read(20)).decode(errors="replace"))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Cloud.connect(credentials(auth_url=f"{scheme}://127.0.0.1:{port}/v3"), clock=stage.clock) as cloud:
        with pytest.raises(NoAnswer):
            await cloud.login()
    assert seen, "the listener on loopback was reached directly"
    assert not any("CONNECT" in words for words in seen)


async def test_a_failing_proxy_is_told_without_its_password(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@127.0.0.1:9")
    async with Cloud.connect(credentials(auth_url="https://iam.invalid/v3"), clock=stage.clock) as cloud:
        with pytest.raises(NoAnswer) as caught:
            await cloud.login()
    assert not caught.value.sent
    assert "secret" not in str(caught.value)


async def test_after_a_pause_those_that_waited_do_not_all_go_at_once(stage: Stage, cloud: Cloud) -> None:
    sent: list[float] = []

    def look(request: httpx.Request) -> httpx.Response:
        sent.append(stage.clock.now().timestamp())
        return QUOTA

    await cloud.login()
    stage.says("getImageQuota", reply(429, None, {"Retry-After": "10"}), look)
    await cloud.images.quota()
    sent.clear()
    cloud.budget.throttled(10, "a test")
    await asyncio.gather(*(cloud.images.quota() for _ in range(30)))
    assert max(sent.count(moment) for moment in sent) <= 2
