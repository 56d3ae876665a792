"""The journal: what was written is there after a crash, what is damaged harms nothing, and nobody else reads it."""

import asyncio
import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_to_image.clock import FakeClock
from backup_to_image.journal import Journal, JournalError, Record
from backup_to_image.journal.record import FORM
from backup_to_image.model.shared_place import SharedPlace
from tests.support.laid import Laid

WITHOUT_ZONE = b'{"kind": "image", "project_id": "p", "name": "n", "state": "intent", "written_at": "2026-03-10T00:00:00"}'
WHEN = datetime(2026, 3, 10, tzinfo=UTC)


def record(name: str = "backup-1", kind: str = "image", **more: object) -> Record:
    return Record.model_validate(
        {"kind": kind, "project_id": "ab" * 16, "name": name, "state": "intent", "written_at": WHEN} | more
    )


@pytest.fixture
async def journal(laid: Laid) -> AsyncIterator[Journal]:
    async with laid.journal(FakeClock()) as journal:
        yield journal


async def test_what_is_written_is_read_back_with_the_time_of_its_writing(journal: Journal) -> None:
    written = await journal.write(record(job_id="j", server_ids=("a", "b"), facts={"disks": ["d"], "stopped": True}))
    assert written.written_at == journal.clock.now()
    assert await journal.read("image", "ab" * 16, "backup-1") == written
    assert written.ids("disks") == ("d",)
    assert written.ids("stopped") == written.ids("none") == ()


@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8)), unique=True, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
async def test_no_two_things_share_a_record_whatever_they_are_called(laid: Laid, keys: list[tuple[str, str, str]]) -> None:
    async with laid.journal() as journal:
        for number, (kind, project, name) in enumerate(keys):
            await journal.write(record(name, kind, project_id=project, generation=number))
        for number, key in enumerate(keys):
            found = await journal.read(*key)
            assert found is not None
            assert found.generation == number


async def test_records_of_a_kind_come_oldest_first_and_damaged_ones_are_passed_over(journal: Journal, laid: Laid) -> None:
    clock = journal.clock
    assert isinstance(clock, FakeClock)
    for name in ("c", "a", "b"):
        await journal.write(record(name, "launch"))
        clock.advance(1)
    await journal.write(record("other"))
    laid.plant("launch-0000", b"{")
    assert [one.name for one in await journal.records("launch")] == ["c", "a", "b"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"kind": 5}', WITHOUT_ZONE, b"\xff\xfe", b"{}" * 1000])
async def test_a_damaged_record_is_none_and_kept_for_whoever_wants_to_know(journal: Journal, laid: Laid, content: bytes) -> None:
    await journal.write(record())
    (name,) = laid.records()
    laid.plant(name, content)
    assert await journal.read("image", "ab" * 16, "backup-1") is None
    assert (laid.records(), laid.damaged()) == ({}, [content])
    assert await journal.write(record())
    assert await journal.read("image", "ab" * 16, "backup-1") is not None


async def test_a_record_of_a_newer_version_is_read_as_far_as_it_is_understood(journal: Journal, laid: Laid) -> None:
    await journal.write(record())
    ((name, content),) = laid.records().items()
    laid.plant(name, content.replace(b'"kind"', b'"unheard_of": {"x": 1}, "kind"'))
    found = await journal.read("image", "ab" * 16, "backup-1")
    assert found is not None
    assert found.state == "intent"


@pytest.mark.parametrize("more", [{}, {"state": {"of": "another shape"}}], ids=["the-same-shape", "another-shape"])
async def test_a_record_whose_form_is_newer_is_refused_in_words_and_left_as_it_is(
    journal: Journal, laid: Laid, more: dict[str, object]
) -> None:
    """Who sets it aside, or acts on half of it, would ask for what the newer version has asked for already."""
    await journal.write(record())
    ((name, content),) = laid.records().items()
    newer = json.dumps(json.loads(content) | {"form": FORM + 1} | more).encode()
    laid.plant(name, newer)
    for reading in (journal.read("image", "ab" * 16, "backup-1"), journal.records("image")):
        with pytest.raises(JournalError, match=f"newer version.*form {FORM + 1}") as refused:
            await reading
        assert "Nothing was made" in str(refused.value)
    assert laid.records() == {name: newer}


async def test_nobody_else_reads_a_folder_and_nothing_unfinished_lies_about(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    async with Journal.at(folder) as journal:
        await journal.write(record())
    assert folder.stat().st_mode & 0o077 == 0
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o077 == 0


async def test_a_folder_that_cannot_be_written_is_told_before_anything_depends_on_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError) as wrong:
        await Journal.at(tmp_path / "file" / "journal").open()
    assert "Nothing was made" in wrong.value.action


def _write_for_ever(place: Path | SharedPlace) -> None:
    async def write() -> None:
        journal = Journal.at(place)
        for number in itertools.count():
            await journal.write(record(generation=number, reason="x" * 4096))

    asyncio.run(write())


async def test_a_kill_at_any_moment_leaves_the_record_before_or_after_never_half_of_it(journal: Journal, laid: Laid) -> None:
    context = multiprocessing.get_context("spawn")
    for _ in range(3):
        writer = context.Process(target=_write_for_ever, args=(laid.place,))
        writer.start()
        while not laid.records():
            writer.join(0.01)
        writer.join(0.05)
        assert writer.pid
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        found = await journal.read("image", "ab" * 16, "backup-1")
        assert found is not None
        assert len(found.reason) == 4096
        assert laid.damaged() == []
