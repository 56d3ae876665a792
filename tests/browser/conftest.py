"""One installation that people look at with a browser: server, worker, emulated cloud, a policy and a runbook."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support.browser import open_browser
from tests.support.debian import from_debian
from tests.support.house import House, open_house
from tests.support.prefect_ui import PrefectUI

_DRILL = {"network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}}
_FAILOVER = {"network": {"vpc": "shop-vpc", "subnet": "shop-net", "security_groups": ["shop-sg"]}}
PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"


def _furnish(house: House) -> None:
    """What the worker's directories hold."""
    settings = yaml.safe_load(house.files["settings"].read_text())
    settings["directories"] |= {"policies": "policies", "runbooks": "runbooks", "evidence": "evidence"}
    house.files["settings"].write_text(yaml.safe_dump(settings))
    policy = {"name": "shop", "servers": {"names": ["shop-mail*"]}, "schedule": "30 22 * * *", "timezone": "Europe/Berlin"}
    group = {
        "name": "web",
        "before": [{"approve": "Is the newest order there?"}],
        "servers": [{"source": "shop-web-01", "probes": [{"console": "login:"}]}],
    }
    runbook = {"name": "shop", "drill": _DRILL, "failover": _FAILOVER, "groups": [group], "images": {"when_missing": "create"}}
    runbook["defaults"] = {"flavor": house.account["flavor"]}
    for folder, content in (("policies", policy), ("runbooks", runbook)):
        (house.folder / folder).mkdir()
        (house.folder / folder / "shop.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    from_debian("chromium")  # without a browser nothing is started
    with open_house(tmp_path_factory.mktemp("house"), _furnish, PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT="false") as made:
        yield made


@pytest.fixture(scope="module")
def ui(house: House) -> Iterator[PrefectUI]:
    """A browser at that server; it reaches nothing else. Pictures are taken where PICTURES is set, as `make pictures` does."""
    base = house.api.removesuffix("/api")
    with open_browser(base) as browser:
        yield PrefectUI(browser, base, house, PICTURES if os.environ.get("PICTURES") else None)
