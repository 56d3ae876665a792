"""Names and marks: what things are called is decided once, fits the cloud, and is read back as it was."""

import contextlib
import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image.errors import UsageError
from backup_to_image.model import Backup
from backup_to_image.steps.names import backup_run_name, decode_tag, encode_tag, image_name, launch_id, made_by_us

IMAGE_NAME = re.compile(r"[A-Za-z0-9._-]([A-Za-z0-9._ -]*[A-Za-z0-9._-])?")


def backup(server: str, ident: str = "57bbc0a7-feed-51e9-8a47-229c24ba05d5", made: datetime | None = None) -> Backup:
    return Backup(
        id=ident,
        name="manualbk_web01",
        status="available",
        kind="server",
        resource_id="3f2a1b00-0000-4000-8000-000000000000",
        resource_name=server,
        project_id="ab" * 16,
        created_at=made or datetime(2026, 3, 9, 21, tzinfo=UTC),
    )


@given(st.text(max_size=400), st.uuids(), st.datetimes(timezones=st.just(UTC)))
def test_whatever_a_server_is_called_its_image_gets_a_name_that_the_cloud_takes(
    server: str, ident: object, made: datetime
) -> None:
    name = image_name(None, backup(server, str(ident), made))
    assert 1 <= len(name) <= 128
    assert IMAGE_NAME.fullmatch(name), name
    assert name.endswith(f"-{str(ident)[:8]}"), "what makes it unique is never cut off"


@given(st.text(max_size=60))
def test_a_template_is_a_name_or_a_mistake_in_words_never_a_crash(template: str) -> None:
    with contextlib.suppress(UsageError):
        assert isinstance(image_name(template, backup("shop-web-01")), str)


@given(st.text(max_size=300))
def test_the_same_backup_is_called_the_same_every_time(server: str) -> None:
    assert image_name(None, backup(server)) == image_name(None, backup(server))


@given(st.text(max_size=200))
def test_a_tag_value_is_one_that_the_cloud_takes_whatever_it_stands_for(text: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_-]{0,43}", encode_tag(text))


@given(st.text(max_size=200))
def test_a_tag_value_that_was_not_cut_off_is_read_back_as_it_was(text: str) -> None:
    value = encode_tag(text)
    if len(value) < 43:
        assert decode_tag(value) == text


@pytest.mark.parametrize("flavor", ["s3.large.2", "m3.2xlarge.8", "kAi1s.3xlarge.4", "physical.o2.medium", "c7n.15xlarge.4"])
def test_every_flavor_survives_its_tag(flavor: str) -> None:
    assert decode_tag(encode_tag(flavor)) == flavor


@given(st.text(max_size=100))
def test_reading_back_any_value_is_no_crash(value: str) -> None:
    assert isinstance(decode_tag(value), str)


PARTS = st.tuples(
    st.text(max_size=10),
    st.text(max_size=10),
    st.text(max_size=10),
    st.sampled_from(["drill", "failover"]),
    st.integers(min_value=0, max_value=99),
)


@given(PARTS, PARTS)
def test_different_launches_have_different_ids_and_the_same_has_the_same(
    one: tuple[str, str, str, str, int], other: tuple[str, str, str, str, int]
) -> None:
    first, second = launch_id(*one), launch_id(*other)  # type: ignore[arg-type] - sampled_from gives text
    assert re.fullmatch(r"[0-9a-f]{12}", first)
    assert (first == second) == (one == other)


RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
BEGAN = datetime(2026, 11, 25, 2, 12, tzinfo=UTC)


@given(st.lists(st.uuids().map(str), max_size=256), st.integers(0, 4_000_000_000))
def test_a_backup_that_we_have_made_is_known_by_its_name_which_the_cloud_takes(servers: list[str], began: int) -> None:
    name = backup_run_name("ab" * 16, "vault", servers, datetime.fromtimestamp(began, UTC))
    assert RUN.fullmatch(name), name
    made = backup("shop-db-01").model_copy(update={"name": name})
    assert made_by_us(made)
    assert made_by_us(made.model_copy(update={"name": f"{name}_shop-db-01"})), "a cloud may tell the backups of a run apart"
    for other in ({"automatic": True}, {"replica": True}, {"kind": "disk"}):
        assert not made_by_us(made.model_copy(update=other))


def test_every_run_has_a_name_of_its_own_however_often_it_is_asked_for() -> None:
    name = backup_run_name("p", "v", ["a", "b"], BEGAN)
    assert name == backup_run_name("p", "v", ["b", "a"], BEGAN)
    others = [("q", "v", ["a", "b"], BEGAN), ("p", "w", ["a", "b"], BEGAN), ("p", "v", ["a"], BEGAN)]
    names = {backup_run_name(*one) for one in others} | {backup_run_name("p", "v", ["a", "b"], BEGAN.replace(minute=13))}
    assert len(names | {name}) == 5


@pytest.mark.parametrize(
    "name",
    [
        "autobk_web01",
        "manualbk_b2i-20261125-0123456789ab",
        "b2i-20261125",
        "b2i-mine-0123456789ab",
        "b2i-20261125-0123456789abc",
        "",
    ],
)
def test_what_others_call_their_backups_is_not_taken_for_ours(name: str) -> None:
    assert not made_by_us(backup("shop-db-01").model_copy(update={"name": name}))
