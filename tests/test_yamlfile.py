"""Files that people write: every mistake at once, on its line, whatever stands in them."""

import contextlib
from datetime import timedelta
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backup_to_image.errors import UsageError
from backup_to_image.model import LaunchOrder, Value
from backup_to_image.yamlfile import load_file, read_value, read_yaml

ORDER = """\
name: shop-restored
network:
  vpc: shop-vpc
  subnet: shop-net
"""


def problems(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(text)
    with pytest.raises(UsageError) as wrong:
        load_file(path, LaunchOrder, "launch order")
    return wrong.value.problems


def test_a_file_without_mistakes_is_read(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(ORDER + "probes: [{tcp: 22, timeout: 90s}]\n")
    order = load_file(file, LaunchOrder, "launch order")
    assert (order.network.vpc, order.probes[0].timeout) == ("shop-vpc", timedelta(seconds=90))


def test_every_mistake_stands_on_its_line_in_the_files_order(tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    text = """\
name: shop restored
network:
  vpcc: shop-vpc
  subnet: 5
probes:
  - tcp: 0
  - {}
data_disks:
  - {source: /dev/vdb, size_gb: many}
count: 0
"""
    lines = [problem.removeprefix(str(file)) for problem in problems(file, text)]
    places = [line.split(": ")[0] for line in lines]
    assert places == [":1", ":2", ":3", ":4", ":6", ":7", ":9", ":10"]
    fields = [line.split(": ")[1] for line in lines]
    assert fields == [
        *("name", "network.vpc", "network.vpcc", "network.subnet", "probes.0.tcp", "probes.1", "data_disks.0.size_gb", "count"),
    ]


def test_no_words_for_programmers_reach_people(tmp_path: Path) -> None:
    told = "\n".join(problems(tmp_path / "order.yaml", "name: [a]\nnetwork: shop\nprobes: x\nflavour: y\ntags: 7\n"))
    for word in ("pydantic", "validation", "type=", "input_value", "Traceback", "https://errors"):
        assert word not in told


def test_a_key_that_stands_twice_is_a_mistake_not_a_choice(tmp_path: Path) -> None:
    (told,) = problems(tmp_path / "order.yaml", ORDER + "name: other\n")
    assert ":5: name: stands twice" in told


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "---\n"])
def test_an_empty_file_lacks_what_is_needed(tmp_path: Path, text: str) -> None:
    told = problems(tmp_path / "order.yaml", text)
    assert any("name" in line for line in told)
    assert any("network" in line for line in told)


def test_what_is_not_there_or_no_text_is_told_with_its_path(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(UsageError) as wrong:
            read_yaml(path, "launch order")
        assert str(path) in wrong.value.message
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(UsageError):
        read_yaml(binary, "launch order")


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_makes_it_stumble(tmp_path: Path, text: str) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as wrong:
        load_file(file, LaunchOrder, "launch order")
    assert all(problem.startswith(str(file)) for problem in wrong.value.problems)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from([*LaunchOrder.model_fields]), VALUES, max_size=6),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_of_a_known_key_makes_it_stumble(tmp_path: Path, told: dict[str, object]) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(yaml.safe_dump(told, allow_unicode=True), encoding="utf-8")
    with contextlib.suppress(UsageError):
        load_file(file, LaunchOrder, "launch order")


class Wheels(Value):
    count: int
    colour: str = "black"


class Car(Value):
    wheels: Literal["none"] | Wheels = "none"
    name: str = ""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wheels: {colour: red}", ["wheels.count: is missing"]),
        ("wheels: {count: 4, size: 2}\nname: {a: b}", ["wheels.size: unknown key", "name: must be text"]),
        ("wheels: some", ["wheels: must be 'none' (not 'some')", "wheels: must be a block of keys"]),
    ],
)
def test_of_a_block_where_a_word_would_do_too_only_its_own_mistakes_are_told(tmp_path: Path, text: str, told: list[str]) -> None:
    path = tmp_path / "car.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        load_file(path, Car, "car")
    assert [problem.split(": ", 1)[1] for problem in refused.value.problems] == told


@pytest.mark.parametrize(
    "text",
    ["name: " + "[" * 200_000, "name: " + "{a: " * 100_000 + "1" + "}" * 100_000, "- " * 200_000 + "x"],
    ids=["lists", "blocks", "dashes"],
)
def test_what_is_nested_without_end_is_a_mistake_and_ends_no_process(tmp_path: Path, text: str) -> None:
    """Whatever builds values calls itself for each level: in C that ends the process without a word."""
    (told,) = problems(tmp_path / "order.yaml", text)
    assert "order.yaml:1: this is no YAML: nested too deeply" in told
    with pytest.raises(yaml.YAMLError):
        read_value(text)
