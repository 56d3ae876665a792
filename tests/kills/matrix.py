"""Kill it there, give the same command again, look at the cloud: for one point, or for all of them by several people at once."""

import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tests.kills.child import Point
from tests.kills.company import Person, Run, given_away, unheard_of
from tests.kills.errands import ERRANDS, Errand

__all__ = ["Death", "Tally", "points_of", "points_of_several", "survive_all", "that_differ"]

AGAIN = 3
"""So often is a command given once more that says "still running"."""
TRIES = 3
"""So often is a run begun anew that ended before it came to the point where it was to die."""
BY_CHANCE = {"nightly": 0.05}
"""Which part of its points a command need not come to again, though it has been there once: what it does at a time is chance."""


class NotThere(Exception):
    """No run came to the point where it was to die; each ended as if nobody had wanted that."""


@dataclass(frozen=True)
class Death:
    """Where or when a run is killed, and where its repetition is, if it is."""

    at: Point | int | float
    """A point, the number of a thing seen, or a part of the time that an undisturbed run takes."""
    then: int | None = None

    def __str__(self) -> str:
        at = f"{self.at:.3f} of its time" if isinstance(self.at, float) else f"{self.at}"
        return f"{at}, then {self.then}" if self.then else at


@dataclass
class Tally:
    """What came of the kills of one command."""

    command: str
    survived: int = 0
    missed: list[str] = field(default_factory=list)
    """Deaths that did not happen, since no run came there."""
    longest: float = 0.0
    """Seconds from the last start by hand until all was there and told."""
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def __str__(self) -> str:
        missed = f", never got to: {len(self.missed)} ({'; '.join(self.missed)})" if self.missed else ""
        return (
            f"b2i {self.command}: kills survived: {self.survived}, duplicates and losses: {len(self.failures)}{missed}; "
            f"{len(self.runs)} runs, the longest repetition took {self.longest:.1f} s, all of it {self.seconds:.0f} s"
        )


def points_of(command: str, person: Person) -> tuple[list[Point], float]:
    """Where a run of the command can die, in the order in which it gets there, and how long it takes when nobody kills it."""
    errand = ERRANDS[command](person)
    code, run = errand.person.run(*errand.words)
    assert code == 0, run.told
    errand.person.catch_up()
    errand.check(run, [])
    return list(dict.fromkeys(one.point for one in run.seen)), run.seconds


def that_differ(points: Iterable[Point]) -> list[Point]:
    """Whoever dies before something dies after what came before it: of the two, the later look at the same state is left out."""
    return [one for one in points if one.phase != "before"]


def points_of_several(command: str, people: Iterable[Person]) -> dict[Point, int]:
    """Where runs of the command can die that do not always take the same way: each point, and in how many people's runs it is."""
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda person: points_of(command, person)[0], people))
    times = Counter(point for points in found for point in points)
    return {point: times[point] for points in found for point in points}


def survive_all(command: str, people: Iterable[Person], deaths: Iterable[Death], *, usually: float = 0.0) -> Tally:
    """Every one of these deaths, each in an errand of its own; several people work at once, since b2i mostly waits."""
    everybody, began = list(people), time.monotonic()
    tally, left, told = Tally(command), queue.SimpleQueue[Death](), threading.Lock()
    for death in deaths:
        left.put(death)

    def work(person: Person) -> None:
        while True:
            try:
                death = left.get_nowait()
            except queue.Empty:
                return
            runs: list[Run] = []
            try:
                took = _survive(command, person, death, runs, usually)
            except NotThere:
                with told:
                    tally.missed.append(str(death))
            except Exception as failure:  # noqa: BLE001 - the others go on; it is told at the end
                with told:
                    log = runs[-1].plan.log if runs else ""
                    tally.failures.append(f"{command}: killed at {death}: {type(failure).__name__}: {failure} ({log})")
            else:
                with told:
                    tally.survived += 1
                    tally.longest = max(tally.longest, took)
            with told:
                tally.runs += runs

    threads = [threading.Thread(target=work, args=(person,)) for person in everybody]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.seconds = time.monotonic() - began
    if len(tally.missed) > BY_CHANCE.get(command, 0.0) * (len(tally.missed) + tally.survived):
        tally.failures += [f"{command}: never got to {one}" for one in tally.missed]
    wrong = unheard_of(tally.runs)
    tally.failures += [f"{command}: the contract forbids {what} ({count} times)" for what, count in wrong.items()]
    tally.failures += given_away(everybody)
    return tally


def _survive(command: str, person: Person, death: Death, runs: list[Run], usually: float) -> float:
    for _ in range(TRIES):
        errand = ERRANDS[command](person)
        if _killed(errand, death, runs, usually) or not isinstance(death.at, Point):
            break
    else:
        raise NotThere
    dead = [runs[-1]]
    if death.then:
        dead.append(errand.person.start(*errand.words, end_at=death.then))
        runs.append(dead[-1])
        dead[-1].end()
    last = see_through(errand, runs)
    errand.person.catch_up()
    errand.check(last, dead)
    return last.seconds


def see_through(errand: Errand, runs: list[Run]) -> Run:
    """Give the command again, and once more while it says "still running"; it must end well. The run that did."""
    for _ in range(1 + AGAIN):
        code, run = errand.person.run(*errand.words)
        runs.append(run)
        if code != 4 and not (code == 5 and run.told["error"] and run.told["error"]["retryable"]):
            break
    assert code == 0, f"ended with {code}: {run.told.get('error') or run.told}"
    return run


def _killed(errand: Errand, death: Death, runs: list[Run], usually: float) -> bool:
    """Whether it died there; a moment may come after its end."""
    if isinstance(death.at, float):
        run = errand.person.start(*errand.words)
        runs.append(run)
        time.sleep(death.at * usually)
        run.send(signal.SIGKILL)
    else:
        run = errand.person.start(*errand.words, end_at=death.at)
        runs.append(run)
    code = run.end()
    assert code in {0, -signal.SIGKILL}, f"ended with {code} before it was killed: {run.told}"
    return code != 0


def written_out(command: str, points: Iterable[Point]) -> str:
    """The points as people read them: what last changed something, and what goes on after it."""
    found: dict[str, dict[str, list[str]]] = {}
    for point in points:
        found.setdefault(point.since, {}).setdefault(point.what, []).append(point.phase)
    lines = [f"Where `b2i {command}` was killed, {sum(len(one) for each in found.values() for one in each.values())} points:"]
    for since, whats in found.items():
        by_phases: dict[str, list[str]] = {}
        for what, phases in whats.items():
            by_phases.setdefault("/".join(phases), []).append(what)
        lines += [f"  after {since}: {', '.join(each)} ({phases})" for phases, each in by_phases.items()]
    return "\n".join(lines)
