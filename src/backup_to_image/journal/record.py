"""One record of the journal, and the name under which it lies."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, cast

from pydantic import AwareDatetime, ConfigDict

from backup_to_image.model.cloud import Value

__all__ = ["FORM", "Record", "form_of", "record_name"]

FORM = 1
"""How records are written. It rises only when an older version would do harm with what it reads; new fields alone harm nobody."""


class Record(Value):
    """One thing that we asked a cloud to make, or that was ordered. Fields of a newer version are passed over, not fatal."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    """image, launch, teardown, change-os, retire, backup, used-backup, run-backup, drilled, facts, order, night, night-shares,
    night-part, night-report, sweep, share-expiry, readiness."""
    project_id: str
    name: str
    """What it is keyed by: a backup id, a launch id, an image id."""
    state: str
    """intent: the request is about to go out. sent: the cloud took it. done, failed, gone. Orders: see steps.orders."""
    written_at: AwareDatetime
    first_intent_at: AwareDatetime | None = None
    """When the request went out for the first time, which is when its effect may have begun."""
    deadline: AwareDatetime | None = None
    """Until when whoever ordered it waits; a restart waits no longer."""
    job_id: str | None = None
    image_id: str | None = None
    server_ids: tuple[str, ...] = ()
    generation: int = 0
    mark: str = ""
    """The launch id that servers carry; differs from `name` once a launch was repeated."""
    code: str | None = None
    reason: str = ""
    facts: dict[str, Any] = {}
    form: int = FORM
    """Which version of this form it is; records that say nothing are of the first."""

    def ids(self, fact: str) -> tuple[str, ...]:
        """A fact that is a list of ids; empty where it is absent or something else."""
        value = self.facts.get(fact)
        return tuple(str(one) for one in cast("list[Any]", value)) if isinstance(value, list) else ()

    @property
    def key(self) -> str:
        return record_name(self.kind, self.project_id, self.name)


def record_name(kind: str, project_id: str, name: str) -> str:
    """Where a record lies: the same for everybody who means the same thing. The kind stands in front, to be listed by."""
    digest = hashlib.sha256(f"{kind}\0{project_id}\0{name}".encode()).hexdigest()
    return f"{re.sub(r'[^a-z-]', '_', kind)}-{digest}"


def form_of(content: bytes) -> int:
    """The form of a record, without reading it as one; 1 where nobody can tell."""
    try:
        told = json.loads(content)
    except ValueError:
        return 1
    form = cast("dict[str, Any]", told).get("form") if isinstance(told, dict) else None
    return form if isinstance(form, int) else 1
