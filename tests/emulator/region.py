"""A region as a client sees it: logged in, every answer held against the contract, time that passes when told to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from backup_to_image.clock import FakeClock
from backup_to_image.emulator import Emulator

from .conftest import CheckingTransport

__all__ = ["Region", "region", "small_company"]


class Region:
    """One emulator, one user; `get`, `post` and `delete` take a service and a path in which {p} is the project."""

    def __init__(self, emulator: Emulator, clock: FakeClock, client: httpx.AsyncClient) -> None:
        self.emulator, self.clock, self.client = emulator, clock, client
        self.account = emulator.account()
        self.project: str = self.account["project_id"]
        self.token = ""

    async def log_in(self, who: dict[str, Any] | None = None) -> None:
        who = who or self.account
        user = {"name": who["user"], "password": who["password"], "domain": {"name": who["domain_name"]}}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"id": who["project_id"]}},
            }
        }
        answer = await self.client.post(self.account["auth_url"] + "/auth/tokens", json=body)
        self.token, self.project = answer.headers["X-Subject-Token"], who["project_id"]

    async def ask(self, method: str, service: str, path: str, body: Any = None, **query: Any) -> httpx.Response:
        real = path.format(p=self.project)
        return await self.client.request(
            method,
            self.account["endpoints"][service] + real,
            json=body,
            params=query or None,
            headers={"X-Auth-Token": self.token},
        )

    async def get(self, service: str, path: str, **query: Any) -> Any:
        answer = await self.ask("GET", service, path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, service: str, path: str, body: Any) -> Any:
        answer = await self.ask("POST", service, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, service: str, path: str, body: Any = None, **query: Any) -> tuple[int, str]:
        answer = await self.ask(method, service, path, body, **query)
        told = answer.json()
        return answer.status_code, told["code"] if "code" in told else told["error"]["code"]

    # -- things that many tests need ----------------------------------------------------------------------------------

    async def whole_image(self, backup: str | None = None, name: str = "image") -> str:
        """A full-ECS image, Normal, made of that backup (default: the shop's first web server, 40 and 100 GB)."""
        order = {"name": name, "backup_id": backup or self.account["backups"]["available"][0], "whole_image_type": "CBR"}
        job = await self.post("ims", "/v1/cloudimages/wholeimages/action", order)
        self.clock.advance(300)
        return (await self.get("ims", f"/v1/{{p}}/jobs/{job['job_id']}"))["entities"]["image_id"]

    def order(self, **changes: Any) -> dict[str, Any]:
        """A launch order with everything mandatory; None takes a part away."""
        account = self.account
        server = {
            "name": "drill-web01",
            "imageRef": account["image_public"],
            "flavorRef": account["flavor"],
            "vpcid": account["vpc"],
            "nics": [{"subnet_id": account["subnet"]}],
            "root_volume": {"volumetype": "SSD"},
            **changes,
        }
        return {"server": {name: value for name, value in server.items() if value is not None}}

    async def launch(self, **changes: Any) -> dict[str, Any]:
        """Order a server; the answer with job_id and serverIds."""
        return await self.post("ecs", "/v1/{p}/cloudservers", self.order(**changes))

    async def launched(self, **changes: Any) -> str:
        """Order a server and let the time pass until its guest is up; its id."""
        taken = await self.launch(**changes)
        await self.pass_time(60)
        await self.pass_time(15)
        return taken["serverIds"][0]

    async def launch_refused(self, **changes: Any) -> tuple[int, str]:
        return await self.refused("POST", "ecs", "/v1/{p}/cloudservers", self.order(**changes))

    async def server(self, server_id: str) -> dict[str, Any]:
        return (await self.get("ecs", f"/v1/{{p}}/cloudservers/{server_id}"))["server"]

    async def job(self, job_id: str) -> dict[str, Any]:
        return await self.get("ecs", f"/v1/{{p}}/jobs/{job_id}")

    async def act(self, action: str, *server_ids: str, **more: Any) -> dict[str, Any]:
        return await self.post(
            "ecs", "/v1/{p}/cloudservers/action", {action: {"servers": [{"id": one} for one in server_ids], **more}}
        )

    async def delete_server(self, server_id: str, **more: Any) -> dict[str, Any]:
        return await self.post("ecs", "/v1/{p}/cloudservers/delete", {"servers": [{"id": server_id}], **more})

    async def volumes(self, **query: Any) -> list[dict[str, Any]]:
        return (await self.get("evs", "/v2/{p}/cloudvolumes/detail", **query))["volumes"]

    async def publicips(self) -> list[dict[str, Any]]:
        return (await self.get("eip", "/v1/{p}/publicips"))["publicips"]

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.emulator.settle()

    def private_address(self, server: dict[str, Any]) -> str:
        return next(nic["addr"] for nic in next(iter(server["addresses"].values())) if nic["OS-EXT-IPS:type"] == "fixed")


@contextlib.asynccontextmanager
async def region(**settings: Any) -> AsyncIterator[Region]:
    """A fresh region on a fake clock, closed with its guests."""
    clock = settings.pop("clock", None) or FakeClock()
    switches = settings.pop("switches", {})
    emulator = Emulator(clock=clock, **settings)
    emulator.switches.update(**switches)
    async with httpx.AsyncClient(transport=CheckingTransport(emulator.transport(), emulator.cloud.first_port)) as client:
        place = Region(emulator, clock, client)
        await place.log_in()
        try:
            yield place
        finally:
            await emulator.aclose()


def small_company(**project: Any) -> dict[str, Any]:
    """One project with one network, one small server, and whatever a test adds."""
    return {
        "account": {
            "user": "robot",
            "project": "eu-de_small",
            "vpc": "net",
            "subnet": "subnet",
            "flavor": "s3.large.2",
            "image_public": "Ubuntu",
            "recipient": {"user": "robot", "project": "eu-de_small", "vault": "vault"},
        },
        "flavors": {"s3.large.2": {"vcpus": 2, "ram_gb": 4}},
        "systems": {"ubuntu": {"type": "Linux", "platform": "Ubuntu", "version": "Ubuntu 22.04 server 64bit"}},
        "public_images": {"Ubuntu": {"os": "ubuntu", "min_disk": 8}},
        "accounts": [
            {
                "name": "OTC0001",
                "users": [{"name": "robot", "password": "Robot-2026"}],
                "projects": [
                    {
                        "name": "eu-de_small",
                        "networks": [{"vpc": "net", "cidr": "127.60.0.0/16", "subnets": {"subnet": "127.60.1.0/24"}}],
                        "servers": [{"name": "one", "flavor": "s3.large.2", "disks": [20], "network": "subnet"}],
                        "vaults": [{"name": "vault", "size": 1000}],
                        **project,
                    }
                ],
            }
        ],
    }
