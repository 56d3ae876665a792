"""What happened, as events that automations can act on.

The key fact stands in the resource's name, since the event feed shows that and hides the payload. What each payload holds is
declared in `backup_to_image.model.events`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

from prefect.events import emit_event

from backup_to_image.errors import Refused
from backup_to_image.model import ChangeDelivery, Image, LaunchDelivery, Teardown
from backup_to_image.model.board import TooOld
from backup_to_image.model.events import (
    DeletionFinished,
    Event,
    ImageMade,
    ImageMembers,
    LaunchRemoved,
    NightFinished,
    OfferAnswered,
    OrderRefused,
    OrderTold,
    OsChanged,
    RpoBreached,
    RunbookAsks,
    RunbookFinished,
    ServerLaunched,
)
from backup_to_image.model.night import NightReport
from backup_to_image.model.recovery import Question, RunbookRun
from backup_to_image.steps.await_image import FinishedImage
from backup_to_image.steps.board import age
from backup_to_image.steps.make import ImageHandle
from backup_to_image.steps.reconcile import Reconciled
from backup_to_image.steps.sharing.offers import Answered

__all__ = [
    "deletion_finished",
    "image_ready",
    "image_refused",
    "image_shared",
    "image_taken_back",
    "launch_gone",
    "night_finished",
    "offer_answered",
    "order_refused",
    "order_told",
    "os_changed",
    "rpo_breached",
    "runbook_asks",
    "runbook_finished",
    "server_launched",
]

_LONGEST_NAME = 250


def image_ready(handle: ImageHandle, finished: FinishedImage) -> None:
    """`b2i.image.created`, or `b2i.image.adopted` where it was there or under way before this run."""
    image = finished.image
    what = "adopted" if finished.adopted else "created"
    _emit(
        f"b2i.image.{what}",
        f"b2i.image.{image.id}",
        f"{image.name} from backup {handle.backup.id}",
        ImageMade(image_id=image.id, backup_id=handle.backup.id, job_id=finished.job_id, doubtful=finished.doubtful),
    )


def image_shared(image: Image, projects: tuple[str, ...]) -> None:
    """`b2i.image.shared`, with the projects that are members now."""
    count = f"{len(projects)} project{'s' if len(projects) != 1 else ''}"
    _emit("b2i.image.shared", f"b2i.image.{image.id}", f"{image.name} with {count}", ImageMembers(projects=projects))


def image_taken_back(image: Image, projects: tuple[str, ...]) -> None:
    """`b2i.image.unshared`, with the projects that are members no more."""
    count = f"{len(projects)} project{'s' if len(projects) != 1 else ''}"
    _emit("b2i.image.unshared", f"b2i.image.{image.id}", f"{image.name} from {count}", ImageMembers(projects=projects))


def offer_answered(answered: Answered) -> None:
    """`b2i.offer.accepted` or `b2i.offer.rejected`, by the recipient."""
    image = answered.image
    told = OfferAnswered(image_id=image.id, sender=image.owner, vault_id=answered.vault_id, adopted=answered.adopted)
    _emit(f"b2i.offer.{answered.state}", f"b2i.image.{image.id}", f"{image.name} of {image.owner}", told)


def launch_gone(done: Teardown) -> None:
    """`b2i.launch.gone`, or `b2i.launch.left` where something stays and is billed."""
    what = "left" if done.left_behind else "gone"
    told = LaunchRemoved(servers=done.servers, disks=done.disks, left_behind=done.left_behind)
    _emit(f"b2i.launch.{what}", f"b2i.launch.{done.launch_id}", ", ".join(done.left_behind) or "nothing is left", told)


def os_changed(done: ChangeDelivery) -> None:
    """`b2i.server.changed`, with the image that its system disk is of now."""
    told = OsChanged(image_id=done.image_id, system_disk_id=done.system_disk_id, outcome=done.outcome)
    _emit("b2i.server.changed", f"b2i.server.{done.server_id}", f"{done.server_name} to {done.image_id}", told)


def server_launched(launched: LaunchDelivery) -> None:
    """`b2i.server.launched`, or `b2i.server.adopted`; whether the probes answered stands in the name."""
    silent = not all(probe.ok for probe in launched.probes)
    probes = "not probed" if not launched.probed else "probes failed" if silent else "probes answered"
    _emit(
        "b2i.server.adopted" if launched.adopted else "b2i.server.launched",
        f"b2i.launch.{launched.launch_id}",
        f"{', '.join(launched.server_names) or launched.order_name}, {probes}",
        ServerLaunched(server_ids=launched.server_ids, image_id=launched.image_id, addresses=launched.addresses),
    )


def night_finished(policy: str, report: NightReport | None, words: str, *, outcome: str = "") -> None:
    """`b2i.night.finished`, once for each night. Its label `b2i.outcome` is what notifications look at."""
    outcome = report.outcome if report else outcome
    counted = Counter(one.outcome for one in report.servers) if report else Counter[str]()
    night, requests = (report.night, report.requests) if report else (None, 0)
    told = NightFinished(policy=policy, outcome=outcome, night=night, summary=words, counts=dict(counted), requests=requests)
    _emit("b2i.night.finished", f"b2i.policy.{policy}", f"{policy}: {words}", told, outcome=outcome)


def rpo_breached(
    of: Literal["policy", "runbook"], name: str, allowed: timedelta, servers: Sequence[TooOld], *, outcome: str = "checked"
) -> None:
    """`b2i.rpo.breached`, where there is such a server."""
    if not servers:
        return
    old = ["no good image" if one.age_s is None else age(timedelta(seconds=one.age_s)) for one in servers]
    which = ", ".join(f"{one.server_name} ({how})" for one, how in zip(servers, old, strict=True))
    told = RpoBreached(
        policy=name if of == "policy" else None,
        runbook=name if of == "runbook" else None,
        allowed_s=round(allowed.total_seconds()),
        servers=tuple(servers),
        summary=f"too old to come back with: {which}; {age(allowed)} are allowed",
    )
    _emit("b2i.rpo.breached", f"b2i.{of}.{name}", f"{name}: {told.summary}", told, outcome=outcome)


def runbook_asks(run: RunbookRun, question: Question) -> None:
    """`b2i.runbook.asks`: somebody has to answer, and the run is suspended until then."""
    told = RunbookAsks(run=run.id, mode=run.mode, group=question.group, about=question.about, until=question.until)
    _emit("b2i.runbook.asks", f"b2i.runbook.{run.runbook}", f"{run.runbook}, {question.group}: {question.words}", told)


def runbook_finished(run: RunbookRun, words: str) -> None:
    """`b2i.runbook.finished`, with the label `b2i.outcome`, and the hash of its evidence, to be kept elsewhere."""
    told = RunbookFinished(
        run=run.id,
        mode=run.mode,
        outcome=run.outcome,
        left_behind=run.left_behind,
        evidence=run.evidence,
        sha256=run.evidence_sha256,
        summary=words,
    )
    _emit("b2i.runbook.finished", f"b2i.runbook.{run.runbook}", words, told, outcome=run.outcome or "")


def deletion_finished(what: Literal["sweep", "retention"], policy: str, outcome: str, words: str) -> None:
    """`b2i.sweep.finished`, and `b2i.retention.finished` of a policy, with the label `b2i.outcome`.

    It is done, partly, still_running or failed.
    """
    about, named = (f"b2i.policy.{policy}", f"{policy}: {words}") if policy else ("b2i.sweep", words)
    told = DeletionFinished(policy=policy or None, outcome=outcome, summary=words)
    _emit(f"b2i.{what}.finished", about, named, told, outcome=outcome)


def order_told(order: Reconciled) -> None:
    """`b2i.order.finished` or `b2i.order.failed` for what the reconciler closed; `b2i.order.overdue`, once, for what is late."""
    what = order.outcome if order.outcome in {"finished", "failed"} else "overdue"
    name = f"{order.verb} {order.subject}: {order.words}"
    told = OrderTold(outcome=order.outcome, deadline=order.deadline, run_id=order.run_id, ids=order.ids)
    _emit(f"b2i.order.{what}", f"b2i.order.{order.subject.replace(' ', '.')}", name, told)


def image_refused(refusal: Refused) -> None:
    """`b2i.image.refused`, with every reason."""
    order_refused("image", refusal)


def order_refused(verb: str, refusal: Refused) -> None:
    """`b2i.share.refused`, `b2i.launch.refused` and so on, with every reason."""
    rules = ", ".join(dict.fromkeys(check.rule for check in refusal.report.refusals))
    subject, told = refusal.report.subject, OrderRefused(reasons=refusal.report.refusals)
    _emit(f"b2i.{verb}.refused", f"b2i.order.{subject.replace(' ', '.')}", f"{subject}: {rules}", told)


def _emit(event: str, about: str, name: str, told: Event, *, outcome: str | None = None) -> None:
    resource = {"prefect.resource.id": about, "prefect.resource.name": name[:_LONGEST_NAME]}
    if outcome is not None:
        resource["b2i.outcome"] = outcome
    emit_event(event, resource=resource, payload=told.payload())
