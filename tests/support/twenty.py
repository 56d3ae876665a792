"""A region of twenty small servers, each with a backup and an image of ours, and a runbook that brings all back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import yaml

from backup_to_image.emulator.sowing import stable_id
from tests.support.region import Region

__all__ = ["GROUPS", "HEALTH", "Helpdesk", "region_of_twenty"]

_PROJECT = "eu-de_shop"
HEALTH = "http://health.shop.example/up"
GROUPS: dict[str, range] = {"database": range(4), "queue": range(4, 8), "application": range(8, 14), "web": range(14, 20)}
"""Which servers each has, by their numbers."""
_STEPS: dict[str, dict[str, Any]] = {
    "database": {"then": [{"http": {"url": HEALTH}, "timeout": "2m"}]},
    "queue": {"before": [{"manual": "Bring the key of the safe"}]},
    "application": {"needs": ["database", "queue"], "before": [{"approve": "Is the data right?"}]},
    "web": {"needs": ["application"], "then": [{"manual": "Switch DNS"}, {"approve": "Is the shop open?"}]},
}


def region_of_twenty(folder: Path, *, state: Path | str = ":memory:", **runbook: Any) -> Region:
    """The region, and its runbook in shop.yaml; sown in a twentieth of a second."""
    region = Region(folder, seed=_seed(), state=state)
    told = {
        "name": "shop",
        "defaults": {"flavor": "s3.medium.1"},
        "drill": {"network": {"vpc": "drills", "subnet": "apart", "security_groups": ["apart-sg"]}},
        "failover": {"network": {"vpc": "net", "subnet": "inside", "security_groups": ["sg"]}},
        "groups": [{"name": name, "servers": [_back(one) for one in GROUPS[name]]} | _STEPS[name] for name in GROUPS],
    }
    (folder / "shop.yaml").write_text(yaml.safe_dump(told | runbook))
    return region


class Helpdesk:
    """Whoever answers HTTP outside of the cloud: the pages that a runbook asks for."""

    def __init__(self) -> None:
        self.troubles = 0
        """So many more answers are not the one that is wanted."""
        self.asked = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """In place of the network; the region itself is asked without one."""

        async def answer(_: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
            assert str(request.url) == HEALTH
            self.asked += 1
            self.troubles -= 1
            return httpx.Response(503 if self.troubles >= 0 else 200, request=request)

        with patch.object(httpx.AsyncHTTPTransport, "handle_async_request", answer):
            yield


def _name(number: int) -> str:
    return f"srv-{number:02d}"


def _back(number: int) -> dict[str, Any]:
    return {"source": _name(number), "probes": [{"console": "login:", "timeout": "1m"}]}


def _seed() -> dict[str, Any]:
    names = [_name(number) for servers in GROUPS.values() for number in servers]
    like = {"flavor": "s3.medium.1", "disks": [10], "network": "inside", "security_groups": ["sg"], "os": "debian"}
    shop = {
        "name": _PROJECT,
        "networks": [
            {"vpc": "net", "cidr": "127.60.0.0/16", "subnets": {"inside": "127.60.1.0/24"}, "security_groups": ["sg"]},
            {"vpc": "drills", "cidr": "127.61.0.0/16", "subnets": {"apart": "127.61.1.0/24"}, "security_groups": ["apart-sg"]},
        ],
        "vaults": [{"name": "vault", "size": 10_000, "servers": ["*"], "nightly": 1}],
        "servers": [{"name": name} | like for name in names],
        "images": [
            {"servers": [name], "days": [1], "tags": {"b2i-source": stable_id("server", _PROJECT, name)}} for name in names
        ],
    }
    friend = {"name": "eu-de_friend", "vaults": [{"name": "friends", "size": 1000}]}
    return {
        "account": {
            "user": "robot",
            "project": _PROJECT,
            "second_project": "eu-de_dr",
            "recipient": {"user": "friend", "project": "eu-de_friend", "vault": "friends"},
        },
        "flavors": {"s3.medium.1": {"vcpus": 1, "ram_gb": 1}},
        "systems": {"debian": {"type": "Linux", "platform": "Debian", "version": "Debian GNU/Linux 12 64bit"}},
        "accounts": [
            {
                "name": "OTC00000000001000000001",
                "users": [{"name": "robot", "password": "Kept-By-Nobody-1"}],
                "projects": [shop, {"name": "eu-de_dr"}],
            },
            {
                "name": "OTC00000000001000000002",
                "users": [{"name": "friend", "password": "Kept-By-Nobody-2"}],
                "projects": [friend],
            },
        ],
    }
