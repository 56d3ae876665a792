"""Every failure that a person sees: the cloud's code and words, ids, what to do, whether waiting helps, how to go on."""

import shlex
from typing import Any

import pytest

from tests.support.region import Region

# fault on the request for the image: (arguments, code of the cloud, its words, whether waiting helps, how the last line begins)
FAILURES: dict[str, tuple[str, dict[str, Any], str, str, bool]] = {
    "no right": ("forbidden", {"times": None}, "IMG.0026", "", False),
    "quota": ("quota-gone", {}, "IMG.0015", "", False),
    "throttled": ("img-0060", {"times": None}, "IMG.0060", "too many tasks", True),
    "job failed": ("job-fails", {"code": "IMG.0195", "reason": "no OS version"}, "IMG.0195", "no OS version", False),
    "image killed": ("image-killed", {"code": "IMG.0061", "reason": "internal trouble"}, "IMG.0061", "internal trouble", False),
}


@pytest.fixture
def region(tmp_path: Any) -> Any:
    made = Region(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("fault", "how", "code", "words", "helps"), FAILURES.values(), ids=FAILURES)
def test_a_failure_on_a_terminal_says_all_that_it_takes_to_go_on(
    region: Region, fault: str, how: dict[str, Any], code: str, words: str, helps: bool
) -> None:
    backup = region.account["backups"]["available"][0]
    region.arm(fault, operation="createWholeImage", **how)
    ended = region.b2i("create", backup, "--description", "web shop", "--timeout", "10m", json=False)
    lines = ended.err.splitlines()
    assert ended.code == 1
    assert code in ended.err
    assert words in ended.err
    assert any(backup in line or "job" in line for line in lines if code in line), "what it happened to"
    assert any(line.startswith("What to do: ") for line in lines)
    assert f"Waiting helps: {'yes' if helps else 'no'}." in lines
    option = ["--after-failure"] if fault in {"job-fails", "image-killed"} else []
    command = shlex.join(["b2i", "--cloud", "shop", "create", backup, "--description", "web shop", "--timeout", "10m", *option])
    assert lines[-1] == f"{'Go on with' if helps else 'When that is mended'}: `{command}`."


def test_the_command_that_a_failure_names_goes_on(region: Region) -> None:
    backup = region.account["backups"]["available"][0]
    region.arm("job-fails", operation="createWholeImage")
    first = region.b2i("create", backup)
    command = shlex.split(first.error["action"].rpartition("`b2i ")[2].rstrip("`."))
    again = region.b2i(*[word for word in command if word not in {"--cloud", "shop", "--json"}])
    assert (again.code, again.told["outcome"]) == (0, "made")


def test_a_deadline_names_the_command_that_resumes(region: Region) -> None:
    backup = region.account["backups"]["available"][0]
    region.arm("job-stuck", operation="createWholeImage", times=None)
    ended = region.b2i("create", backup, "--timeout", "5m", json=False)
    assert ended.code == 4
    assert ended.err.splitlines()[-2:] == [
        "Waiting helps: yes.",
        f"Go on with: `b2i --cloud shop create {backup} --timeout 5m`.",
    ]


def test_a_mistake_in_the_command_names_no_command_to_go_on_with(region: Region) -> None:
    ended = region.b2i("create", region.account["backups"]["available"][0], "--tag", "nonsense", json=False)
    assert ended.code == 2
    assert "Waiting helps" not in ended.err
    assert "Go on" not in ended.err


@pytest.mark.parametrize(
    "words",
    [("backups",), ("validate", "backup"), ("board",)],
    ids=lambda words: words[0],
)
def test_what_no_deployment_does_is_not_done_here_instead_without_a_word(region: Region, words: tuple[str, ...]) -> None:
    ended = region.b2i("--prefect", *words)
    assert (ended.code, region.asked) == (2, [])
    assert "--prefect" in ended.error["message"]
