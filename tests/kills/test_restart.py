"""The region itself dies, in the middle of everything: b2i sits it out or says what happened, and the same command ends well."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.kills.child import Point
from tests.kills.company import Run, given_away
from tests.kills.conftest import Company
from tests.kills.errands import Create
from tests.kills.matrix import see_through
from tests.support.served import Served

Tell = Callable[[object], None]

HONEST = {0, 1, 4, 5}
"""Done, or: the cloud failed it, it is still running, it is partly done."""
MAKING = {"createToken", "createWholeImage", "batchAddImageMembers", "createServers"}


def places(run: Run) -> list[dict[str, object]]:
    """Every kind of request, with its answer held back; those that make something also before they have done so."""
    passed: Counter[str] = Counter()
    found: dict[Point, dict[str, object]] = {}
    for one in run.seen:
        if one.point.phase == "effect":
            operation = one.point.what.removesuffix(" as a rehearsal")
            found.setdefault(one.point, {"operation": operation, "skip": passed[operation], "seconds": 60.0})
            passed[operation] += 1
    return [
        {"name": name, **place}
        for place in found.values()
        for name in ("hold", "slow")
        if name == "hold" or place["operation"] in MAKING
    ]


def struck(served: Served, fault: str, run: Run) -> bool:
    """Come back once the run's request is inside the region, or the run has ended: it may look less often this time."""
    while run.process.is_alive():
        if fault not in {one["id"] for one in served.armed()}:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_region_dies_inside_any_request_and_comes_back_and_the_same_command_ends_well(company: Company, tell: Tell) -> None:
    served = company.served
    first = Create(company.people[0])
    code, run = first.person.run(*first.words)
    assert code == 0
    everywhere = places(run)
    # Nobody knows a project before the log-in, so it is held up for one person at a time.
    one_by_one = [[place] for place in everywhere if place["operation"] == "createToken"]
    together = [place for place in everywhere if place["operation"] != "createToken"]
    size = len(company.people)
    sat_out, said, missed, failures = 0, 0, 0, list[str]()
    for batch in (*one_by_one, *(together[number : number + size] for number in range(0, len(together), size))):
        going: list[tuple[Create, dict[str, object], Run]] = []
        for person, place in zip(company.people, batch, strict=False):
            errand = Create(person)
            whose = {} if place["operation"] == "createToken" else {"project": person.project}
            armed = served.arm(**whose, **place)
            going.append((errand, place | {"fault": armed}, person.start(*errand.words)))
        missed += sum(not struck(served, str(place["fault"]), run) for _, place, run in going)
        served.kill()
        time.sleep(1.0)
        served.restart()
        for errand, place, run in going:
            try:
                code = run.end()
                assert code in HONEST, f"ended with {code}: {run.told}"
                assert code == 0 or run.told["error"]["message"], run.told
                errand.check(run if code == 0 else see_through(errand, []), [run])
                sat_out, said = sat_out + (code == 0), said + (code != 0)
            except AssertionError as failure:
                failures.append(f"{place}: {failure} ({run.plan.log})")
    tell(f"The region died inside {len(everywhere)} requests of `b2i create`: {sat_out} runs sat it out, {said} were repeated")
    failures += given_away(company.people)
    assert not failures, "\n".join(failures)
    assert missed <= len(everywhere) / 10, f"{missed} runs ended before they came to the place where they were to be held up"
