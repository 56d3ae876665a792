"""When the cloud throttles: what people read while requests wait, from the terminal's side."""

import re
from datetime import timedelta

import pytest

from tests.support.region import Region

WAITS = re.compile(r"(?:a request waits|\d+ requests wait) until \d\d:\d\d:\d\d UTC for (\w+) to take requests again \((.*)\)")


def told(err: str) -> list[tuple[str, str]]:
    """What was waited for, and the cloud's words, of each line about it."""
    return [(found[1], found[2]) for line in err.splitlines() if (found := WAITS.search(line))]


@pytest.mark.parametrize(
    ("operation", "service"), [("getBackup", "cbr"), ("listCloudImages", "ims"), ("getServer", "ecs"), ("getImsJob", "ims")]
)
def test_a_pause_of_the_cloud_is_told_once_with_its_words_and_its_end(
    region: Region, backup: str, operation: str, service: str
) -> None:
    region.arm("throttled-429", operation=operation, retry_after=45)
    ended = region.b2i("create", backup)
    assert ended.code == 0
    ((waited_for, words),) = told(ended.err)
    assert waited_for == service
    assert "throttled; Retry-After 45 s" in words
    assert "requests a second" in ended.err
    assert "no longer wait" not in ended.err


def test_a_long_pause_is_capped_says_so_and_its_end_is_told_too(region: Region, backup: str) -> None:
    region.arm("throttled-429", operation="getImsJob", skip=1, retry_after=1800)
    ended = region.b2i("create", backup)
    assert ended.code == 0
    ((_, words),) = told(ended.err)
    assert "Retry-After 1800 s, of which 300 s are kept" in words
    assert "requests no longer wait, after 5 min" in ended.err


def test_a_log_in_that_is_throttled_is_told_as_well(region: Region, backup: str) -> None:
    region.arm("throttled-429", operation="createToken", retry_after=30)
    ended = region.b2i("create", backup)
    assert (ended.code, [service for service, _ in told(ended.err)]) == (0, ["iam"])


def test_an_hour_of_throttling_is_not_a_line_for_each_request(region: Region, backup: str) -> None:
    region.arm("throttled-429", operation=["getImsJob", "getImage"], times=None)
    ended = region.b2i("create", backup, "--timeout", "1h")
    assert ended.code == 4
    assert len(region.sent("getImsJob")) > 60
    assert 1 <= len(told(ended.err)) <= 15


def test_quiet_means_quiet(region: Region, backup: str) -> None:
    region.arm("throttled-429", operation="getVault", retry_after=45)
    ended = region.b2i("-q", "create", backup)
    assert (ended.code, told(ended.err)) == (0, [])


def test_a_creation_that_is_put_off_is_told_by_the_one_line_that_says_until_when(region: Region, backup: str) -> None:
    region.arm("throttled-429", operation="createWholeImage", retry_after=77)
    ended = region.b2i("create", backup)
    assert ended.code == 0
    assert len([line for line in ended.err.splitlines() if "asking again in 1 min 17 s, until " in line]) == 1
    assert told(ended.err) == []


def test_a_deadline_that_passes_while_requests_wait_is_kept_within_a_minute(region: Region, backup: str) -> None:
    region.arm("job-stuck", operation="createWholeImage")
    region.arm("throttled-429", operation="getImsJob", skip=2, retry_after=300)
    begun = region.clock.now()
    ended = region.b2i("create", backup, "--timeout", "240s")
    assert (ended.code, ended.told["outcome"]) == (4, "still_running")
    assert len(told(ended.err)) == 1
    assert region.clock.now() - begun == timedelta(seconds=300)
