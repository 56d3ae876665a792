"""The records of one folder are a chain: each names the one before and its hash, so that what is changed or taken out is seen.

`head.json` names the newest. It only makes quick what the records tell, and shows where the newest is gone: a process that ends
between the two leaves a head that is one behind, which the next run mends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from backup_to_image.errors import B2iError
from backup_to_image.evidence.record import Link, Nonsense, Record, as_text, compose, load, name_of
from backup_to_image.journal import Lease
from backup_to_image.model import Check, Report
from backup_to_image.model.recovery import Measured, RunbookRun
from backup_to_image.pages.words import short
from backup_to_image.wholefile import write_whole

__all__ = ["HEAD", "EvidenceError", "append", "no_access", "verify"]

HEAD = "head.json"
FOR_ALL = 0o644
"""Less what the process's umask takes: evidence is there to be read."""
_PAGE = "docs/evidence.md"


class EvidenceError(B2iError):
    """The evidence of a run cannot be kept; the run itself is over, and what is known of it stays in the journal."""

    exit_code = 5
    outcome = "partly"
    code = "b2i.evidence"


class _Folder(NamedTuple):
    """What lies in a folder of evidence."""

    records: Mapping[str, Record]
    nonsense: Mapping[str, str]
    """What is no record, by its name, and why."""
    head: Link | None
    head_wrong: str
    """Why the head is not known; empty where it is, or where there is none."""


# -- writing ------------------------------------------------------------------------------------------------------------


async def append(run: RunbookRun, measured: Measured, folder: Path, lease: Lease) -> Record:
    """Add a run's record after the newest one, or return the one that it has. On disk when it returns, and never half of it.

    Raises EvidenceError, and StillRunning where another process has taken over.
    """
    with no_access(run, folder):
        there = _made_ready(folder)
        record = next((one for one in there.records.values() if (one.run_id, one.ends) == (run.id, run.ends)), None)
        if record is None:
            record = compose(run, measured, _newest(there))
            if (folder / record.name).exists():
                raise _in_the_way(folder / record.name, "is no record of this run")
            await lease.check()
            write_whole(folder / record.name, as_text(record.content), mode=FOR_ALL)
            there = there._replace(records={**there.records, record.name: record})
        elif not record.whole or there.records.get(record.name) != record:
            raise _in_the_way(folder / record.name, "is this run's record, and was changed since it was written")
        newest = _newest(there)
        if newest and newest != there.head:
            await lease.check()
            write_whole(folder / HEAD, as_text(newest.model_dump()), mode=FOR_ALL)
    return record


def _made_ready(folder: Path) -> _Folder:
    folder.mkdir(parents=True, exist_ok=True)
    return _look(folder)


@contextlib.contextmanager
def no_access(run: RunbookRun, folder: Path) -> Generator[None]:
    """A file that cannot be read or written is told with what to do."""
    try:
        yield
    except OSError as error:
        raise EvidenceError(
            f"The evidence of runbook {short(run.runbook, 63)}, {name_of(run)}, cannot be kept in {folder}: "
            f"{error.strerror or error}.",
            action="The run is over and nothing of it is lost. Make room, mend the rights, or name another folder as "
            "`directories.evidence` in b2i.yaml.",
            retryable=False,
        ) from None


def _in_the_way(path: Path, why: str) -> EvidenceError:
    return EvidenceError(f"{path} {why}.", action="Look who has changed it, and move it elsewhere; nothing was written over it.")


def _newest(there: _Folder) -> Link | None:
    """What the next record comes after. A head whose record is gone or was changed stays: so the gap is seen for ever."""
    after: dict[tuple[str, str], list[Record]] = {}
    for record in there.records.values():
        if record.previous:
            after.setdefault((record.previous.name, record.previous.sha256), []).append(record)
    newest = there.head or _last_of(there.records.values())
    seen: set[str] = set()
    while newest and newest.name not in seen:
        seen.add(newest.name)
        later = after.get((newest.name, newest.sha256), [])
        newest = later[0].link if later else newest
    return newest


def _last_of(records: Iterable[Record]) -> Link | None:
    """Without a head: the end of the longest chain."""
    records = list(records)
    named = {(one.previous.name, one.previous.sha256) for one in records if one.previous}
    by_link = {(one.name, one.sha256): one for one in records}
    ends = [one for one in records if (one.name, one.sha256) not in named] or records
    last = max(ends, key=lambda one: (len(list(_back_from(one, by_link))), one.name), default=None)
    return last.link if last else None


def _back_from(record: Record, by_link: Mapping[tuple[str, str], Record]) -> Iterator[Record]:
    """A record and those before it, as far as each is what the one after it names."""
    seen: set[str] = set()
    at: Record | None = record
    while at and at.name not in seen:
        seen.add(at.name)
        yield at
        at = by_link.get((at.previous.name, at.previous.sha256)) if at.previous else None


# -- looking ------------------------------------------------------------------------------------------------------------


def _look(folder: Path) -> _Folder:
    """Everything that a folder holds; what is no record is named. Raises OSError where the folder cannot be read."""
    records: dict[str, Record] = {}
    nonsense: dict[str, str] = {}
    for path in sorted(one for one in folder.iterdir() if one.suffix == ".json" and one.name != HEAD):
        try:
            records[path.name] = load(path)
        except Nonsense as error:
            nonsense[path.name] = str(error)
        except OSError as error:
            nonsense[path.name] = f"it cannot be read: {error.strerror or error}"
    head, wrong = None, ""
    try:
        head = Link.model_validate_json((folder / HEAD).read_bytes())
    except FileNotFoundError:
        pass
    except ValidationError:
        wrong = "it does not name a record and its hash"
    except OSError as error:
        wrong = f"it cannot be read: {error.strerror or error}"
    return _Folder(records, nonsense, head, wrong)


def verify(path: Path, *, head: str = "") -> Report:
    """Whether this record and all of its chain are as they were written; every mistake at once.

    `head`: a hash that somebody has kept elsewhere, on paper or in a message, or its first digits: the chain has to hold it.
    Raises OSError where the folder cannot be read.
    """
    there = _look(path.parent)
    checks = [*_of_itself(path.name, there), *_each(there), *_order(there), *_head(there)]
    if head:
        checks.append(_kept_elsewhere(head.strip().lower(), there))
    if all(check.verdict != "refused" for check in checks):
        count = len(there.records)
        words = f"{count} records, each as it was written" if count > 1 else "one record, as it was written"
        checks.insert(0, Check(rule="chain", verdict="passed", why=words))
    return Report(subject=path.name, checks=tuple(checks))


def _wrong(rule: str, why: str) -> Check:
    return Check(rule=rule, verdict="refused", why=why, action="Compare it with a copy that lies elsewhere.", page=_PAGE)


def _told(name: str) -> str:
    return short(name, 120)


def _of_itself(name: str, there: _Folder) -> Iterator[Check]:
    if why := there.nonsense.get(name):
        yield _wrong("record", f"{_told(name)} is no record: {why}")
    elif name not in there.records:
        yield _wrong("record", f"{_told(name)} is no record: a record's name ends in .json")


def _each(there: _Folder) -> Iterator[Check]:
    """Every record by itself, and the one that it names as the one before."""
    for name, record in there.records.items():
        if not record.whole:
            yield _wrong("record", f"{_told(name)} was changed after it was written: its hash is not the one that it states")
        if record.name != name:
            yield _wrong("record", f"{_told(name)} says of itself that it is {_told(record.name)}")
        if before := record.previous:
            yield from _named(before, f"{_told(name)} was written after it", there)
    links = [*(one.previous for one in there.records.values()), there.head]
    named = {link.name for link in links if link}
    for name, why in there.nonsense.items():
        if name not in named:
            yield Check(rule="chain", verdict="warned", why=f"{_told(name)} is passed over, for it is no record: {why}")


def _named(link: Link, because: str, there: _Folder) -> Iterator[Check]:
    """Whether a record is there that has to be there, and is the one that is meant."""
    found, name = there.records.get(link.name), _told(link.name)
    if found is None:
        why = there.nonsense.get(link.name)
        yield _wrong("chain", f"{name} {f'is no record any more ({why})' if why else 'is missing'}: {because}")
    elif found.sha256 != link.sha256:
        yield _wrong("chain", f"{name} is another one than it was: {because}, when its hash was {_told(link.sha256)}")


def _order(there: _Folder) -> Iterator[Check]:
    """One after the other, without a fork and with one beginning."""
    after: dict[str, list[str]] = {}
    for name, record in there.records.items():
        after.setdefault(record.previous.name if record.previous else "", []).append(_told(name))
    for before, names in after.items():
        if len(names) > 1:
            where = f"after {_told(before)}" if before else "as the first of all"
            yield _wrong("chain", f"it is forked: {', '.join(names)} were each written {where}")
    if there.records and "" not in after and not _missing(there):
        yield _wrong("chain", "no record is the first of all: they name each other in a circle")


def _missing(there: _Folder) -> bool:
    return any(one.previous and one.previous.name not in there.records for one in there.records.values())


def _head(there: _Folder) -> Iterator[Check]:
    """Whether the newest record is the one that the head names."""
    if there.head_wrong:
        yield _wrong("head", f"{HEAD} is of no use: {there.head_wrong}")
    elif there.head is None:
        if len(there.records) > 1:
            yield _wrong("head", f"{HEAD} is missing: whether there were newer records is not to be seen here")
        elif there.records:
            yield _behind("is not there yet")
    else:
        yield from _named(there.head, f"{HEAD} names it as the newest", there)
        later = _later(there.head.name, there)
        if len(later) == 1:
            yield _behind(f"does not name {_told(later[0])} yet")
        elif later:
            yield _wrong("head", f"{HEAD} names {_told(there.head.name)}, and {len(later)} records come after it")


def _behind(what: str) -> Check:
    return Check(
        rule="head", verdict="warned", why=f"{HEAD} {what}: a process was ended in between", action="The next run mends it."
    )


def _later(name: str, there: _Folder) -> list[str]:
    """The names of all records that come after that one."""
    found: list[str] = []
    names = [name]
    while names:
        names = [
            one for one, record in there.records.items() if record.previous and record.previous.name in names and one not in found
        ]
        found += names
    return found


def _kept_elsewhere(digest: str, there: _Folder) -> Check:
    """Whether a hash that was kept elsewhere is of this chain. Of an older record it is as good: all before it is as it was."""
    newest = _newest(there)
    start = there.records.get(newest.name) if newest else None
    by_link = {(one.name, one.sha256): one for one in there.records.values()}
    chain: Sequence[Record] = list(_back_from(start, by_link)) if start else []
    for number, record in enumerate(chain):
        if record.whole and record.sha256.startswith(digest):
            words = f"{number} were written after it" if number else "it is the newest"
            return Check(rule="hash", verdict="passed", why=f"the hash is that of {_told(record.name)}; {words}")
    gone = "the newest ones were cut off, some were changed, or it is of another chain"
    return _wrong("hash", f"no record of this chain has the hash {_told(digest)}: {gone}")
