"""What somebody has said to a run holds, wherever whoever acts on it is killed: nobody is asked again, nothing else is done."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from backup_to_image.model.recovery import RunMode, Said
from tests.faults.dying import dying
from tests.faults.onlooker import Onlooker
from tests.support.region import Ended, Killed, Region
from tests.support.twenty import HEALTH, Helpdesk, region_of_twenty

COMMANDS: dict[Said, str] = {"go": "approve", "retry": "retry", "skip": "skip", "stop": "stop"}
ASKS: dict[str, dict[str, Any]] = {
    "approve": {"before": [{"approve": "Is the data right?"}]},
    "failed": {"before": [{"http": {"url": HEALTH}, "timeout": "10s"}]},
}


@dataclass(frozen=True)
class Came:
    """What came of a run: whether it has ended, its groups, and what was asked and answered in each."""

    runs: int
    state: str
    stopped: bool
    groups: tuple[str, ...]
    answers: tuple[tuple[str | None, ...], ...]


def come(region: Region, mode: RunMode) -> Ended:
    return region.b2i("runbook", mode, "shop.yaml", "--no-wait", *(("--yes-i-mean", "shop") if mode == "failover" else ()))


def story(folder: Path, mode: RunMode, asks: str, said: Said, killed_at: int | None) -> Came | None:
    """Asked, answered, killed while that is acted on, gone on with; None where nothing was left to be killed."""
    folder.mkdir()
    groups = [
        {"name": "first"} | ASKS[asks],
        {"name": "second", "needs": ["first"], "before": [{"approve": "And now?"}], "servers": [{"source": "srv-00"}]},
    ]
    region, helpdesk = region_of_twenty(folder, groups=groups), Helpdesk()
    try:
        with helpdesk.answering():
            onlooker = Onlooker(region)
            helpdesk.troubles = 9
            assert come(region, mode).code == 4
            helpdesk.troubles = 0
            assert region.b2i("runbook", COMMANDS[said], "shop", "first", "--reason", "so").code == 0
            if killed_at is not None:
                try:
                    with dying(region, killed_at):
                        come(region, mode)
                except Killed:
                    pass
                else:
                    return None
            if killed_at is None or onlooker.runs()[0].state == "open":
                come(region, mode)
            runs = onlooker.runs()
    finally:
        region.close()
    state = "ended" if runs[0].state in {"over", "done", "stopped"} else runs[0].state
    answers = [tuple(one.answer.said if one.answer else None for one in group.asked) for group in runs[0].groups]
    return Came(len(runs), state, bool(runs[0].stopped), tuple(group.state for group in runs[0].groups), tuple(answers))


CASES = [
    (mode, asks, said)
    for mode in ("drill", "failover")
    for asks in ASKS
    for said in COMMANDS
    if (asks, said) != ("approve", "retry")
]
AT_ONCE = {
    ("drill", "approve", "skip"),
    ("failover", "approve", "stop"),
    ("failover", "failed", "go"),
    ("drill", "failed", "stop"),
}
"""The others differ little, and belong to `make check-all`."""


@pytest.mark.parametrize(
    ("mode", "asks", "said"),
    [pytest.param(*case, marks=() if case in AT_ONCE else pytest.mark.slow, id="-".join(case)) for case in CASES],
)
def test_what_was_said_holds_wherever_whoever_acts_on_it_is_killed(folder: Path, mode: RunMode, asks: str, said: Said) -> None:
    wanted = story(folder / "undisturbed", mode, asks, said, None)
    for number in count():
        came = story(folder / f"{number}", mode, asks, said, number)
        if came is None:
            break
        assert came == wanted, f"killed before thing {number}"
    assert number > 3
