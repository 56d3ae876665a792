"""A night that is killed, once or again and again: the same command ends it, and no image is asked for twice."""

import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.served import Desk, Served

SPEED = 40
"""An image takes three seconds."""
SERVERS = 16
USUALLY = 15.0
"""Seconds that a night takes when nobody kills it: sixteen images, four at a time."""


def wait_and_kill(desk: Desk, after: float) -> None:
    process = desk.start("nightly", "policy.yaml")
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def made(served: Served) -> Counter[str]:
    """How many images there are of each backup, and whether the region ever heard of one that it had."""
    images = served.get("ims", "/v2/cloudimages", __whole_image="true", owner=served.account["project_id"])["images"]
    return Counter(image["__backup_id"] for image in images)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [1, 2, 4])
def test_a_night_that_is_killed_at_any_time_is_ended_by_the_same_command(
    tmp_path: Path, tell: Callable[[object], None], kills: int
) -> None:
    chance = random.Random()  # noqa: S311 - chance, not a secret; what it was is told
    with Served(tmp_path, SPEED) as served:
        desk = Desk(served, tmp_path)
        before = made(served)
        policy: dict[str, Any] = {"name": "nightly", "limits": {"images_at_once": 4}}
        policy["servers"] = {"tags": {"backup-to-image": "yes"}, "exclude": ["shop-app-02"]}
        (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
        moments = [round(chance.uniform(0.5, USUALLY / kills), 2) for _ in range(kills)]
        for moment in moments:
            wait_and_kill(desk, moment)
        began = time.monotonic()
        code, told = desk.run("nightly", "policy.yaml", within=200)
        tell(f"A night of {SERVERS} killed after {moments} s, ended in {time.monotonic() - began:.1f} s more")
        assert (code, told["servers"]) == (0, SERVERS), told
        assert len(told["made"]) + len(told["adopted"]) == SERVERS
        new = made(served) - before  # a server may have had the image of its newest backup before
        assert set(new.values()) == {1}
        assert len(new) >= SERVERS - 1
        asked = [one["status"] for one in served.requests() if one["operationId"] == "createWholeImage"]
        assert asked == [200] * len(new)
