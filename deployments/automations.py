"""The automations of a Prefect server: killed runs start again, and somebody is told of what failed."""

from __future__ import annotations

from typing import Any, cast

from prefect.client.schemas.objects import BlockDocument
from prefect.events.schemas.automations import AutomationCore

from backup_to_image.cli.prefect_door import ui_link

__all__ = [
    "HEARTBEAT_SECONDS",
    "NOTIFICATION_BLOCK",
    "RETRY_AFTER_SECONDS",
    "notice_automations",
    "notifies",
    "recovery_automations",
    "same_automation",
]

HEARTBEAT_SECONDS = 30
RETRY_AFTER_SECONDS = 60
"""The process worker reports a crash twice, the second time up to 13 s later; a retry in between would be overwritten."""

NOTIFICATION_BLOCK = "b2i-night"
_NOT_BEGUN_MINUTES = 30


def recovery_automations(deployments: list[str]) -> list[AutomationCore]:
    """Runs that fall silent become Crashed, crashed runs start again: for our deployments only."""
    silence = 3 * HEARTBEAT_SECONDS
    return [
        _automation(
            "b2i: a run that fell silent has crashed",
            f"When a run of our deployments sends no heartbeat and no news for {silence} s, worker and run have died together "
            "and the run is marked as Crashed. The next automation then starts it again.",
            deployments,
            after=["prefect.flow-run.heartbeat"],
            expect=["prefect.flow-run.*"],
            within=silence,
            action={
                "type": "change-flow-run-state",
                "state": "CRASHED",
                "name": "Crashed",
                "message": f"No heartbeat for {silence} s: its worker has died, too.",
            },
        ),
        _automation(
            "b2i: a crashed run starts again",
            f"When a run of our deployments has crashed and nothing has started it again within {RETRY_AFTER_SECONDS} s, it goes "
            "back to the work pool and adopts what the first attempt made. A run that was started ten times ends by itself.",
            deployments,
            after=["prefect.flow-run.Crashed"],
            expect=[f"prefect.flow-run.{state}" for state in ("AwaitingRetry", "Scheduled", "Pending", "Running")],
            within=RETRY_AFTER_SECONDS,
            action={
                "type": "change-flow-run-state",
                "state": "SCHEDULED",
                "name": "AwaitingRetry",
                "message": "Started again after a crash.",
            },
        ),
    ]


def notifies(block: BlockDocument) -> bool:
    return block.block_schema is not None and "notify" in block.block_schema.capabilities


def notice_automations(block: BlockDocument, nights: list[str]) -> list[AutomationCore]:
    """One message for a night that failed, for one that no worker has begun, for a deletion that failed; else none."""
    link = f"{ui_link('runs/flow-run/')}{{{{ flow_run.id }}}}"
    failed = AutomationCore.model_validate(
        {
            "name": "b2i: a night failed",
            "description": f"When a night ends as failed or is refused, its summary goes to the block {NOTIFICATION_BLOCK}. "
            "What counts as failed, the policy says (`failed_when`); other nights send nothing.",
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "match": {"prefect.resource.id": "b2i.policy.*", "b2i.outcome": ["failed", "refused"]},
                "for_each": ["prefect.resource.id"],
                "expect": ["b2i.night.finished"],
                "threshold": 1,
                "within": 0,
            },
            "actions": [
                _notice(
                    block,
                    "b2i: {{ event.payload.policy }} {{ event.payload.outcome }}",
                    f"{{{{ event.payload.summary }}}}\n{link}",
                )
            ],
        }
    )
    not_begun = _automation(
        "b2i: a night was not begun",
        f"When no worker has begun a night {_NOT_BEGUN_MINUTES} minutes after its time, the block {NOTIFICATION_BLOCK} says so.",
        nights,
        after=["prefect.flow-run.Late", "prefect.flow-run.AwaitingRetry"],
        expect=[f"prefect.flow-run.{state}" for state in ("Pending", "Running", "Cancelled")],
        within=_NOT_BEGUN_MINUTES * 60,
        action=_notice(
            block,
            "b2i: {{ flow_run.name }} was not begun",
            f"No worker has begun the {{{{ flow_run.name }}}} ({{{{ deployment.name }}}}). Is one running?\n{link}",
        ),
    )
    left = AutomationCore.model_validate(
        {
            "name": "b2i: a sweep or a retention failed",
            "description": f"When something that was to go is left, or nothing could be looked at, {NOTIFICATION_BLOCK} says so: "
            "a share whose day has come is ended by the sweep alone. Other runs send nothing.",
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "match": {"prefect.resource.id": ["b2i.sweep", "b2i.policy.*"], "b2i.outcome": ["failed", "partly"]},
                "for_each": ["prefect.resource.id"],
                "expect": ["b2i.sweep.finished", "b2i.retention.finished"],
                "threshold": 1,
                "within": 0,
            },
            "actions": [
                _notice(block, "b2i: {{ flow_run.name }} {{ event.payload.outcome }}", f"{{{{ event.payload.summary }}}}\n{link}")
            ],
        }
    )
    return [failed, not_begun, left]


def _notice(block: BlockDocument, subject: str, body: str) -> dict[str, str]:
    return {"type": "send-notification", "block_document_id": str(block.id), "subject": subject, "body": body}


def _automation(
    name: str,
    description: str,
    deployments: list[str],
    *,
    after: list[str],
    expect: list[str],
    within: int,
    action: dict[str, str],
) -> AutomationCore:
    return AutomationCore.model_validate(
        {
            "name": name,
            "description": description,
            "trigger": {
                "type": "event",
                "posture": "Proactive",
                "match": {"prefect.resource.id": "prefect.flow-run.*"},
                "match_related": {
                    "prefect.resource.id": [f"prefect.deployment.{ident}" for ident in sorted(deployments)],
                    "prefect.resource.role": "deployment",
                },
                "for_each": ["prefect.resource.id"],
                "after": after,
                "expect": expect,
                "threshold": 1,
                "within": within,
            },
            "actions": [action],
        }
    )


def same_automation(wanted: AutomationCore, there: AutomationCore) -> bool:
    keep = {"name", "description", "trigger", "actions"}
    return _plain(wanted.model_dump(mode="json", include=keep)) == _plain(there.model_dump(mode="json", include=keep))


def _plain(value: Any) -> Any:
    """JSON with what has no order put in order."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return sorted((_plain(one) for one in cast("list[Any]", value)), key=str)
    return value
