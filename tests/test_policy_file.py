"""A policy and the files that it names are read together, and every mistake of them is told at its line."""

from pathlib import Path

import pytest

from backup_to_image.errors import UsageError
from backup_to_image.steps.policy_file import read_policy

POLICY = 'name: nightly\nservers: {names: ["*"]}\nverify: {sample: 1, launch: launch/drill.yaml}\n'
DRILL = "name: drill\nnetwork: {vpc: drill-vpc, subnet: drill-net}\n"


def write(folder: Path, drill: str, policy: str = POLICY) -> Path:
    (folder / "launch").mkdir()
    (folder / "launch" / "drill.yaml").write_text(drill)
    (folder / "policy.yaml").write_text(policy)
    return folder / "policy.yaml"


def test_the_launch_order_of_drills_lies_relative_to_the_policy(tmp_path: Path) -> None:
    drill = read_policy(write(tmp_path, DRILL)).drill
    assert drill is not None
    assert (drill.name, drill.network.subnet) == ("drill", "drill-net")


def test_a_policy_that_verifies_nothing_needs_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text('name: nightly\nservers: {names: ["*"]}\n')
    assert read_policy(tmp_path / "policy.yaml").drill is None


@pytest.mark.parametrize(
    ("drill", "words"),
    [
        (DRILL + "colour: red\n", ["drill.yaml:3: colour: unknown key"]),
        (DRILL + "count: 2\n", ["launches 2 servers"]),
        ("name: drill\ncloud: elsewhere\nnetwork: {vpc: v, subnet: n, fixed_ip: 10.0.0.5}\n", ["fixed_ip", "cloud 'elsewhere'"]),
    ],
)
def test_a_launch_order_that_fits_no_drill_is_a_mistake(tmp_path: Path, drill: str, words: list[str]) -> None:
    with pytest.raises(UsageError) as told:
        read_policy(write(tmp_path, drill))
    assert len(told.value.problems) == len(words)
    for word, problem in zip(words, told.value.problems, strict=True):
        assert word in problem


def test_a_launch_order_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    with pytest.raises(UsageError, match=r"launch/drill\.yaml: there is no such launch order"):
        read_policy(tmp_path / "policy.yaml")
