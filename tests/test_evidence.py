"""Evidence holds everything that is known of a run, is kept once and whole, and shows whatever was changed or taken out later."""

import asyncio
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backup_to_image.cli.runbook import REPORT_BLANK
from backup_to_image.clock import Clock, FakeClock, SystemClock
from backup_to_image.errors import StillRunning
from backup_to_image.evidence import EvidenceError, Kept, evidence_html, keep_evidence, verify
from backup_to_image.evidence.record import compose, load
from backup_to_image.journal import Journal, hold
from backup_to_image.model import Report
from backup_to_image.model.recovery import Note, RunbookRun
from backup_to_image.otc import Cloud, Credentials
from backup_to_image.settings import Directories, Settings
from backup_to_image.steps.context import Context
from backup_to_image.steps.runbook.measure import measure
from backup_to_image.told.evidence import run_verdict
from docs.pictures.run_example import PICTURE, example
from tests.support.browser import open_browser
from tests.support.pages import NASTY, Page
from tests.support.region import Ended, Killed, Region
from tests.support.runs import BEGAN, answered, at, drill, group, run, server, step
from tests.support.work import calls


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "evidence"


@asynccontextmanager
async def host(folder: Path | None, state: Path, clock: Clock | None = None) -> AsyncIterator[Context]:
    """A process that keeps its evidence there, and asks no cloud for anything."""
    nobody = Credentials(auth_url="http://127.0.0.1:9", token=SecretStr("none"), project_id="p")
    settings = Settings(directories=Directories(evidence=folder))
    async with (
        Cloud.connect(nobody, clock=clock or FakeClock()) as cloud,
        Journal.at(state / "journal", clock=cloud.clock) as journal,
    ):
        yield Context(cloud, journal, settings)


def nth(number: int, **given: Any) -> RunbookRun:
    """The drill of one day after another."""
    return drill(id=f"shop-drill-{number:012x}", began_at=BEGAN + timedelta(days=number), **given)


async def kept(folder: Path, *runs: RunbookRun) -> list[Kept]:
    async with host(folder, folder.parent) as ctx:
        return [await keep_evidence(one, ctx) for one in runs]


@pytest.fixture
async def chain(folder: Path) -> list[Path]:
    """The records of three runs, oldest first."""
    return [one.record for one in await kept(folder, *(nth(number) for number in range(3)))]


def change(path: Path, into: Callable[[dict[str, Any]], object], *, hashed: bool = False) -> None:
    """What somebody writes into a record later; `hashed`: who knows how its hash is made."""
    content = json.loads(path.read_bytes())
    into(content)
    path.write_text(json.dumps(content))
    if hashed:
        path.write_text(json.dumps(content | {"sha256": load(path).true_sha256}))


def mistakes(report: Report) -> list[str]:
    return [check.why for check in report.refusals]


def whole(path: Path) -> bool:
    return verify(path).ok


# -- keeping ------------------------------------------------------------------------------------------------------------


async def test_a_record_and_its_page_lie_side_by_side_under_a_name_that_tells_which_run_it_was(folder: Path) -> None:
    (one,) = await kept(folder, drill())
    assert one.record.name == "shop-drill-20261129-130501-5f0c.json"
    assert one.page == one.record.with_suffix(".html")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["head.json", one.record.name, one.page.name])
    content = json.loads(one.record.read_bytes())
    assert (content["format"], content["previous"]) == ("b2i-evidence/1", None)
    assert content["run"] == drill().model_dump(mode="json")
    assert content["measured"] == measure(drill()).model_dump(mode="json")
    assert json.loads((folder / "head.json").read_bytes()) == {"name": one.record.name, "sha256": one.sha256}


async def test_the_hash_is_that_of_the_canonical_json_as_anybody_can_make_it(folder: Path) -> None:
    from hashlib import sha256

    (one,) = await kept(folder, drill(notes=(Note(at=at(1), by="Jörg", text="größer\u2028als"),)))
    content = json.loads(one.record.read_bytes())
    told = content.pop("sha256")
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert told == one.sha256 == sha256(canonical.encode()).hexdigest()


async def test_each_record_names_the_one_before_it_and_the_head_the_newest(chain: list[Path], folder: Path) -> None:
    contents = [json.loads(path.read_bytes()) for path in chain]
    assert contents[0]["previous"] is None
    for before, after in pairwise(contents):
        assert after["previous"] == {"name": before["name"], "sha256": before["sha256"]}
    assert json.loads((folder / "head.json").read_bytes())["sha256"] == contents[-1]["sha256"]
    assert all(whole(path) for path in chain)


async def test_the_same_run_again_has_the_record_that_it_has(folder: Path, chain: list[Path]) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = await kept(folder, nth(1, evidence=str(chain[1]), notes=()), nth(2))
    assert [one.record for one in again] == chain[1:]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


async def _keep_some(folder: Path, number: int) -> None:
    async with host(folder, folder.parent, SystemClock()) as ctx:
        for day in range(4):
            await keep_evidence(nth(10 * number + day), ctx)
            await keep_evidence(nth(100 + day), ctx)  # which the others keep too


def _as_a_process(folder: Path, number: int) -> None:
    asyncio.run(_keep_some(folder, number))


@pytest.mark.slow
def test_of_processes_that_keep_at_once_none_loses_a_run_and_none_forks_the_chain(folder: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_as_a_process, args=(folder, number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    records = list(folder.glob("shop-*.json"))
    assert len(records) == 3 * 4 + 4
    assert [check.verdict for check in verify(records[0]).checks] == ["passed"]


async def test_who_finds_another_at_it_for_too_long_is_told_and_writes_nothing(folder: Path) -> None:
    clock = FakeClock()
    async with host(folder, folder.parent, clock) as ctx, host(folder, folder.parent, clock) as other:
        long = other.deadline(timedelta(hours=1))
        async with hold(other.journal, "evidence", "", str(folder.resolve()), deadline=long):
            with pytest.raises(StillRunning):
                await keep_evidence(drill(), ctx)
    assert not folder.exists()


@pytest.mark.parametrize("number", range(1, 16))
async def test_a_process_that_ends_at_any_write_leaves_nothing_half_written_and_the_next_try_ends_it(
    folder: Path, chain: list[Path], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = 0, os.fsync

    def die(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise Killed
        real(descriptor)

    monkeypatch.setattr(os, "fsync", die)
    try:
        await kept(folder, nth(3))
    except Killed:
        pass
    finally:
        monkeypatch.undo()
    assert mistakes(verify(chain[-1])) == [], "whatever is there is whole"
    (one,) = await kept(folder, nth(3))
    assert len(list(folder.glob("shop-*.json"))) == 4
    report = verify(one.record)
    assert [check.verdict for check in report.checks] == ["passed"]
    assert one.sha256 in one.page.read_text()


async def test_a_head_that_was_left_one_behind_is_told_as_such_and_mended_by_the_next_run(
    folder: Path, chain: list[Path]
) -> None:
    behind = (folder / "head.json").read_bytes()
    await kept(folder, nth(3))
    (folder / "head.json").write_bytes(behind)
    (told,) = [check for check in verify(chain[0]).checks if check.rule == "head"]
    assert (told.verdict, "does not name" in told.why) == ("warned", True)
    (last,) = await kept(folder, nth(4))
    assert json.loads((folder / "head.json").read_bytes())["sha256"] == last.sha256
    assert [check.verdict for check in verify(last.record).checks] == ["passed"]


@pytest.mark.parametrize("content", [None, b"", b"{}", b"[]", b"\xff", b'{"name": 1, "sha256": []}', b"[" * 100_000])
async def test_a_head_that_is_gone_or_nonsense_is_found_anew_from_the_records(
    folder: Path, chain: list[Path], content: bytes | None
) -> None:
    head = folder / "head.json"
    if content is None:
        head.unlink()
    else:
        head.write_bytes(content)
    assert any("head.json" in why for why in mistakes(verify(chain[0])))
    (last,) = await kept(folder, nth(3))
    assert json.loads(last.record.read_bytes())["previous"]["name"] == chain[-1].name
    assert whole(last.record)


async def test_a_first_record_without_a_head_yet_is_whole(folder: Path) -> None:
    (one,) = await kept(folder, drill())
    (folder / "head.json").unlink()
    assert [check.verdict for check in verify(one.record).checks] == ["passed", "warned"]


async def test_what_cannot_be_written_is_told_with_what_to_do_and_nothing_is_half_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    async with host(tmp_path / "file" / "evidence", tmp_path) as ctx:
        with pytest.raises(EvidenceError, match=r"cannot be kept .*directories\.evidence") as told:
            await keep_evidence(drill(), ctx)
    assert (told.value.code, told.value.exit_code, told.value.outcome) == ("b2i.evidence", 5, "partly")


async def test_a_record_that_was_changed_is_never_written_over(folder: Path, chain: list[Path]) -> None:
    change(chain[1], lambda content: content["run"].update(by="somebody else"))
    before = chain[1].read_bytes()
    with pytest.raises(EvidenceError, match="was changed since it was written"):
        await kept(folder, nth(1))
    assert chain[1].read_bytes() == before


async def test_a_file_that_has_the_name_of_a_record_stays(folder: Path) -> None:
    folder.mkdir()
    there = folder / "shop-drill-20261129-130501-5f0c.json"
    there.write_text("mine")
    with pytest.raises(EvidenceError, match="is no record of this run"):
        await kept(folder, drill())
    assert there.read_text() == "mine"


async def test_without_a_setting_it_is_kept_in_the_users_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with host(None, tmp_path) as ctx:
        one = await keep_evidence(drill(), ctx)
    assert one.record.parent == tmp_path / "state" / "b2i" / "evidence"


# -- what was changed later ---------------------------------------------------------------------------------------------


def _leaves(value: Any, *keys: str | int) -> Iterator[tuple[str | int, ...]]:
    """The way to everything that a record says."""
    if isinstance(value, dict | list) and value:
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(one, *keys, key)
    else:
        yield keys


def _altered(value: Any) -> Any:
    return not value if isinstance(value, bool) else value + 1 if isinstance(value, int | float) else f"{value}x"


async def test_whatever_a_record_says_no_word_of_it_can_be_changed_unseen(folder: Path) -> None:
    (one, *_) = await kept(folder, nth(0), nth(1))
    original = json.loads(one.record.read_bytes())
    ways = list(_leaves(original))
    assert len(ways) > 250
    unseen: list[tuple[str | int, ...]] = []
    for way in ways:
        content = json.loads(one.record.read_bytes())
        inside = content
        for key in way[:-1]:
            inside = inside[key]
        inside[way[-1]] = _altered(inside[way[-1]])
        one.record.write_text(json.dumps(content))
        if whole(one.record):
            unseen.append(way)
        one.record.write_text(json.dumps(original))
    assert unseen == []
    assert whole(one.record), "blanks and lines are nothing that a record says"


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_who_changes_a_record_and_its_hash_too_is_found_by_what_was_written_after_it(
    chain: list[Path], number: int
) -> None:
    change(chain[number], lambda content: content["measured"].update(rto_s=60), hashed=True)
    for path in chain:
        (why,) = mistakes(verify(path))
        assert why.startswith(f"{chain[number].name} is another one than it was")


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_record_that_was_taken_out_is_named(chain: list[Path], number: int) -> None:
    chain[number].unlink()
    (why,) = mistakes(verify(chain[number - 1]))
    assert why.startswith(f"{chain[number].name} is missing")


async def test_a_gap_stays_to_be_seen_whatever_is_kept_after_it(folder: Path, chain: list[Path]) -> None:
    chain[2].unlink()
    (last,) = await kept(folder, nth(3))
    assert any(f"{chain[2].name} is missing" in why for why in mistakes(verify(last.record)))


async def test_records_that_change_places_are_named(chain: list[Path]) -> None:
    first, second = chain[0].read_bytes(), chain[1].read_bytes()
    chain[0].write_bytes(second)
    chain[1].write_bytes(first)
    whys = mistakes(verify(chain[2]))
    for path, other in ((chain[0], chain[1]), (chain[1], chain[0])):
        assert f"{path.name} says of itself that it is {other.name}" in whys


async def test_a_fork_is_named_with_both_of_its_ends(folder: Path, chain: list[Path], tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (one,) = await kept(folder, nth(3))
    (other,) = await kept(tmp_path / "copy", nth(4))
    shutil.copy(other.record, folder)
    whys = mistakes(verify(chain[0]))
    assert [why for why in whys if "forked" in why] == [
        f"it is forked: {one.record.name}, {other.record.name} were each written after {chain[2].name}"
    ]


async def test_two_beginnings_are_named(folder: Path, chain: list[Path], tmp_path: Path) -> None:
    (other,) = await kept(tmp_path / "other", nth(7))
    shutil.copy(other.record, folder)
    assert any("as the first of all" in why for why in mistakes(verify(chain[0])))


async def test_a_head_that_was_set_back_is_seen_where_the_records_are_still_there(folder: Path, chain: list[Path]) -> None:
    first = json.loads(chain[0].read_bytes())
    (folder / "head.json").write_text(json.dumps({"name": first["name"], "sha256": first["sha256"]}))
    assert mistakes(verify(chain[0])) == [f"head.json names {chain[0].name}, and 2 records come after it"]
    (last,) = await kept(folder, nth(3))
    assert json.loads(last.record.read_bytes())["previous"]["name"] == chain[2].name


async def test_every_mistake_is_told_at_once(folder: Path, chain: list[Path]) -> None:
    more = await kept(folder, *(nth(number) for number in range(3, 6)))
    chain[1].unlink()
    more[0].record.write_text("nothing")
    change(more[1].record, lambda content: content["run"].update(by="x"))
    (folder / "head.json").write_text("{}")
    whys = " | ".join(mistakes(verify(chain[0])))
    for words in (
        f"{chain[1].name} is missing",
        f"{more[0].record.name} is no record any more",
        more[1].record.name,
        "head.json",
    ):
        assert words in whys


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_hash_from_paper_is_found_in_the_chain_and_told_how_many_came_after_it(chain: list[Path], number: int) -> None:
    digest = json.loads(chain[number].read_bytes())["sha256"]
    for typed in (digest, digest.upper(), f" {digest[:16]} "):
        report = verify(chain[0], head=typed)
        (told,) = [check for check in report.checks if check.rule == "hash"]
        assert (report.ok, told.verdict) == (True, "passed")
        assert ("it is the newest" if number == 2 else f"{2 - number} were written after it") in told.why


async def test_newest_records_that_were_cut_off_with_their_head_are_seen_by_a_hash_that_was_kept_elsewhere(
    folder: Path, chain: list[Path]
) -> None:
    newest, before = (json.loads(path.read_bytes()) for path in (chain[2], chain[1]))
    chain[2].unlink()
    (folder / "head.json").write_text(json.dumps({"name": before["name"], "sha256": before["sha256"]}))
    assert whole(chain[0]), "nothing in the folder tells of it any more"
    assert "cut off" in mistakes(verify(chain[0], head=newest["sha256"]))[0]


# -- nonsense -----------------------------------------------------------------------------------------------------------

NONSENSE = {
    "empty": b"",
    "half": b'{"format": "b2i-evidence/1", "name":',
    "list": b"[]",
    "null": b"null",
    "binary": bytes(range(256)) * 9,
    "nested": b'{"format":"b2i-evidence/1","run":' + b'{"a":' * 100_000,
    "nested-whole": b'{"format":"b2i-evidence/1","run":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "nested-little": b'{"format":"b2i-evidence/1","run":' + b"[" * 900 + b"]" * 900 + b"}",
    "newer": b'{"format": "b2i-evidence/2", "name": "x"}',
    "other": b'{"format": {"a": ["\\u001b[31m"]}}',
    "bare": b'{"format": "b2i-evidence/1"}',
    "types": b'{"format":"b2i-evidence/1","name":1,"previous":[],"run":[],"measured":0,"sha256":null}',
    "twice": b'{"format":"b2i-evidence/1","name":"a","name":"b"}',
    "no-number": b'{"format":"b2i-evidence/1","name":NaN}',
    "long-number": b'{"format":"b2i-evidence/1","name":' + b"9" * 10_000 + b"}",
    "half-a-character": b'{"format":"b2i-evidence/1","name":"\\ud800","previous":null,"run":{"id":"\\ud800"},"sha256":"\\ud800"}',
    "words": b"<html>[/red]",
}


def report(region: Region, *words: str, json: bool = True) -> Ended:
    (region.folder / "clouds.yaml").unlink(missing_ok=True)
    ended = region.b2i("runbook", "report", *words, json=json)
    assert region.asked == [], "it needs no cloud"
    return ended


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_file_of_nonsense_is_told_in_plain_words_and_ends_nothing_else(region: Region, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "nonsense" / "record.json"
    path.parent.mkdir()
    path.write_bytes(NONSENSE[kind])
    shown = report(region, str(path))
    assert shown.code == 2
    assert "is no record of a run" in shown.error["message"] or "record of this version" in shown.error["message"]
    looked = report(region, str(path), "--verify")
    assert (looked.code, looked.told["verified"], looked.told["outcome"]) == (3, False, "refused")
    for_people = report(region, str(path), "--verify", json=False)
    assert for_people.code == 3
    assert "\x1b" not in for_people.out


async def test_nonsense_beside_a_whole_chain_is_named_and_is_no_mistake_of_it(chain: list[Path], folder: Path) -> None:
    for kind, content in NONSENSE.items():
        if kind != "half-a-character":  # that one has the form of a record
            (folder / f"x-{kind}.json").write_bytes(content)
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe.json")
    told = verify(chain[0])
    assert mistakes(told) == []
    assert len([check for check in told.checks if check.verdict == "warned"]) == len(NONSENSE) + 1


async def test_a_record_that_is_nonsense_now_is_a_mistake_of_the_chain_that_names_it(chain: list[Path]) -> None:
    chain[1].write_text("{}")
    assert any(f"{chain[1].name} is no record any more" in why for why in mistakes(verify(chain[0])))


async def test_what_is_kept_later_is_not_hindered_by_nonsense(folder: Path, chain: list[Path]) -> None:
    for kind, content in NONSENSE.items():
        (folder / f"x-{kind}.json").write_bytes(content)
    (last,) = await kept(folder, nth(3))
    assert json.loads(last.record.read_bytes())["previous"]["name"] == chain[-1].name


# -- b2i runbook report -------------------------------------------------------------------------------------------------


def test_a_run_is_told_in_short_by_its_record_alone(region: Region, folder: Path) -> None:
    (one,) = asyncio.run(kept(folder, drill()))
    told = report(region, str(one.record)).told
    assert set(told) == set(REPORT_BLANK)
    assert (told["outcome"], told["verified"], told["error"]) == (None, None, None)
    assert (told["record"], told["page"], told["sha256"]) == (str(one.record), str(one.page), one.sha256)
    assert RunbookRun.model_validate(told["run"]) == drill()
    assert told["measured"]["rto_s"] == 44 * 60
    words = " ".join(report(region, str(one.record), json=False).out.split())
    for shown in ("Drill passed: 4 of 4", "44 min (target 1 h 00 min: met)", "shop-mail-01", "Is the data right?", "--verify"):
        assert shown in words


def test_verified_it_is_whole_or_every_mistake_is_told_with_exit_code_3(region: Region, folder: Path) -> None:
    one, two, three = asyncio.run(kept(folder, *(nth(number) for number in range(3))))
    ended = report(region, str(two.record), "--verify", "--head", three.sha256)
    assert (ended.code, ended.told["verified"], ended.told["outcome"]) == (0, True, None)
    assert [check["rule"] for check in ended.told["checks"]] == ["chain", "hash"]
    one.record.unlink()
    change(three.record, lambda content: content["run"].update(by="x"))
    ended = report(region, str(two.record), "--verify")
    assert (ended.code, ended.told["verified"], ended.told["outcome"], ended.told["error"]) == (3, False, "refused", None)
    refused = [check["why"] for check in ended.told["checks"] if check["verdict"] == "refused"]
    assert len(refused) == 2
    assert all(check["page"] and check["action"] for check in ended.told["checks"])
    for_people = report(region, str(two.record), "--verify", json=False)
    assert for_people.code == 3
    assert one.record.name in "".join(for_people.out.split())


def test_a_hash_alone_asks_for_the_look_too(region: Region, folder: Path) -> None:
    (one,) = asyncio.run(kept(folder, drill()))
    assert report(region, str(one.record), "--head", one.sha256).told["verified"] is True
    assert report(region, str(one.record), "--head", "0" * 64).code == 3


def test_a_record_that_was_changed_says_so_unasked(region: Region, folder: Path) -> None:
    (one,) = asyncio.run(kept(folder, drill()))
    change(one.record, lambda content: content["run"].update(by="x"))
    assert "CHANGED since it was written" in report(region, str(one.record), json=False).out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("none.json",), "there is no such file"),
        (("evidence/shop-drill-20261129-130501-5f0c.html",), "is the page"),
        (("evidence/shop-drill-20261129-130501-5f0c.json", "--verify", "--head", "12ab"), "64 hex digits"),
        (("evidence",), "is no record of a run: it is no file"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_says_what_is_wrong(
    region: Region, folder: Path, words: tuple[str, ...], told: str
) -> None:
    asyncio.run(kept(folder, drill()))
    ended = report(region, *words)
    assert ended.code == 2
    assert told in ended.error["message"]


def test_names_that_a_terminal_would_obey_are_shown_as_text(region: Region, folder: Path) -> None:
    (one,) = asyncio.run(kept(folder, nasty("\x1b[31m[/red] [bold]\u202ex")))
    out = report(region, str(one.record), "--verify", json=False).out
    assert "[bold]" in out
    assert not {"\x1b", "\u202e"} & set(out)


# -- the page -----------------------------------------------------------------------------------------------------------


def page_of(made: RunbookRun) -> str:
    return evidence_html(compose(made, measure(made), None))


def nasty(text: str) -> RunbookRun:
    """A run in which everything that people and the cloud can name is this."""

    def inside(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: inside(one, name) for name, one in value.items()}
        if isinstance(value, list):
            return [inside(one, key) for one in value]
        fixed = {"mode", "state", "outcome", "about", "said", "how", "kind", "when", "when_silent"}
        free = isinstance(value, str) and key not in fixed and not re.fullmatch(r"\d{4}-\d\d-\d\dT.*", value)
        return text if free else value

    sick = server("x", 0, 5, state="failed", code="c", reason="r", action="a", left_behind=("l",))
    whole_drill = drill(stopped="s")
    more = group("g", sick, state="failed", reason="r", needs=("database",))
    hurt = whole_drill.model_copy(update={"groups": (*whole_drill.groups, more)})
    return RunbookRun.model_validate(inside(hurt.model_dump(mode="json")))


def test_the_page_tells_everything_that_the_record_does() -> None:
    made = drill()
    shown = Page(page_of(made)).text
    wanted = ["Drill passed: 4 of 4 servers came back, within its targets", "44 min", "target 1 h 00 min: met", "19 min 30 s"]
    for _, one in made.servers:
        wanted += [one.source, str(one.image_name), str(one.image_id), str(one.backup_id), str(one.launch_id), *one.server_ids]
        wanted += [*one.addresses, *one.drift, *(probe.answer for probe in one.probes)]
    for question in made.questions:
        assert question.answer
        wanted += [question.words, question.answer.by, question.answer.note]
    wanted += [one.told.split("\n")[0] for each in made.groups for one in each.steps]
    wanted += [made.notes[0].text, *made.findings, made.host, made.sha256, made.project_id, "2026-11-29 13:32:01"]
    wanted += ["was gone at 14:07:01", "tried 2 times", *made.text.splitlines()]
    assert [words for words in wanted if words not in shown] == []


def test_the_page_ends_with_its_records_hash_and_how_to_look_whether_it_is_whole() -> None:
    first = compose(drill(), measure(drill()), None)
    second = compose(nth(1), measure(nth(1)), first.link)
    text = evidence_html(second)
    foot = Page(text[text.index("<footer") :]).text
    for words in (second.name, second.sha256, first.name, first.sha256, f"--verify --head {second.sha256}"):
        assert words in foot
    assert re.search(rf"@page {{ @bottom-left {{ content: \"{second.name} +sha256 {second.sha256}\"", text), "on each sheet too"


def _failed(**given: Any) -> RunbookRun:
    return run(group("a", server("a1"), server("a2", state="failed"), state="failed"), outcome="partly", **given)


@pytest.mark.parametrize(
    ("made", "level", "words"),
    [
        (run(group("a", server("a1"))), "good", "Drill passed: 1 of 1 servers came back, no target was set"),
        (run(group("a", server("a1")), mode="failover", rpo_target_s=36_000), "good", "Recovered: 1 of 1"),
        (
            run(group("a", server("a1")), rto_target_s=300),
            "look",
            "Target missed: 1 of 1 servers came back, RTO 10 min instead of 5 min",
        ),
        (run(group("a", server("a1", taken_at=None)), rpo_target_s=60), "look", "RPO not known, wanted 1 min"),
        (_failed(), "bad", "Failed in part: 1 of 2"),
        (_failed(rto_target_s=1), "bad", "Failed in part: 1 of 2"),
        (run(group("a", server("a1", state="failed"), state="failed"), outcome="failed"), "bad", "Failed: none of 1 servers"),
        (_failed(stopped="a.meier: enough"), "bad", "Stopped: 1 of 2"),
        (run(group("a", server("a1")), stopped="a.meier: enough"), "look", "Stopped: 1 of 1"),
        (run(group("a", server("a1")), outcome=None, state="open"), "look", "Not finished"),
        (run(group("a", server("a1", probed=False))), "look", "1 of them was not probed"),
        (run(group("a", server("a1", left_behind=("server s-1",)))), "look", "left behind that is billed"),
        (
            run(group("a", server("a1")), group("b", step("x", 0, 1, state="failed"), state="failed")),
            "bad",
            "not everything was done: b",
        ),
        (run(group("a", server("a1", state="failed"))), "bad", "Failed: none of 1 servers"),
    ],
)
def test_the_verdict_stands_first_and_is_never_better_than_the_worst_part(made: RunbookRun, level: str, words: str) -> None:
    told = run_verdict(made, measure(made))
    assert told.level == level
    assert words in told.headline
    page = page_of(made)
    assert f'class="verdict {level}"' in page
    assert Page(page).text.index(told.headline) < Page(page).text.index("waiting for people")


@pytest.mark.parametrize("text", NASTY)
def test_nothing_from_outside_becomes_an_element_an_attribute_or_an_address(text: str) -> None:
    page, calm = Page(page_of(nasty(text))), Page(page_of(drill()))
    assert set(page.tags) - {"code"} <= set(calm.tags)
    assert {"script", "img", "a", "iframe"}.isdisjoint(page.tags)
    assert {name for name, _ in page.attributes} <= {name for name, _ in calm.attributes}
    assert [value for name, value in page.attributes if name in {"src", "href"}] == ["data:,"]
    style = page_of(nasty(text)).partition("<style>")[2].partition("</style>")[0]
    assert not re.search(r"evil\.example|[<>`|]", style)


def test_characters_that_turn_text_around_are_left_out() -> None:
    assert not {"\u202e", "\x1b", "\x00"} & set(page_of(nasty("shop\u202e\x1b[31m-db\x00\nx")))


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = page_of(run(group("a", server("a1"))))
    assert not re.search(r"(?:https?:)?//\w|@import|url\(", page)
    assert "script" not in Page(page).tags


def test_a_run_that_never_came_to_anything_has_a_page_too() -> None:
    empty = run(
        group("a", server("a1", None, None, state="waiting"), state="waiting"), outcome=None, state="stopped", stopped="x: y"
    )
    for made in (empty, run(), run(group("a", answered(1, None)))):
        assert "<svg" in page_of(made)


def test_shapes_tell_images_launches_steps_and_people_apart_and_the_critical_path_is_marked() -> None:
    page = page_of(drill())
    for words in ("image made first", "launched and probed", "step of a machine", "people were waited for", "gone on with"):
        assert f">{words}</text>" in page
    assert '<rect class="people"' in page
    assert 'class="critical"' in page
    assert re.search(r"\.run \.image \{[^}]*stroke-dasharray", page)
    assert "RTO target" not in page, "it lies beyond the end"
    assert "RTO target</text>" in page_of(drill(rto_target_s=1800))


def test_the_example_in_the_docs_is_what_is_drawn_today() -> None:
    assert PICTURE.read_text(encoding="utf-8") == example(), "run `python -m docs.pictures.run_example`"


def test_a_run_of_five_hundred_servers_is_below_two_megabytes_and_ten_times_the_work_of_fifty() -> None:
    groups = [group(f"g{each}", *(server(f"s-{each}-{number}", 0, number + 1) for number in range(50))) for each in range(10)]
    work, page = calls(lambda: page_of(run(*groups)))
    less, _ = calls(lambda: page_of(run(groups[0])))
    assert work < 11 * less
    assert len(page.encode()) < 2_000_000
    assert all(f"s-{each}-49" in page for each in range(10))


# -- in a browser -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_without_an_error_prints_it_and_asks_nobody_for_anything(scheme: Any, tmp_path: Path) -> None:
    file = tmp_path / "run.html"
    file.write_text(page_of(drill()), encoding="utf-8")
    with open_browser(file.as_uri(), width=1240, height=900, scheme=scheme) as browser:
        page = browser.new_page()
        page.goto(file.as_uri())
        assert page.get_by_role("status").is_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.set_viewport_size({"width": 420, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "on a telephone"
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 1032, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "on paper"
        colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
        assert colours == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
        assert page.evaluate("getComputedStyle(document.querySelector('tr')).breakInside") == "avoid"
        paper = page.pdf(prefer_css_page_size=True)
    sizes = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", paper)
    assert sizes
    assert all(float(wide) > float(high) for wide, high in sizes), "A4, landscape"
    assert (browser.said, browser.elsewhere) == ([], [])
