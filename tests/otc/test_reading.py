"""Bodies as they come: unknown fields, nulls, text for numbers, three spellings of a time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_to_image.errors import BadAnswer
from backup_to_image.otc import cbr_wire, ecs_wire, ims_wire
from backup_to_image.otc.calls import Reply
from backup_to_image.otc.refusals import said
from backup_to_image.otc.wire import flag, moment, number, tags, text, whole
from tests.otc.stage import example

BACKUP = example("cbr/getBackup.usable")["response"]["body"]["backup"]
VAULT = example("cbr/getVault.ok")["response"]["body"]["vault"]
POINT = example("cbr/createCheckpoint.skipped")["response"]["body"]["checkpoint"]
IMAGE = example("ims/getImage.active")["response"]["body"]
JOB = example("ims/getImsJob.members-success")["response"]["body"]
SERVER = example("ecs/getServer.active")["response"]["body"]["server"]
ECS_JOB = example("ecs/getEcsJob.fail")["response"]["body"]

# The machine may be busy with other tests; how long a draw takes says nothing about the client.
calm = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow], deadline=None)

READERS = {
    "backup": (cbr_wire.backup, BACKUP, {"id", "status", "resource_type", "resource_id", "project_id", "children"}),
    "vault": (cbr_wire.vault, VAULT, {"id", "billing"}),
    "restore point": (cbr_wire.restore_point, POINT, {"id", "status"}),
    "image": (ims_wire.image, IMAGE, {"id", "status", "owner"}),
    "job": (ims_wire.job, JOB, {"job_id", "status"}),
    "server": (ecs_wire.server, SERVER, {"id", "status", "os-extended-volumes:volumes_attached"}),
    "ecs job": (ecs_wire.job, ECS_JOB, {"job_id", "status"}),
}
# Letters that mean something to some reader, and a few that mean nothing to any.
WORDS = st.text("abTZ019.:=-+,/ \n\u00e9\u2713\x00", max_size=12)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("kind", READERS)
@calm
@given(extra=st.dictionaries(WORDS.map(lambda name: f"new_{name}"), ANYTHING, max_size=4))
def test_unknown_fields_change_nothing(kind: str, extra: dict[str, Any]) -> None:
    read, body, _ = READERS[kind]
    assert read({**body, **extra}, "x") == read(body, "x")


@pytest.mark.parametrize("kind", READERS)
@calm
@given(data=st.data())
def test_whatever_stands_in_a_field_that_is_not_needed_is_survived(kind: str, data: st.DataObject) -> None:
    read, body, needed = READERS[kind]
    names = [name for name in body if name not in needed]
    changed = data.draw(st.dictionaries(st.sampled_from(names), ANYTHING, max_size=6))
    assert read({**body, **changed}, "x").id == read(body, "x").id


@pytest.mark.parametrize("kind", READERS)
def test_absent_null_and_empty_mean_the_same(kind: str) -> None:
    read, body, needed = READERS[kind]
    optional = [name for name in body if name not in needed]
    seen = [read({**body, name: empty}, "x") for name in optional for empty in (None, "")]
    left_out = [read({key: value for key, value in body.items() if key != name}, "x") for name in optional for _ in (1, 2)]
    assert seen == left_out


@pytest.mark.parametrize("kind", READERS)
def test_a_body_without_what_is_needed_is_a_bad_answer(kind: str) -> None:
    read, body, needed = READERS[kind]
    for name in needed - {"children", "os-extended-volumes:volumes_attached"}:
        with pytest.raises(BadAnswer):
            read({key: value for key, value in body.items() if key != name}, "getThing")


@calm
@given(
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2200, 1, 1)),  # noqa: DTZ001 - the zone is what is being tried
    st.sampled_from(["", "Z", "+00:00", "+0000", "+00"]),
    st.sampled_from(["T", " "]),
    st.integers(0, 9),
)
def test_each_spelling_of_a_time_is_the_same_moment(when: datetime, zone: str, between: str, digits: int) -> None:
    fraction = f"{when:%f}000"[:digits]
    written = f"{when:%Y-%m-%d}{between}{when:%H:%M:%S}{'.' + fraction if fraction else ''}{zone}"
    read = moment({"at": written}, "at")
    assert read is not None
    assert abs(read - when.replace(tzinfo=UTC)) < timedelta(seconds=1)
    assert read.utcoffset() == timedelta(0)


def _moment(hour: int) -> str:
    return f"2026-03-10T{hour:02d}:00:00Z"


@pytest.mark.parametrize(
    ("told", "taken", "latest"),
    [
        ({"image_type": "backup", "created_at": _moment(4)}, 4, 4),
        ({"created_at": _moment(4)}, None, 4),
        ({"created_at": _moment(4), "protected_at": _moment(1)}, 1, 1),
        ({"created_at": _moment(1), "protected_at": _moment(1)}, 1, 1),
        ({"created_at": _moment(1), "protected_at": _moment(4)}, 1, 1),
        ({"created_at": _moment(1), "copying": _moment(3)}, 1, 1),
        ({"created_at": _moment(4), "protected_at": _moment(1), "copying": _moment(3)}, 1, 1),
        ({"created_at": _moment(4), "protected_at": _moment(4), "copying": _moment(3)}, None, 3),
        ({"created_at": _moment(4), "copying": _moment(3)}, None, 3),
        ({"created_at": None}, None, None),
    ],
)
def test_the_state_of_a_replica_is_as_old_as_something_proves_and_of_unknown_age_where_all_may_be_of_its_copying(
    told: dict[str, Any], taken: int | None, latest: int | None
) -> None:
    times = {"image_type": "replication", "replication_records": [], **told}
    if copying := times.pop("copying", None):
        of_another = {"created_at": _moment(0), "destination_backup_id": "another"}
        times["replication_records"] = [of_another, {"created_at": copying, "destination_backup_id": BACKUP["id"]}]
    read = cbr_wire.backup(BACKUP | times, "x")
    assert [one.hour if one else None for one in (read.taken_at, read.latest_at)] == [taken, latest]


def test_a_zone_is_counted_in() -> None:
    assert moment({"at": "2026-01-02T03:00:00+02:00"}, "at") == datetime(2026, 1, 2, 1, tzinfo=UTC)


@calm
@given(ANYTHING)
def test_readers_never_fail_on_a_value(value: Any) -> None:
    body = {"x": value}
    text(body, "x")
    number(body, "x")
    whole(body, "x")
    flag(body, "x")
    moment(body, "x")
    tags(body, "x")


@pytest.mark.parametrize(
    ("written", "read"),
    [("true", True), (True, True), ("True", True), ("1", True), (1, True), ("false", False), (0, False), ("", None)],
)
def test_booleans_may_be_text(written: Any, read: bool | None) -> None:
    assert flag({"x": written}, "x") is read


def test_tags_are_read_in_every_form() -> None:
    written = ["team=shop", "old.form", "bare", "b2i-source=5b6c", "a=b=c", "v=1.5", {"key": "k", "value": "v"}, {"key": "empty"}]
    assert tags({"tags": written}) == {
        "team": "shop",
        "old": "form",
        "bare": "",
        "b2i-source": "5b6c",
        "a": "b=c",
        "v": "1.5",
        "k": "v",
        "empty": "",
    }


def test_injection_is_the_opposite_of_what_its_field_is_called() -> None:
    assert ims_wire.image({**IMAGE, "__support_fc_inject": "true"}, "x").injection is False
    assert ims_wire.image({**IMAGE, "__support_fc_inject": False}, "x").injection is True
    assert ims_wire.image(IMAGE, "x").injection is None


def test_the_backup_of_an_image_is_read_off_its_origin_too() -> None:
    without = {key: value for key, value in IMAGE.items() if key != "__backup_id"}
    assert ims_wire.image(without, "x").backup_id == IMAGE["__backup_id"]
    assert ims_wire.image({**without, "__data_origin": "file,obs"}, "x").backup_id is None


@pytest.mark.parametrize(
    "entities",
    [
        {"image_id": "i-1"},
        {"sub_jobs_result": [{"status": "SUCCESS", "entities": {"image_id": "i-1"}}]},
        {"sub_jobs_result": [{"image_id": "i-1"}]},
    ],
)
def test_the_image_id_is_found_wherever_it_shows_up(entities: dict[str, Any]) -> None:
    assert ims_wire.job({"job_id": "j", "status": "SUCCESS", "entities": entities}, "x").image_id == "i-1"
    assert ims_wire.job({"job_id": "j", "status": "SUCCESS", "image_id": "i-1"}, "x").image_id == "i-1"


@pytest.mark.parametrize(("percent", "progress"), [(0.4, 0.4), ("0.4", 0.4), (40, 0.4), (1, 1.0), (None, None), ("soon", None)])
def test_progress_is_a_part_of_one(percent: Any, progress: float | None) -> None:
    assert ims_wire.job({"job_id": "j", "status": "RUNNING", "entities": {"process_percent": percent}}, "x").progress == progress


@pytest.mark.parametrize(
    ("written", "ok"), [("success", True), ("SUCCESS", True), ("FAIL", False), ("failed", False), ("", None)]
)
def test_the_result_for_each_member_is_read_in_either_case(written: str, ok: bool | None) -> None:
    (result,) = ims_wire.job(
        {**JOB, "entities": {"results": [{"image_id": "i", "project_id": "p", "status": written}]}}, "x"
    ).members
    assert result.ok is ok


def test_a_failed_launch_tells_the_cause_of_the_step_that_failed() -> None:
    job = ecs_wire.job(ECS_JOB, "x")
    assert job.error_code == "Ecs.0203"
    assert job.fail_reason == "server not created; data disk not created; made-up cause"


def test_a_state_that_nobody_knows_is_shown_as_it_is() -> None:
    assert ims_wire.image({**IMAGE, "status": "thawing"}, "x").status == "thawing"
    assert cbr_wire.backup({**BACKUP, "resource_type": "OS::New::Thing"}, "x").kind == "other"


def test_the_states_of_a_flavor_per_zone_are_read() -> None:
    told = {
        "id": "s3",
        "name": "s3",
        "vcpus": "2",
        "ram": 4096,
        "os_extra_specs": {"cond:operation:status": "abandon", "cond:operation:az": "eu-de-03(sellout), eu-de-01(normal)"},
    }
    read = ecs_wire.flavor(told, "x")
    assert [read.state_in(zone) for zone in ("eu-de-01", "eu-de-02", "eu-de-03", None)] == [
        "normal",
        "abandon",
        "sellout",
        "abandon",
    ]


def test_a_quota_of_minus_one_is_no_limit() -> None:
    quota = ims_wire.quotas([{"type": "image", "used": "3", "quota": -1}])["image"]
    assert (quota.used, quota.limit, quota.free) == (3, None, None)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"error": {"code": "IMG.0029", "message": "used"}}, "IMG.0029", "used"),
        ({"error_code": "BackupService.6200", "error_msg": "gone"}, "BackupService.6200", "gone"),
        ({"error": {"code": "words", "message": "Ecs.0005"}}, "Ecs.0005", "words"),
        ({"error": {"code": 401, "message": "wrong", "title": "Unauthorized"}}, None, "wrong"),
        ({"code": "VPC.0517", "message": "bound"}, "VPC.0517", "bound"),
        ({"error": {"message": "outer", "details": [{"code": "Ecs.0319", "message": "sold out"}]}}, "Ecs.0319", "sold out"),
        ({"internalError": [{"code": "Ecs.0605", "message": "locked"}]}, "Ecs.0605", "locked"),
        ({"message": "conflict", "code": "409 Conflict", "title": "Conflict"}, None, "conflict"),
        ({"error_code": "APIGW.0308", "error_msg": "slow", "request_id": "r"}, "APIGW.0308", "slow"),
        ({"error": {"code": "img.0060", "message": "busy"}}, "IMG.0060", "busy"),
        ({}, None, ""),
        ([], None, ""),
        ("text", None, ""),
    ],
)
def test_each_shape_of_an_error_is_read(body: Any, code: str | None, words: str) -> None:
    assert said(Reply(operation="x", status=400, headers={}, content=json.dumps(body).encode())) == (code, words)


@calm
@given(st.binary(max_size=200))
def test_no_error_page_is_too_odd_to_be_read(content: bytes) -> None:
    said(Reply(operation="x", status=502, headers={}, content=content))


@calm
@given(ANYTHING)
def test_no_error_body_is_too_odd_to_be_read(body: Any) -> None:
    said(Reply(operation="x", status=400, headers={}, content=json.dumps(body).encode()))
