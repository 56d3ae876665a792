"""What a run leaves under Artifacts: pages for people, JSON for programs and for its own next start."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Literal, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from backup_to_image.blocks import OtcProject
from backup_to_image.console import Console
from backup_to_image.errors import B2iError

__all__ = ["Left", "artifact_key", "console_of_this_run", "history_key", "leave", "left_by", "this_run"]

Left = tuple[Literal["markdown", "json"], str, str, str]
"""Type, key, description, data."""
_AT_ONCE = 8
"""Of a thousand servers' entries."""
_OF_COMMANDS = {"runbook-check", "runbook-drill", "runbook-failover", "runbook-report", "runbook-asks"}


async def leave(run_id: UUID | None, *left: Left, task_run_id: UUID | None = None) -> None:
    """Each key has a history, since it is the same in every run. Without a run they are on the page of their task alone."""
    async with get_client() as client:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(kind: Literal["markdown", "json"], key: str, description: str, data: str) -> None:
            artifact = ArtifactCreate(
                type=kind, key=key, description=description, data=data, flow_run_id=run_id, task_run_id=task_run_id
            )
            async with turn:
                await client.create_artifact(artifact)

        await asyncio.gather(*(one(*each) for each in left))


async def left_by(run_id: UUID, key: str, *, newest: bool = False) -> str | None:
    """The first that a run has left under a key, however often it was started since; or the last."""
    of_it = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[key]))
    async with get_client() as client:
        found = await client.read_artifacts(artifact_filter=of_it, sort=ArtifactSort.CREATED_DESC, limit=200)
    return str(found[0 if newest else -1].data) if found else None


def this_run() -> UUID | None:
    """The run that this is part of."""
    ident = cast("str | None", flow_run.id)
    return UUID(ident) if ident else None


def console_of_this_run() -> Console:
    """Where links of this run's pages lead: into its project's region; nowhere where the settings are wrong, as others tell."""
    context = FlowRunContext.get()
    project = (context.parameters or {}).get("project") if context else None
    try:
        return project.console() if isinstance(project, OtcProject) else Console()
    except B2iError:
        return Console()


def history_key(kind: Literal["server", "runbook"], name: str) -> str:
    """The key under which whatever befalls one server, or one runbook, stands in a row.

    Two names never share one: where a key cannot spell the name, or is that of a command's pages, digits of its hash follow.
    """
    key = f"{kind}-{artifact_key(name)}"
    if artifact_key(name) == name and key not in _OF_COMMANDS:
        return key
    return f"{key.rstrip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def artifact_key(policy: str) -> str:
    """As Prefect takes an artifact's key: small letters, digits and dashes."""
    return "".join(char if char.isalnum() and char.isascii() else "-" for char in policy.lower())
