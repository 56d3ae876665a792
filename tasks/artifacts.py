"""What a run leaves under Artifacts: pages for people, JSON for programs and for its own next start."""

from __future__ import annotations

from typing import Literal, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactCreate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.sorting import ArtifactSort
from prefect.runtime import flow_run

__all__ = ["artifact_key", "leave", "left_by", "this_run"]

Left = tuple[Literal["markdown", "json"], str, str, str]
"""Type, key, description, data."""


async def leave(run_id: UUID, *left: Left, task_run_id: UUID | None = None) -> None:
    """Each key has a history, since it is the same in every run."""
    async with get_client() as client:
        for kind, key, description, data in left:
            artifact = ArtifactCreate(
                type=kind, key=key, description=description, data=data, flow_run_id=run_id, task_run_id=task_run_id
            )
            await client.create_artifact(artifact)


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


def artifact_key(policy: str) -> str:
    """As Prefect takes an artifact's key: small letters, digits and dashes."""
    return "".join(char if char.isalnum() and char.isascii() else "-" for char in policy.lower())
