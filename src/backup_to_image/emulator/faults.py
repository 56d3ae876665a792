"""What can be told to go wrong, by name; `CATALOGUE` says what each one does, a matcher whom it strikes.

Arming: in-process `emulator.faults.arm("lost-answer", operation="createWholeImage", times=1, skip=0)`, over HTTP
`POST /_emulator/faults` with the same names as JSON. `operation` is an operationId, a service name, or a list of them; `skip`
lets that many matching requests pass first; `times` is how many it then strikes (null: until disarmed); `project` narrows it to
one caller.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from .routing import Operation, operations
from .wire import Doc

if TYPE_CHECKING:
    from .cloud import Cloud

__all__ = ["CATALOGUE", "Armed", "Fault", "Faults"]

# before: instead of the call, which has no effect. effect: the call itself goes another way. after: the call has had its effect,
# only the answer suffers. standing: no request is struck; it holds as long as it is armed.
Stage = Literal["before", "effect", "after", "standing"]

_JOBS = (
    "createWholeImage",
    "batchAddImageMembers",
    "batchUpdateImageMembers",
    "batchDeleteImageMembers",
    "createServers",
    "deleteServers",
    "changeOs",
    "deleteVolume",
)
_LISTS = ("listBackups", "listCloudImages", "listImages", "listServersDetail", "listVaults", "listVolumesDetail", "listPublicIps")


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong: when it strikes, what it strikes by default (empty: any call), its parameters and their defaults."""

    name: str
    stage: Stage
    says: str
    operations: tuple[str, ...] = ()
    parameters: Doc = field(default_factory=dict[str, Any])


CATALOGUE: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("lost-answer", "after", "the effect happens, the connection is cut before the answer"),
        Fault("reset-before", "before", "the connection is cut before anything happens"),
        Fault("throttled-429", "before", "429 in the service's words; retry_after adds that header", (), {"retry_after": None}),
        Fault("img-0060", "before", "400 IMG.0060, too many tasks", ("createWholeImage",)),
        Fault(
            "error-500",
            "before",
            "500 in the service's words; with effect true the call is carried out first",
            (),
            {"effect": False},
        ),
        Fault(
            "html-502", "before", "502 and a page of HTML; with effect true the call is carried out first", (), {"effect": False}
        ),
        Fault("error-503", "before", "503 without a body; with effect true the call is carried out first", (), {"effect": False}),
        Fault("forbidden", "before", "403 in the service's words: the policy does not allow this action"),
        Fault("swapped-error", "after", "code and message of an ECS refusal are exchanged, as one of its pages shows them"),
        Fault("flow-202", "before", "202 with Common.0024: nothing was started", ("createServers",)),
        Fault("slow", "before", "the call is taken up only after so many seconds", (), {"seconds": 20.0}),
        Fault("hold", "after", "the effect happens, the answer waits so many seconds (time for a kill)", (), {"seconds": 30.0}),
        Fault("truncated-json", "after", "200, and the JSON ends in the middle"),
        Fault("unknown-fields", "after", "objects of the answer carry fields that no page names"),
        Fault(
            "unknown-enum",
            "after",
            "every value of that field in the answer is one that no page names",
            (),
            {"field": "status", "value": "reticulating"},
        ),
        Fault("token-expired", "before", "the caller's token ends, and the call is answered accordingly"),
        Fault(
            "late-listing", "standing", "what was made in the last seconds (at speed 1) is not listed yet", (), {"seconds": 60.0}
        ),
        Fault("doubled-page", "after", "a list shows its last entry twice", _LISTS),
        Fault(
            "shifting-page",
            "after",
            "the list moved between two pages: the second begins with the last entry of the first",
            _LISTS,
        ),
        Fault(
            "job-fails",
            "effect",
            "the job of this call ends in FAIL with that code and reason",
            _JOBS,
            {"code": None, "reason": "the task failed"},
        ),
        Fault(
            "image-killed",
            "effect",
            "the image of this call ends as killed, its job in FAIL",
            ("createWholeImage",),
            {"code": "IMG.0061", "reason": "internal trouble"},
        ),
        Fault(
            "job-stuck",
            "effect",
            "the job of this call goes on for ever, or so many more seconds (at speed 1)",
            _JOBS,
            {"seconds": None},
        ),
        Fault(
            "success-before-active",
            "effect",
            "the job says SUCCESS so many seconds (at speed 1) before the image is active",
            ("createWholeImage",),
            {"seconds": 30.0},
        ),
        Fault("source-started", "effect", "the stopped source server is started while its image is made", ("createWholeImage",)),
        Fault(
            "vault-full",
            "effect",
            "the vault named in the call (or every vault of the caller) is full",
            ("createCheckpoint", "batchUpdateImageMembers", "updateImageMember", "updateBackupMember", "createWholeImage"),
        ),
        Fault(
            "quota-gone",
            "effect",
            "the caller's quota of what the call makes is used up by others",
            ("createWholeImage", "createServers"),
        ),
        Fault("delete-ignored", "effect", "the answer is 204, and the image stays", ("deleteImage",)),
        Fault(
            "backup-fails",
            "effect",
            "the backups of this call end in error, the restore point too",
            ("createCheckpoint",),
            {"code": "BackupService.7101", "reason": "server state forbids a backup"},
        ),
        Fault(
            "leftovers",
            "effect",
            "the creation fails and is not rolled back whole; leave: any of system_disk, data_disks, eip, server (in ERROR)",
            ("createServers",),
            {"code": "Ecs.0405", "leave": ["data_disks"]},
        ),
        Fault(
            "one-fails",
            "effect",
            "of several servers ordered at once the last one is not made; the job ends in FAIL",
            ("createServers",),
            {"code": "Ecs.0219"},
        ),
        Fault(
            "guest-silent",
            "effect",
            "the server becomes ACTIVE and its guest has this profile: dead (never boots), ssh-only, sick, mail (greets at 2525)",
            ("createServers",),
            {"profile": "dead"},
        ),
        Fault(
            "clock-skew",
            "standing",
            "the cloud's clock is so many seconds ahead of (or, negative, behind) everybody's",
            (),
            {"seconds": 3600.0},
        ),
    )
}


@dataclass(slots=True)
class Armed:
    """A fault that waits for its requests."""

    fault: Fault
    operations: frozenset[str]
    project: str | None
    skip: int
    times: int | None
    parameters: Doc
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    struck: int = 0
    memory: Doc = field(default_factory=dict[str, Any])

    def describe(self) -> Doc:
        """As JSON, for whoever armed it."""
        return {
            "id": self.id,
            "name": self.fault.name,
            "operations": sorted(self.operations),
            "project": self.project,
            "skip": self.skip,
            "times": self.times,
            "struck": self.struck,
            **self.parameters,
        }


class Faults:
    """What is armed at the moment."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._armed: list[Armed] = []

    def arm(
        self,
        name: str,
        *,
        operation: str | Sequence[str] | None = None,
        project: str | None = None,
        skip: int = 0,
        times: int | None = 1,
        **parameters: Any,
    ) -> str:
        """Let it go wrong from the next matching request on; returns an id for `disarm`. Unknown names are a ValueError."""
        fault = CATALOGUE.get(name)
        if fault is None:
            raise ValueError(f"no fault {name!r}; there are {', '.join(CATALOGUE)}")
        if unknown := set(parameters) - set(fault.parameters):
            raise ValueError(
                f"fault {name!r} has no {', '.join(sorted(unknown))}; it takes {', '.join(fault.parameters) or 'no parameters'}"
            )
        if skip < 0 or (times is not None and times < 1):
            raise ValueError("skip is at least 0, times at least 1 (or null: until disarmed)")
        named = (operation,) if isinstance(operation, str) else tuple(operation or fault.operations)
        armed = Armed(fault, _expand(named), project, skip, times, {**fault.parameters, **parameters})
        self._armed.append(armed)
        return armed.id

    def disarm(self, which: str | None = None) -> int:
        """Take back one fault (by id), every one of a name, or all of them; returns how many."""
        kept = [armed for armed in self._armed if which is not None and which not in {armed.id, armed.fault.name}]
        gone = len(self._armed) - len(kept)
        self._armed = kept
        return gone

    def list(self) -> list[Doc]:
        """What is armed, as JSON."""
        return [armed.describe() for armed in self._armed]

    def strike(self, operation: Operation, project: str | None) -> list[Armed]:
        """The faults that hit this request; each one's count goes down."""
        struck: list[Armed] = []
        for armed in list(self._armed):
            if armed.fault.stage == "standing" or (armed.operations and operation.id not in armed.operations):
                continue
            if armed.project is not None and armed.project != project:
                continue
            if armed.skip:
                armed.skip -= 1
                continue
            armed.struck += 1
            struck.append(armed)
            if armed.times is not None:
                armed.times -= 1
                if not armed.times:
                    self._armed.remove(armed)
        return struck

    def watching(self, name: str, operation: Operation) -> list[Armed]:
        """Armed faults of that name that look at this operation, struck or not."""
        return [armed for armed in self._armed if armed.fault.name == name and operation.id in armed.operations]

    @property
    def skew(self) -> float:
        """Seconds by which the cloud's clock is wrong."""
        return sum(armed.parameters["seconds"] for armed in self._armed if armed.fault.name == "clock-skew")

    @property
    def listed_until(self) -> str | None:
        """Things created after this moment are not listed yet; None where lists are up to date."""
        late = [armed.parameters["seconds"] for armed in self._armed if armed.fault.name == "late-listing"]
        if not late:
            return None
        return self._cloud.stamp(self._cloud.now() - timedelta(seconds=max(late) / self._cloud.speed))


def _expand(named: tuple[str, ...]) -> frozenset[str]:
    known = operations()
    found: set[str] = set()
    for name in named:
        of_service = {operation.id for operation in known.values() if operation.service == name}
        if not of_service and name not in known:
            raise ValueError(f"no operation or service {name!r} in the contract")
        found |= of_service or {name}
    return frozenset(found)
