"""What a night is measured against: an emulated region with a large fleet and an old account, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

__all__ = ["AT_ONCE", "OLDER", "Account", "Fleet", "bound"]

AT_ONCE = 40
"""Image tasks that the emulated cloud works on at a time."""
OLDER = 10_000
_B2I = [str(Path(sys.executable).with_name("b2i"))]


@dataclass(frozen=True)
class Account:
    """What a client needs."""

    told: dict[str, Any]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "OS_AUTH_URL": self.told["auth_url"],
            "OS_USERNAME": self.told["user"],
            "OS_PASSWORD": self.told["password"],
            "OS_USER_DOMAIN_NAME": self.told["domain_name"],
            "OS_PROJECT_ID": self.told["project_id"],
            "OS_REGION_NAME": self.told["region"],
        }


class Fleet:
    """A region with so many servers, each with the backup of last night and the night before, and ten thousand older images.

    `speed` 6: an image takes 15 to 25 seconds, 20 in the mean.
    """

    def __init__(self, servers: int, folder: Path, *, speed: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.servers = servers
        seed = folder / "seed.yaml"
        seed.write_text(yaml.safe_dump(_company(servers)))
        words = ["emulator", "--port", "0", "--speed", str(speed), "--seed", str(seed), "--json"]
        self._noise = (folder / "emulator.log").open("w", encoding="utf-8")
        self.process = subprocess.Popen([*_B2I, *words], stdout=subprocess.PIPE, stderr=self._noise, text=True)
        assert self.process.stdout is not None
        self.account = Account(json.loads(self.process.stdout.readline()))
        self._http = httpx.Client(trust_env=False, timeout=300)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self.process.terminate()
        self.process.wait(30)
        self._noise.close()

    def requests(self) -> list[dict[str, Any]]:
        """Everything that was asked, in order."""
        log = f"{self.account.told['endpoints']['iam']}/_emulator/requests"
        found: list[dict[str, Any]] = self._http.get(log).json()["requests"]
        return found

    def images(self, since: datetime) -> list[dict[str, Any]]:
        """The images that were made since then, as the cloud lists them."""
        token = self._http.post(f"{self.account.told['auth_url']}/auth/tokens", json=self._log_in()).headers["X-Subject-Token"]
        url = f"{self.account.told['endpoints']['ims']}/v2/cloudimages"
        query = {"__whole_image": "true", "limit": "500", "created_at": f"gte:{since:%Y-%m-%dT%H:%M:%SZ}"}
        found: list[dict[str, Any]] = []
        while True:
            page = self._http.get(url, params=query, headers={"X-Auth-Token": token}).json()["images"]
            found += page
            if len(page) < 500:
                return found
            query["marker"] = page[-1]["id"]

    def _log_in(self) -> dict[str, Any]:
        told = self.account.told
        user = {"name": told["user"], "password": told["password"], "domain": {"name": told["domain_name"]}}
        identity = {"methods": ["password"], "password": {"user": user}}
        return {"auth": {"identity": identity, "scope": {"project": {"id": told["project_id"]}}}}


def bound(images: list[dict[str, Any]]) -> float:
    """Seconds that the cloud needs for these images, so many at a time, with no client at all."""
    seconds = [(_moment(one["updated_at"]) - _moment(one["created_at"])).total_seconds() for one in images]
    return sum(seconds) / AT_ONCE


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _company(servers: int) -> dict[str, Any]:
    like = {"flavor": "s3.large.2", "disks": [40], "network": "net", "security_groups": ["sg"], "os": "debian"}
    fleet = [{"name": f"srv-{number:04d}"} | like for number in range(servers)]
    quota = {"images": OLDER + 3 * servers + 100, "instances": 10_000, "volumes": 50_000, "cores": 100_000, "ram": 100_000_000}
    company = {
        "name": "eu-de_fleet",
        "quota": quota,
        "networks": [
            {"vpc": "vpc", "cidr": "127.60.0.0/16", "subnets": {"net": "127.60.0.0/17"}, "security_groups": ["sg"]},
            {"vpc": "drill", "cidr": "127.61.0.0/16", "subnets": {"drill": "127.61.0.0/17"}, "security_groups": ["drill"]},
        ],
        "vaults": [{"name": "vault", "size": 10_000_000, "servers": ["*"], "nightly": 1}],
        "servers": fleet,
        "older_images": OLDER,
    }
    friend = {"name": "eu-de_friend", "vaults": [{"name": "friends", "size": 1000}]}
    return {
        "account": {
            "user": "robot",
            "project": "eu-de_fleet",
            "recipient": {"user": "friend", "project": "eu-de_friend", "vault": "friends"},
        },
        "flavors": {"s3.large.2": {"vcpus": 2, "ram_gb": 4}},
        "systems": {"debian": {"type": "Linux", "platform": "Debian", "version": "Debian GNU/Linux 12 64bit"}},
        "accounts": [
            {
                "name": "OTC00000000001000000001",
                "users": [{"name": "robot", "password": "Measured-2026"}],
                "projects": [company],
            },
            {
                "name": "OTC00000000001000000002",
                "users": [{"name": "friend", "password": "Measured-2026"}],
                "projects": [friend],
            },
        ],
    }
