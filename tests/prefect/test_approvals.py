"""A runbook whose people are asked in Prefect: suspended without a process, answered anywhere, killed, gone on with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.house import House, patience, processes_of
from tests.support.letters import Letters, letter_box, unsubscribe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SOURCE = "shop-web-01"
DRILL = {"network": {"vpc": "drill-vpc", "subnet": "drill-net", "security_groups": ["drill-sg"]}}


@pytest.fixture(scope="module")
def book(house: House) -> str:
    """A runbook in the worker's directory: one server, a question before it and one after it."""
    folder = house.folder / "runbooks"
    folder.mkdir()
    settings = yaml.safe_load(house.files["settings"].read_text())
    settings["directories"] |= {"runbooks": str(folder), "evidence": str(house.folder / "evidence")}
    house.files["settings"].write_text(yaml.safe_dump(settings))
    group = {
        "name": "web",
        "before": [{"approve": "Is the data right?"}],
        "servers": [{"source": SOURCE, "probes": [{"console": "login:"}]}],
        "then": [{"manual": "Look at the shop"}],
    }
    told = {"name": "shop", "drill": DRILL, "images": {"when_missing": "create"}, "groups": [group]}
    told["defaults"] = {"flavor": house.account["flavor"]}
    (folder / "shop.yaml").write_text(yaml.safe_dump(told))
    return "shop.yaml"


@pytest.fixture
def letters(house: House, book: str) -> Iterator[Letters]:
    """What people are sent, to the address that setup was given."""
    with letter_box() as box:
        done = house.setup(B2I_NOTIFY_WEBHOOK=box.address, B2I_CONFIG=str(house.files["settings"]))
        assert (done.returncode, box.address in done.stdout + done.stderr) == (0, False), done.stdout
        yield box
    unsubscribe(house)


def letter(letters: Letters, *words: str) -> str:
    """The one that has these words, once it is there."""
    with patience(60, f"a message with {words}") as beats:
        for _ in beats:
            if found := [one for one in letters.came if all(word in one for word in words)]:
                assert len(found) == 1
                return found[0]
    raise AssertionError


def await_question(house: House, run: str) -> str:
    """The page that says what is asked, once the run is suspended and no process of it is left."""
    house.await_state(run, "Suspended", within=150)
    with patience(30, "the end of the run's process") as beats:
        for _ in beats:
            if not processes_of(run):
                break
    return house.artifacts(run)["runbook-asks"]


def resume(house: House, run: str, **answer: str) -> dict[str, Any]:
    """What the dialog behind Resume does."""
    answered = house.ask("POST", f"/flow_runs/{run}/resume", run_input=answer)
    assert isinstance(answered, dict)
    return answered


def drills(house: House) -> list[str]:
    """The servers of drills that are there."""
    listed = house.cloud.get("ecs", "/v1/{project}/cloudservers/detail", name=SOURCE, limit=100)["servers"]
    return [one["name"] for one in listed if "-drill-" in one["name"] and one["status"] != "DELETED"]


def test_a_drill_is_suspended_while_it_asks_and_each_answer_counts_once_wherever_it_is_given(
    house: House, book: str, letters: Letters
) -> None:
    run = house.order_action("runbook-drill/of-a-runbook", order={"runbook": book, "by": "ada"})
    page = await_question(house, run)
    assert "Is the data right?" in page
    assert "b2i runbook approve shop-drill-" in page
    assert f"/v2/runs/flow-run/{run}" in letter(letters, "Is the data right?", "Resume in the run's menu")
    assert resume(house, run, decision="perhaps", name="ada")["status"] == "REJECT"
    assert resume(house, run, decision="go", name="ada", note="looked at it")["status"] == "ACCEPT"

    # Its server is launched and answers; then it asks again, and nothing of it holds a process.
    assert "Look at the shop" in await_question(house, run)
    assert len(drills(house)) == 1
    code, said, told = house.local("runbook", "approve", "shop", "web", "--by", "bob")
    assert (code, said["at_work"]) == (0, False), told
    house.await_state(reconcile(house), "Completed")
    house.await_state(run, "Completed", within=150)

    came = house.came_of(run)
    (group,) = came["content"]["groups"]
    answers = [(step["answer"], step["by"], step["note"]) for step in group["steps"]]
    assert answers == [("go", "ada", "looked at it"), ("go", "bob", None)]
    assert (came["content"]["left_behind"], drills(house)) == ([], [])
    kept = json.loads((house.folder / "evidence" / f"{came['content']['run']}.json").read_text())
    steps = kept["run"]["groups"][0]["steps"]
    assert [step["question"]["answer"]["how"] for step in steps] == ["form", "command"]
    assert kept["sha256"] in letter(letters, "Evidence: ")
    code, said, told = house.b2i("--prefect", "runbook", "report", f"{came['content']['run']}.json", "--head", kept["sha256"])
    assert (code, said["verified"]) == (0, True), told


def reconcile(house: House) -> str:
    """The reconciler, at once."""
    found = house.ask("GET", "/deployments/name/reconcile/every-ten-minutes")
    return str(house.ask("POST", f"/deployments/{found['id']}/create_flow_run", parameters={})["id"])


def test_killed_while_it_launches_a_drill_goes_on_without_asking_again(house: House, book: str) -> None:
    run = house.order_action("runbook-drill/of-a-runbook", order={"runbook": book, "by": "ada"})
    await_question(house, run)
    resume(house, run, decision="go", name="ada", note="")
    house.await_word(run, "accepted for", within=120)
    house.signal_run(run)
    house.await_state(run, "Crashed", within=60)
    house.retry(run)
    await_question(house, run)
    assert len(drills(house)) == 1
    resume(house, run, decision="go", name="ada", note="")
    house.await_state(run, "Completed", within=150)
    assert drills(house) == []
    asked = [line for line in house.told(run).splitlines() if "asks: Is the data right?" in line]
    assert len(asked) == 1
