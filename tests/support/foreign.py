"""A flow of somebody else on the same Prefect server, with Prefect's own heartbeat: one every three minutes."""

import asyncio

from prefect import flow


@flow
async def somebody_elses_work(seconds: float) -> str:
    """Works without a word."""
    await asyncio.sleep(seconds)
    return "done"
