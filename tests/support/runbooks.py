"""Runbooks of a few lines, checked through the front door, and what is looked for in the answer."""

from collections.abc import Mapping
from typing import Any

import yaml

from tests.support.region import Ended, Region

__all__ = ["APP", "DB", "DRILL", "FAILOVER", "WEB", "against", "book", "check", "of", "verdict"]

DRILL = {"network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}}
FAILOVER = {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["shop-sg"]}}
WEB, APP, DB = "shop-web-01", "shop-app-01", "shop-db-01"


def book(region: Region, *servers: str | Mapping[str, Any], **keys: Any) -> str:
    """A runbook with one group of these servers."""
    entries = [one if isinstance(one, Mapping) else {"source": one} for one in servers]
    told = {"name": "shop", "failover": FAILOVER, "groups": [{"name": "all", "servers": entries}]} | keys
    (region.folder / "shop.yaml").write_text(yaml.safe_dump({key: value for key, value in told.items() if value is not None}))
    return "shop.yaml"


def check(region: Region, *servers: str | Mapping[str, Any], words: tuple[str, ...] = (), **keys: Any) -> Ended:
    return region.b2i("runbook", "check", book(region, *servers, **keys), *words)


def of(ended: Ended, source: str) -> dict[str, Any]:
    (found,) = [one for one in ended.told["servers"] if one["source"] == source]
    return found


def verdict(found: Mapping[str, Any], rule: str) -> dict[str, Any]:
    """The check of that rule, of a server or of the set."""
    (check,) = [one for one in found["checks"] if one["rule"] == rule]
    return check


def against(found: Mapping[str, Any]) -> dict[str, str]:
    return {one["rule"]: one["why"] for one in found["checks"] if one["verdict"] == "refused"}
