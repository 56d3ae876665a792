"""What prefect.yaml deploys exists, and is loaded as the one module that everybody else imports."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml


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
