"""What prefect.yaml deploys exists, and is loaded as the one module that everybody else imports."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from backup_to_image import __version__


@pytest.mark.timeout(300)
def test_every_entry_point_of_prefect_yaml_is_a_flow(root: Path) -> None:
    declared = root / "prefect.yaml"
    if not declared.exists():
        pytest.skip("there is no prefect.yaml yet")
    content = yaml.safe_load(declared.read_text())
    templates = [one for one in content["definitions"].values() if "entrypoint" in one]
    assert templates, "what setup makes a deployment of for each policy"
    entrypoints = sorted({deployment["entrypoint"] for deployment in [*content["deployments"], *templates]})
    assert entrypoints
    for entrypoint in entrypoints:
        assert ":" not in entrypoint, f"{entrypoint}: the file form loads a second copy of the module; write flows.module.flow"
    look = (
        "import pydoc, sys\nfrom prefect import Flow\n"
        "wrong = [name for name in sys.argv[1:] if not isinstance(pydoc.locate(name), Flow)]\n"
        "sys.exit(f'not a flow: {wrong}' if wrong else 0)"
    )
    done = subprocess.run([sys.executable, "-c", look, *entrypoints], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_deployment_has_the_version_of_the_package(root: Path) -> None:
    """People see on a run's page with which version it began."""
    content = yaml.safe_load((root / "prefect.yaml").read_text())
    templates = [one for one in content["definitions"].values() if "entrypoint" in one]
    assert {one["version"] for one in [*content["deployments"], *templates]} == {__version__}


def test_the_page_of_permissions_says_what_every_deployment_needs(root: Path) -> None:
    content = yaml.safe_load((root / "prefect.yaml").read_text())
    page = (root / "docs" / "permissions.md").read_text()
    named = set(re.findall(r"`([\w-]+/[\w-]+)`", page.partition("## Per deployment")[2].partition("\n## ")[0]))
    fixed = {f"{_flow(one)}/{one['name']}" for one in content["deployments"]}
    assert fixed <= named
    templates = {_flow(one) for one in content["definitions"].values() if "entrypoint" in one}
    assert {f"{flow}/{'RUNBOOK' if flow.startswith('runbook') else 'POLICY'}" for flow in templates} <= named


def _flow(declared: dict[str, str]) -> str:
    return declared["entrypoint"].rpartition(".")[2].replace("_", "-")
