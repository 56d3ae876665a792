"""Where the pretend cloud keeps its things: documents by kind and id, in memory to answer, in SQLite to survive a kill.

A document is plain JSON with an `id`, a `created_at` (see `timestamp`) and, where it applies, a `project` and a `due`. It is
changed only by `put`; `commit` makes everything put since the last one durable, and the answer to a request is sent after it.
Listing walks an index by project and creation time, so ten thousand old images cost a request nothing.
"""

from __future__ import annotations

import bisect
import contextlib
import heapq
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from .wire import Doc

__all__ = ["Store", "moment", "timestamp"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS things (
    kind TEXT NOT NULL, id TEXT NOT NULL, doc TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID
"""


# Fields by which things are looked up often; their values may change.
_INDEXED: dict[str, tuple[str, ...]] = {
    "image": ("backup_id", "public"),
    "image-member": ("image_id", "vault_id"),
    "backup": ("resource_id", "checkpoint_id", "vault_id"),
    "backup-member": ("backup_id", "dest_project", "vault_id"),
    "user": ("ak",),
    "volume": ("server_id",),
}


def timestamp(when: datetime) -> str:
    """A moment as documents carry it: UTC with microseconds and Z, so that text sorts like time."""
    return f"{when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def moment(text: str) -> datetime:
    """The moment behind a `timestamp`."""
    return datetime.fromisoformat(text)


class Store:
    """Documents by kind and id; with a path, the same ones again after a kill -9 and a restart."""

    def __init__(self, state: str | Path = ":memory:") -> None:
        self._docs: dict[str, dict[str, Doc]] = {}
        self._order: dict[tuple[str, str | None], list[tuple[str, str]]] = {}
        self._found: dict[tuple[str, str, str], set[str]] = {}
        self._filed: dict[tuple[str, str], tuple[str, ...]] = {}
        self._due: list[tuple[str, str, str]] = []
        self._db: sqlite3.Connection | None = None
        self._dirty = False
        if str(state) != ":memory:":
            self._open(Path(state))

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The loop that serves may live in another thread than the one that built the emulator; there is still only one at a time.
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level="DEFERRED")
        self._db.execute("PRAGMA journal_mode=WAL")
        # A kill of the process loses nothing that was handed to the operating system; only power failure would.
        self._db.execute("PRAGMA synchronous=OFF")
        self._db.execute(_SCHEMA)
        self._db.commit()
        for kind, text in self._db.execute("SELECT kind, doc FROM things"):
            self._remember(str(kind), json.loads(text))

    @property
    def empty(self) -> bool:
        """Nothing was ever kept here."""
        return not self._docs

    def _remember(self, kind: str, doc: Doc) -> None:
        shelf = self._docs.setdefault(kind, {})
        identity: str = doc["id"]
        if identity not in shelf:
            place = (str(doc.get("created_at", "")), identity)
            for owner in {None, doc.get("project")}:
                bisect.insort(self._order.setdefault((kind, owner), []), place)
        shelf[identity] = doc
        self._file(kind, identity, doc)
        if doc.get("due"):
            heapq.heappush(self._due, (doc["due"], kind, identity))

    def _file(self, kind: str, identity: str, doc: Doc | None) -> None:
        """Keep the indexes of `_INDEXED` in step with a document (None: it is gone)."""
        fields = _INDEXED.get(kind)
        if fields is None:
            return
        before = self._filed.pop((kind, identity), None)
        after = None if doc is None else tuple(str(doc.get(name)) for name in fields)
        if before is not None and before != after:
            for name, value in zip(fields, before, strict=True):
                self._found[kind, name, value].discard(identity)
        if after is not None:
            self._filed[kind, identity] = after
            if after != before:
                for name, value in zip(fields, after, strict=True):
                    self._found.setdefault((kind, name, value), set()).add(identity)

    def put(self, kind: str, doc: Doc) -> Doc:
        """Keep a new document or a changed one; `id`, `project` and `created_at` never change."""
        self._remember(kind, doc)
        if self._db is not None:
            self._db.execute(
                "INSERT OR REPLACE INTO things VALUES (?, ?, ?)", (kind, doc["id"], json.dumps(doc, separators=(",", ":")))
            )
            self._dirty = True
        return doc

    def remove(self, kind: str, identity: str) -> None:
        """Forget a document; forgetting it twice is no mistake."""
        doc = self._docs.get(kind, {}).pop(identity, None)
        if doc is None:
            return
        place = (str(doc.get("created_at", "")), identity)
        for owner in {None, doc.get("project")}:
            index = self._order[kind, owner]
            position = bisect.bisect_left(index, place)
            del index[position]
        self._file(kind, identity, None)
        if self._db is not None:
            self._db.execute("DELETE FROM things WHERE kind = ? AND id = ?", (kind, identity))
            self._dirty = True

    def get(self, kind: str, identity: str) -> Doc | None:
        """The document, or None."""
        return self._docs.get(kind, {}).get(identity)

    def count(self, kind: str, project: str | None = None) -> int:
        """How many there are, of one project or of all."""
        return len(self._order.get((kind, project), ()))

    def walk(
        self, kind: str, project: str | None = None, *, newest_first: bool = False, since: str = "", until: str = "~"
    ) -> Iterator[Doc]:
        """Documents in order of creation, those created from `since` up to and including `until`; no other is looked at."""
        index = self._order.get((kind, project), [])
        low, high = bisect.bisect_left(index, (since, "")), bisect.bisect_right(index, (until, "~"))
        shelf = self._docs.get(kind, {})
        places = index[low:high]
        for _, identity in reversed(places) if newest_first else places:
            yield shelf[identity]

    def indexed(self, kind: str, name: str, value: object) -> list[Doc] | None:
        """Documents with that value in an indexed field, oldest first; None where the field is not indexed."""
        if name not in _INDEXED.get(kind, ()):
            return None
        shelf = self._docs.get(kind, {})
        found = [shelf[identity] for identity in self._found.get((kind, name, str(value)), ())]
        found.sort(key=lambda doc: (str(doc.get("created_at", "")), doc["id"]))
        return found

    def next_due(self, now: str) -> tuple[str, str, Doc] | None:
        """The document whose time came first, with the moment it was due and its kind; None when nothing is due yet."""
        while self._due and self._due[0][0] <= now:
            when, kind, identity = heapq.heappop(self._due)
            doc = self.get(kind, identity)
            if doc is not None and doc.get("due") == when:  # otherwise it was put off, settled or removed meanwhile
                return when, kind, doc
        return None

    def commit(self) -> None:
        """Make everything put since the last time survive a kill."""
        if self._db is not None and self._dirty:
            self._db.commit()
            self._dirty = False

    def close(self) -> None:
        """Write what is left and let go of the file."""
        self.commit()
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._db.close()
            self._db = None
