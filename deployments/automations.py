"""The automations of a Prefect server: killed runs start again, and somebody is told of what failed."""

from __future__ import annotations

from typing import Any, cast

from prefect.blocks.fields import SecretDict
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.objects import BlockDocument
from prefect.events.schemas.automations import AutomationCore

from backup_to_image.cli.prefect_door import ui_link

__all__ = [
    "HEARTBEAT_SECONDS",
    "NOTIFICATION_BLOCK",
    "RETRY_AFTER_SECONDS",
    "WEBHOOK_VARIABLE",
    "notice_automations",
    "notifies",
    "recovery_automations",
    "same_automation",
    "webhook",
]

HEARTBEAT_SECONDS = 30
RETRY_AFTER_SECONDS = 60
"""The process worker reports a crash twice, the second time up to 13 s later; a retry in between would be overwritten."""

NOTIFICATION_BLOCK = "b2i-night"
WEBHOOK_VARIABLE = "B2I_NOTIFY_WEBHOOK"
_NOT_FAILED = ["adopted", "checked", "made", "partly", "still_running"]
"""Of a night that failed somebody is told anyway, and once is enough."""
_GOES_ON = ("Resuming", "Scheduled", "AwaitingRetry", "Pending", "Running", "Cancelling", "Cancelled", "Completed", "Failed")
_NOT_BEGUN_MINUTES = 30
_UNANSWERED_MINUTES = 30


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


def webhook(address: str) -> CustomWebhookNotificationBlock:
    """A block that sends `{"text": ...}` there, as Slack, Mattermost and Rocket.Chat take it. The address is a secret."""
    return CustomWebhookNotificationBlock.model_validate(
        {
            "name": "backup-to-image",
            "url": "{{address}}",
            "json_data": {"text": "{{subject}}\n{{body}}"},
            "secrets": SecretDict({"address": address}),
        }
    )


def notifies(block: BlockDocument) -> bool:
    return block.block_schema is not None and "notify" in block.block_schema.capabilities


def notice_automations(block: BlockDocument, nights: list[str], recoveries: list[str]) -> list[AutomationCore]:
    """What somebody is told of: failed nights and deletions, servers whose state is too old, what runbooks ask, and their end."""
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
    too_old = AutomationCore.model_validate(
        {
            "name": "b2i: a recovery point is too old",
            "description": f"When servers would come back with an older state than their policy or runbook allows, "
            f"{NOTIFICATION_BLOCK} says which, and how old: after a night that did not fail, and after a look at a runbook.",
            "trigger": {
                "type": "event",
                "posture": "Reactive",
                "match": {"prefect.resource.id": ["b2i.policy.*", "b2i.runbook.*"], "b2i.outcome": _NOT_FAILED},
                "for_each": ["prefect.resource.id"],
                "expect": ["b2i.rpo.breached"],
                "threshold": 1,
                "within": 0,
            },
            "actions": [_notice(block, "b2i: {{ event.resource.name }}", f"{{{{ event.payload.summary }}}}\n{link}")],
        }
    )
    return [failed, *([not_begun] if nights else []), left, too_old, *_runbook_notices(block, link, recoveries)]


def _runbook_notices(block: BlockDocument, link: str, recoveries: list[str]) -> list[AutomationCore]:
    """For each thing that a runbook asks, once more where nobody answers, and for its end, with the hash of its evidence."""

    def notice(name: str, description: str, event: str, subject: str, body: str) -> AutomationCore:
        return AutomationCore.model_validate(
            {
                "name": name,
                "description": description,
                "trigger": {
                    "type": "event",
                    "posture": "Reactive",
                    "match": {"prefect.resource.id": "b2i.runbook.*"},
                    "for_each": ["prefect.resource.id"],
                    "expect": [event],
                    "threshold": 1,
                    "within": 0,
                },
                "actions": [_notice(block, subject, body)],
            }
        )

    unanswered = _automation(
        "b2i: an approval waits too long",
        f"When a drill or a failover has been suspended for {_UNANSWERED_MINUTES} minutes and nobody has answered, "
        f"{NOTIFICATION_BLOCK} says so. A recovery stands still for as long.",
        recoveries,
        after=["prefect.flow-run.Suspended"],
        expect=[f"prefect.flow-run.{state}" for state in _GOES_ON],
        within=_UNANSWERED_MINUTES * 60,
        action=_notice(
            block,
            "b2i: {{ flow_run.name }} still waits for an answer",
            f"Nobody has answered the {{{{ flow_run.name }}}} for {_UNANSWERED_MINUTES} minutes: Resume in the run's menu, or "
            f"`b2i runbook approve`.\n{link}",
        ),
    )
    return [
        *([unanswered] if recoveries else []),
        notice(
            "b2i: a runbook asks",
            f"When a run of a runbook is suspended until somebody answers, {NOTIFICATION_BLOCK} says what, and until when.",
            "b2i.runbook.asks",
            "b2i: {{ event.payload.run }} asks",
            f"{{{{ event.resource.name }}}}\nUntil {{{{ event.payload.until }}}}: Resume in the run's menu.\n{link}",
        ),
        notice(
            "b2i: a runbook has ended",
            f"When a drill or a failover has ended, {NOTIFICATION_BLOCK} says how, with the hash of its evidence: keep that.",
            "b2i.runbook.finished",
            "b2i: {{ event.payload.run }} {{ event.payload.outcome }}",
            f"{{{{ event.payload.summary }}}}\nEvidence: {{{{ event.payload.evidence }}}}, "
            f"sha256 {{{{ event.payload.sha256 }}}}\n{link}",
        ),
    ]


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
