"""What others would write for the same night, side by side with ours: a script, a thread for each server, a flow run for each.

Each makes the newest backup of every server an image and waits until it is active: no journal, no adoption, no report. They know
that the cloud takes 40 image tasks at a time.

    python -m benchmarks.night_rivals script|threads|runs         with OS_* naming the region
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

AT_ONCE = 40
EVERY = 10.0
"""Seconds between looks at a job: what Terraform's provider does (MinTimeout of its job waiter)."""


@dataclass(frozen=True)
class Region:
    """Where to ask, and with which token."""

    ims: str
    cbr: str
    project: str
    headers: dict[str, str]

    @property
    def backups(self) -> str:
        return f"{self.cbr}/backups?resource_type=OS::Nova::Server&limit=1000"

    def order(self, backup: dict[str, Any]) -> dict[str, Any]:
        return {"name": f"{backup['resource_name']}-rival", "backup_id": backup["id"], "whole_image_type": "CBR"}

    def job(self, ident: str) -> str:
        return f"{self.ims}/v1/{self.project}/jobs/{ident}"


def log_in() -> Region:
    """One token, and the endpoints of its catalog."""
    domain = {"name": os.environ["OS_USER_DOMAIN_NAME"]}
    user = {"name": os.environ["OS_USERNAME"], "password": os.environ["OS_PASSWORD"], "domain": domain}
    project = os.environ["OS_PROJECT_ID"]
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": {"project": {"id": project}}}}
    answer = httpx.post(f"{os.environ['OS_AUTH_URL']}/auth/tokens", json=body, trust_env=False)
    at = {entry["type"]: entry["endpoints"][0]["url"] for entry in answer.json()["token"]["catalog"] if entry["endpoints"]}
    origin = {kind: "/".join(at[kind].split("/")[:3]) for kind in ("image", "cbr")}
    token = {"X-Auth-Token": answer.headers["X-Subject-Token"]}
    return Region(origin["image"], f"{origin['cbr']}/v3/{project}", project, token)


def all_backups(region: Region) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    query = region.backups
    while True:
        page = httpx.get(query, headers=region.headers, trust_env=False).json()["backups"]
        found += page
        if len(page) < 1000:
            return found
        query = f"{region.backups}&marker={page[-1]['id']}"


# -- asyncio + httpx ----------------------------------------------------------------------------------------------------


async def script() -> None:
    """An evening's work: a semaphore, and each job asked every ten seconds."""
    region = log_in()
    gate = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(headers=region.headers, trust_env=False, timeout=60) as client:

        async def one(backup: dict[str, Any]) -> None:
            async with gate:
                asked = await client.post(f"{region.ims}/v1/cloudimages/wholeimages/action", json=region.order(backup))
                job = region.job(asked.raise_for_status().json()["job_id"])
                while (await client.get(job)).json()["status"] in {"INIT", "RUNNING"}:  # noqa: ASYNC110 - that is the point
                    await asyncio.sleep(EVERY)

        await asyncio.gather(*(one(backup) for backup in all_backups(region)))


# -- a thread for each server -------------------------------------------------------------------------------------------


def one_by_thread(region: Region, client: httpx.Client, backup: dict[str, Any]) -> None:
    asked = client.post(f"{region.ims}/v1/cloudimages/wholeimages/action", json=region.order(backup))
    job = region.job(asked.raise_for_status().json()["job_id"])
    while client.get(job).json()["status"] in {"INIT", "RUNNING"}:
        time.sleep(EVERY)


def threads() -> None:
    region = log_in()
    limits = httpx.Limits(max_connections=AT_ONCE)
    with (
        httpx.Client(headers=region.headers, trust_env=False, timeout=60, limits=limits) as client,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        list(pool.map(lambda backup: one_by_thread(region, client, backup), all_backups(region)))


# -- a flow run for each server -----------------------------------------------------------------------------------------


def runs() -> None:
    """A parent flow, a subflow for each server, three tasks in it: what Prefect's own pages suggest."""
    from prefect import flow, task  # noqa: PLC0415 - the other two are not to pay for it

    region = log_in()
    gate = asyncio.Semaphore(AT_ONCE)

    @task
    async def check(backup: dict[str, Any]) -> bool:
        async with httpx.AsyncClient(headers=region.headers, trust_env=False) as client:
            found = (await client.get(f"{region.cbr}/backups/{backup['id']}")).json()["backup"]
        return bool(found["status"] == "available")

    @task
    async def create(backup: dict[str, Any]) -> str:
        async with httpx.AsyncClient(headers=region.headers, trust_env=False) as client:
            asked = await client.post(f"{region.ims}/v1/cloudimages/wholeimages/action", json=region.order(backup))
        ident: str = asked.raise_for_status().json()["job_id"]
        return ident

    @task
    async def wait(job_id: str) -> None:
        async with httpx.AsyncClient(headers=region.headers, trust_env=False) as client:
            while (await client.get(region.job(job_id))).json()["status"] in {"INIT", "RUNNING"}:  # noqa: ASYNC110 - so it is written
                await asyncio.sleep(EVERY)

    @flow(name="image-of-one-server")
    async def one(backup: dict[str, Any]) -> None:
        if await check(backup):
            await wait(await create(backup))

    @flow(name="night-of-subflows")
    async def night() -> None:
        async def in_turn(backup: dict[str, Any]) -> None:
            async with gate:
                await one(backup)

        await asyncio.gather(*(in_turn(backup) for backup in all_backups(region)))

    asyncio.run(night())


if __name__ == "__main__":
    way = sys.argv[1]
    if way == "script":
        asyncio.run(script())
    elif way == "threads":
        threads()
    else:
        runs()
