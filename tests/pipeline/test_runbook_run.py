"""A runbook that is run: groups in their order, people asked once, everything gone after a drill, nothing launched twice."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from backup_to_image.cli.runbook import RUN_BLANK
from backup_to_image.journal import Journal
from backup_to_image.steps.runbook.deciding import decide
from tests.support.region import Asked, Ended, Region
from tests.support.runbooks import APP, DB, DRILL, FAILOVER, WEB

GREEN: dict[str, Any] = {"probes": [{"console": "login:"}]}
NEVER: dict[str, Any] = {"probes": [{"console": "never-said", "timeout": "20s"}]}

Step = dict[str, Any]


def group(name: str, *sources: str | dict[str, Any], **keys: Any) -> dict[str, Any]:
    servers = [one if isinstance(one, dict) else {"source": one} | GREEN for one in sources]
    return {"name": name, "servers": servers} | keys


def write(region: Region, *groups: dict[str, Any], **keys: Any) -> str:
    told = {"name": "shop", "drill": DRILL, "failover": FAILOVER, "groups": list(groups)} | keys
    (region.folder / "shop.yaml").write_text(yaml.safe_dump(told))
    return "shop.yaml"


def tiers(region: Region, **keys: Any) -> str:
    """Database first, then the application, then the web servers."""
    return write(
        region,
        group("database", DB),
        group("application", APP, needs=["database"]),
        group("web", WEB, needs=["application"]),
        **keys,
    )


def drill(region: Region, *words: str, typed: str | None = None, as_json: bool = True) -> Ended:
    return region.b2i("runbook", "drill", "shop.yaml", *words, typed=typed, json=as_json)


def failover(region: Region, *words: str) -> Ended:
    return region.b2i("runbook", "failover", "shop.yaml", "--yes-i-mean", "shop", *words)


def say(region: Region, *words: str) -> Ended:
    return region.b2i("runbook", *words)


def groups(ended: Ended) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in ended.told["groups"]}


def states(ended: Ended) -> dict[str, str]:
    return {name: one["state"] for name, one in groups(ended).items()}


def servers(ended: Ended) -> dict[str, dict[str, Any]]:
    return {one["source"]: one for one_group in ended.told["groups"] for one in one_group["servers"]}


def launches(region: Region) -> list[Asked]:
    return [one for one in region.sent("createServers") if one.writes]


def account(region: Region) -> set[tuple[str, str]]:
    """Everything that is billed."""
    return {
        (kind, one["id"])
        for kind in ("server", "volume", "publicip", "image")
        for one in region.things(kind)
        if one.get("status") not in {"DELETED", "deleted"}
    }


# -- a drill ------------------------------------------------------------------------------------------------------------


def test_a_drill_brings_the_groups_up_in_their_order_and_leaves_nothing(region: Region, images: dict[str, str]) -> None:
    before = account(region)
    tiers(region, targets={"rto": "1h", "rpo": "26h"})
    ended = drill(region)
    told = ended.told
    assert set(told) == set(RUN_BLANK)
    assert (ended.code, told["outcome"], told["mode"], told["runbook"], told["left_behind"]) == (0, "made", "drill", "shop", [])
    assert states(ended) == {"database": "up", "application": "up", "web": "up"}
    assert {source: one["image_id"] for source, one in servers(ended).items()} == images
    assert [one["probes"][0]["ok"] for one in servers(ended).values()] == [True, True, True]
    assert [asked.body["server"]["imageRef"] for asked in launches(region)] == [images[DB], images[APP], images[WEB]]
    times = [one["rto_s"] for one in groups(ended).values()]
    assert times == sorted(times)
    assert told["rto_s"] == times[-1] > 0
    assert (told["rto_met"], told["rpo_met"]) == (True, True)
    assert account(region) == before
    assert list(region.journal.glob("order-*.json")) == []


def test_a_group_begins_when_those_that_it_needs_have_answered_and_others_go_beside_it(
    region: Region, images: dict[str, str]
) -> None:
    write(region, group("database", DB), group("web", WEB), group("application", APP, needs=["database"]))
    ended = drill(region)
    assert ended.code == 0
    sent = {asked.body["server"]["imageRef"]: asked.at for asked in launches(region)}
    assert abs(sent[images[WEB]] - sent[images[DB]]) < 5
    answered = datetime.fromisoformat(groups(ended)["database"]["ended_at"]).timestamp()
    assert answered <= sent[images[APP]] < answered + 5
    assert [leg["what"].partition(":")[0] for leg in ended.told["critical_path"]] == [DB, APP]


def test_the_servers_of_a_drill_are_there_together_until_the_last_has_answered(region: Region, images: dict[str, str]) -> None:
    seen: list[int] = []

    def at_the_first_deletion(asked: Asked) -> None:
        if asked.operation == "deleteServers" and not seen:
            seen.append(len(region.launched()))

    tiers(region)
    region.watchers.append(at_the_first_deletion)
    assert drill(region).code == 0
    assert seen == [3]


def test_what_a_drill_proves_is_marked_on_its_images(region: Region, images: dict[str, str]) -> None:
    tiers(region)
    ended = drill(region)
    assert [one["verified"] for one in servers(ended).values()] == [True, True, True]
    assert all("b2i-verified" in region.emulator.cloud.get("image", image)["tags"] for image in images.values())


def test_people_see_each_group_and_server_and_how_long_it_took(region: Region, images: dict[str, str]) -> None:
    tiers(region, targets={"rto": "1s"})
    shown = drill(region, as_json=False)
    assert shown.code == 5
    for words in (
        "Target missed: 3 of 3 servers came back",
        "instead of 1 s",
        "Critical path",
        "Nothing is left of the drill",
        "1 of 1",
    ):
        assert words in shown.out


def test_a_state_older_than_the_target_bars_nobody_and_is_no_green(region: Region, images: dict[str, str]) -> None:
    write(region, group("all", DB), targets={"rpo": "1h"})
    ended = drill(region)
    assert (ended.code, ended.told["outcome"], ended.told["rpo_met"], states(ended)) == (5, "partly", False, {"all": "up"})
    assert 3.9 * 3600 < ended.told["rpo_s"] < 4.2 * 3600


def test_everything_that_speaks_against_it_is_told_before_anything_is_launched(region: Region, images: dict[str, str]) -> None:
    write(region, group("all", DB, {"source": "shop-nope-01"}, {"source": WEB, "launch": {"flavor": "s3.huge"}}))
    ended = drill(region)
    assert (ended.code, ended.told["outcome"], region.writes) == (3, "refused", [])
    for words in ("no image, no backup, no record", "s3.huge"):
        assert words in ended.error["message"]
    assert "--anyway" in ended.error["action"]
    assert say(region, "status").told["runs"] == []


def test_anyway_what_can_come_back_does_and_what_cannot_fails_its_group(region: Region, images: dict[str, str]) -> None:
    before = account(region)
    write(
        region, group("good", DB), group("bad", {"source": "shop-nope-01"}, on_failure="skip"), group("after", APP, needs=["bad"])
    )
    ended = drill(region, "--anyway")
    assert (ended.code, ended.told["outcome"]) == (5, "partly")
    assert states(ended) == {"good": "up", "bad": "failed", "after": "skipped"}
    assert "no image, no backup" in groups(ended)["bad"]["reason"]
    assert groups(ended)["after"]["reason"] == "it needs bad, which did not come up"
    assert account(region) == before


def test_an_image_that_is_not_there_is_made_first_and_that_time_counts(region: Region) -> None:
    write(
        region,
        group("all", WEB),
        images={"pick": "newest_verified", "when_missing": "create"},
        defaults={"flavor": region.account["flavor"]},
    )
    ended = drill(region)
    assert (ended.code, states(ended)) == (0, {"all": "up"})
    (made,) = region.sent("createWholeImage")
    assert servers(ended)[WEB]["image_id"] in {one["id"] for one in region.images_of(made.body["backup_id"])}
    assert ended.told["rto_s"] > 180
    assert [leg["what"] for leg in ended.told["critical_path"]] == [
        f"{WEB}: its image made first",
        f"{WEB}: launched and probed",
    ]


def test_all_images_that_are_missing_are_made_at_once_those_of_later_groups_too(region: Region) -> None:
    images, flavor = {"pick": "newest_verified", "when_missing": "create"}, {"flavor": region.account["flavor"]}
    tiers(region, images=images, defaults=flavor)
    ended = drill(region)
    assert ended.code == 0
    asked = [one.at for one in region.sent("createWholeImage")]
    assert len(asked) == 3
    assert max(asked) - min(asked) < 5
    assert ended.told["rto_s"] < 2 * 240


# -- people -------------------------------------------------------------------------------------------------------------


def asking(region: Region, *before: Step, **keys: Any) -> str:
    return write(
        region,
        group("database", DB),
        group("application", APP, needs=["database"], before=list(before)),
        group("web", WEB, needs=["application"]),
        **keys,
    )


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_an_approval_is_asked_once_and_kept_with_who_said_what_and_when(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    waits = drill(region, "--no-wait")
    assert (waits.code, waits.told["outcome"], states(waits)["application"]) == (4, "still_running", "running")
    (question,) = waits.told["questions"]
    assert (question["group"], question["words"]) == ("application", "Is the data right?")
    said = say(region, "approve", waits.told["run"], "application", "--by", "ada", "--reason", "looked at the orders")
    assert (said.code, said.told["at_work"]) == (0, False)
    ended = drill(region, "--no-wait")
    assert (ended.code, ended.told["run"]) == (0, waits.told["run"])
    (step,) = groups(ended)["application"]["steps"]
    assert (step["answer"], step["by"], step["note"]) == ("go", "ada", "looked at the orders")
    assert len(launches(region)) == 3
    assert "b2i runbook approve" in waits.err
    assert "Is the data right?" not in ended.err, "nobody is asked twice"


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_an_answer_needs_neither_the_cloud_nor_its_log_in(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    drill(region, "--no-wait")
    region.forget()
    (region.folder / "clouds.yaml").unlink()
    assert region.b2i("runbook", "approve", "shop", cloud="gone").code == 0
    assert region.b2i("runbook", "status", "shop", cloud="gone").code == 0
    assert region.asked == []


def test_the_answer_may_come_while_the_run_waits_for_it(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})

    async def somebody() -> None:
        await region.clock.sleep(600)
        async with Journal.at(region.journal, clock=region.clock) as journal:
            told = await decide("shop", "application", "go", journal, by="ada")
            assert told.at_work

    begun: list[asyncio.Task[None]] = []

    def begin(asked: Asked) -> None:
        if not begun:
            begun.append(asyncio.get_running_loop().create_task(somebody()))

    region.watchers.append(begin)
    ended = drill(region)
    assert (ended.code, groups(ended)["application"]["steps"][0]["by"]) == (0, "ada")
    assert ended.told["people_s"] > 300


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_at_a_terminal_the_question_is_asked_there(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"}, {"manual": "Start the queue"})
    shown = drill(region, "--by", "ada", typed="what?\ng\n\nseen it\nskip\nbob\nno queue here\n", as_json=False)
    assert shown.code == 5
    for words in ("Is the data right?", "go on", "it is done", "skip the group"):
        assert words in shown.err
    assert "skipped by bob: no queue here" in shown.out
    assert "go by ada: seen it" in shown.out


@pytest.mark.parametrize(
    ("silent", "code", "wanted"),
    [
        ("go", 0, {"database": "up", "application": "up", "web": "up"}),
        ("skip", 5, {"database": "up", "application": "skipped", "web": "skipped"}),
        ("stop", 5, {"database": "up", "application": "failed", "web": "waiting"}),
    ],
)
def test_when_nobody_answers_in_time_what_the_runbook_says_holds(
    region: Region, images: dict[str, str], silent: str, code: int, wanted: dict[str, str]
) -> None:
    before = account(region)
    asking(region, {"approve": "Is the data right?", "timeout": "30m", "when_silent": silent})
    ended = drill(region)
    assert (ended.code, states(ended)) == (code, wanted)
    assert "nobody has answered in time" in json.dumps(groups(ended)["application"]["steps"])
    assert account(region) == before


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_somebody_may_skip_a_group_with_a_reason_or_stop_the_run(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    run = drill(region, "--no-wait").told["run"]
    assert (say(region, "skip", run, "application").code, say(region, "retry", run, "application").code) == (2, 2)
    assert say(region, "skip", run, "application", "--reason", "not needed today", "--by", "ada").code == 0
    assert say(region, "approve", run).code == 2, "it was answered already"
    ended = drill(region, "--no-wait")
    assert (ended.code, states(ended)) == (5, {"database": "up", "application": "skipped", "web": "skipped"})
    assert groups(ended)["application"]["reason"] == "skipped by ada: not needed today"
    assert drill(region, "--no-wait").told["run"] != run, "that one is over"
    assert say(region, "stop", "shop", "application").code == 0
    stopped = drill(region, "--no-wait")
    assert (stopped.code, stopped.told["stopped"].startswith("stopped by")) == (5, True)
    assert region.launched() == []


def test_unattended_every_approval_is_go_and_a_failure_stops_the_run(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"}, {"manual": "Start the queue"})
    ended = drill(region, "--approve-all")
    assert (ended.code, groups(ended)["application"]["steps"][0]["by"]) == (0, "--approve-all")
    write(region, group("all", {"source": DB} | NEVER), group("web", WEB, needs=["all"]))
    failed = drill(region, "--approve-all")
    assert (failed.code, states(failed), region.launched()) == (5, {"all": "failed", "web": "waiting"}, [])
    assert "never-said" in failed.told["stopped"]


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_unattended_what_somebody_has_said_before_holds(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    drill(region, "--no-wait")
    say(region, "skip", "shop", "application", "--reason", "not needed today", "--by", "ada")
    ended = drill(region, "--approve-all")
    assert (states(ended)["application"], groups(ended)["application"]["steps"][0]["by"]) == ("skipped", "ada")


# -- failures -----------------------------------------------------------------------------------------------------------


def failing(region: Region, **keys: Any) -> str:
    return write(region, group("all", {"source": DB} | NEVER, APP, **keys), group("web", WEB, needs=["all"]))


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_a_failed_group_is_tried_again_without_touching_what_is_up(region: Region, images: dict[str, str]) -> None:
    failing(region)
    waits = drill(region, "--no-wait")
    assert (waits.code, states(waits)) == (4, {"all": "failed", "web": "waiting"})
    assert waits.told["questions"][0]["choices"] == ["retry", "skip", "stop", "go"]
    assert "never-said" in waits.told["questions"][0]["words"]
    write(region, group("all", DB, APP), group("web", WEB, needs=["all"]))  # the probe is mended
    assert say(region, "retry", "shop", "all").code == 0
    ended = drill(region, "--no-wait")
    assert (ended.code, states(ended), groups(ended)["all"]["attempts"]) == (0, {"all": "up", "web": "up"}, 2)
    assert len(launches(region)) == 3, "its server was there, and was asked again"
    assert "has changed since" in ended.err


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_a_failed_group_may_be_taken_as_it_is_or_skipped(region: Region, images: dict[str, str]) -> None:
    failing(region)
    run = drill(region, "--no-wait").told["run"]
    say(region, "approve", run, "all", "--by", "ada", "--reason", "it lives, the probe is wrong")
    ended = drill(region, "--no-wait")
    assert states(ended) == {"all": "up", "web": "up"}
    assert groups(ended)["all"]["reason"] == "taken as it is by ada: it lives, the probe is wrong"
    assert (ended.code, ended.told["rto_s"]) == (5, None), "one server has never answered"


@pytest.mark.parametrize(
    ("rule", "wanted"), [("skip", {"all": "failed", "web": "skipped"}), ("stop", {"all": "failed", "web": "waiting"})]
)
def test_the_runbook_may_say_what_becomes_of_a_failure(
    region: Region, images: dict[str, str], rule: str, wanted: dict[str, str]
) -> None:
    before = account(region)
    failing(region, on_failure=rule)
    ended = drill(region)
    assert (ended.code, ended.told["outcome"], states(ended)) == (5, "failed", wanted)
    assert account(region) == before


def test_what_the_cloud_refuses_is_told_in_its_words(region: Region, images: dict[str, str]) -> None:
    tiers(region, on_failure="skip")
    region.arm("job-fails", operation="createServers", skip=4, code="Ecs.0319", reason="no capacity")
    ended = drill(region)
    assert ended.code == 5
    assert states(ended) == {"database": "failed", "application": "skipped", "web": "skipped"}
    assert (servers(ended)[DB]["code"], "no capacity" in servers(ended)[DB]["reason"]) == ("Ecs.0319", True)
    assert region.launched() == []


def test_a_launch_that_got_lost_among_its_neighbours_is_asked_for_again(region: Region, images: dict[str, str]) -> None:
    """They change the count of servers, which is what tells elsewhere that nothing was made."""
    write(region, group("all", DB, APP, WEB))
    region.arm("reset-before", operation="createServers", skip=7)
    ended = drill(region)
    assert (ended.code, states(ended), len(launches(region))) == (0, {"all": "up"}, 4)


def test_an_image_that_is_deleted_meanwhile_is_replaced_by_the_next_that_the_rule_takes(region: Region) -> None:
    tiers(region, targets={"rpo": "90h"}, images={"when_missing": "create"}, defaults={"flavor": region.account["flavor"]})

    def retention_takes_it(asked: Asked) -> None:
        if asked.operation == "createServers" and asked.writes and not gone:
            image = region.emulator.cloud.get("image", picked[WEB])
            gone.append(str(image and image["name"]))
            region.emulator.cloud.remove("image", picked[WEB])

    picked = {one["source"]: str(one["image_id"]) for one in say(region, "check", "shop.yaml").told["servers"]}
    gone: list[str] = []
    region.watchers.append(retention_takes_it)
    ended = drill(region)
    assert (ended.code, states(ended)) == (0, {"database": "up", "application": "up", "web": "up"})
    assert servers(ended)[WEB]["image_id"] != picked[WEB]
    assert gone[0] in ended.err


# -- hooks --------------------------------------------------------------------------------------------------------------


def test_a_command_hears_of_the_servers_that_are_up_and_of_no_credentials(
    region: Region, images: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OS_PASSWORD", "not-for-commands")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    region.write_settings(allowed_commands=[sys.executable])
    write(region, group("database", DB, then=[{"command": [sys.executable, "-c", script]}]))
    ended = drill(region)
    assert ended.code == 0
    told = json.loads(groups(ended)["database"]["steps"][0]["told"])
    assert (told["B2I_MODE"], told["B2I_GROUP"], told["B2I_RUN"]) == ("drill", "database", ended.told["run"])
    (server,) = json.loads(told["B2I_SERVERS"])
    assert (server["source"], server["addresses"]) == (DB, servers(ended)[DB]["addresses"])
    assert not any(name.startswith(("OS_", "PREFECT", "AWS")) for name in told)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("print('no such record'); raise SystemExit(3)", "ended with 3. no such record"),
        ("import time; print('begun', flush=True); time.sleep(60)", "was stopped after 1 s: it had not ended. begun"),
    ],
)
def test_a_command_that_fails_or_hangs_fails_its_group_with_its_output(
    region: Region, images: dict[str, str], script: str, words: str
) -> None:
    region.write_settings(allowed_commands=[sys.executable])
    step = {"command": [sys.executable, "-c", script], "timeout": "1s"}
    write(region, group("database", DB, then=[step]), on_failure="skip")
    ended = drill(region)
    assert (ended.code, states(ended)) == (5, {"database": "failed"})
    assert words in groups(ended)["database"]["reason"]
    assert region.launched() == []


def test_a_command_that_this_host_does_not_allow_bars_the_run(region: Region, images: dict[str, str]) -> None:
    write(region, group("database", DB, then=[{"command": ["notify", "up"]}]))
    ended = drill(region)
    assert (ended.code, region.writes) == (3, [])
    assert "notify is not allowed on this host" in ended.error["message"]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[str]]]:
    """Something outside of the cloud that is called: busy twice, then ready; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(HTTPStatus.NOT_FOUND if self.path == "/nowhere" else 503 if len(asked) < 3 else 200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the names of http.server

        def log_message(self, *_: Any) -> None:
            """Nobody listens."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_a_call_is_asked_again_until_it_answers_as_wanted(
    region: Region, images: dict[str, str], hook: tuple[str, list[str]]
) -> None:
    url, asked = hook
    steps = [{"http": {"url": f"{url}/ready"}}, {"http": {"url": f"{url}/nowhere"}, "timeout": "10s"}]
    write(region, group("web", WEB, then=steps), on_failure="skip")
    ended = drill(region)
    first, second = groups(ended)["web"]["steps"]
    assert (first["state"], first["told"], second["state"]) == ("done", "HTTP 200", "failed")
    assert "HTTP 404, and HTTP 200 was wanted within 10 s" in second["told"]
    assert asked[:3] == ["GET /ready"] * 3


def test_what_changes_something_elsewhere_is_sent_once(
    region: Region, images: dict[str, str], hook: tuple[str, list[str]]
) -> None:
    url, asked = hook
    write(region, group("web", WEB, then=[{"http": {"url": f"{url}/up", "method": "POST"}}]), on_failure="skip")
    ended = drill(region)
    assert (ended.code, asked) == (5, ["POST /up"])
    assert "HTTP 503, and HTTP 200 was wanted" in groups(ended)["web"]["reason"]


def test_a_step_may_be_for_drills_or_for_real_alone(region: Region, images: dict[str, str]) -> None:
    steps = [{"manual": "switch DNS", "only": "failover"}, {"manual": "look at the shop", "only": "drill"}]
    write(region, group("web", WEB, then=steps))
    ended = drill(region, "--approve-all")
    assert [step["words"] for step in groups(ended)["web"]["steps"]] == ["look at the shop"]


# -- for real -----------------------------------------------------------------------------------------------------------


def test_a_failover_asks_for_the_runbooks_name_and_its_servers_stay(region: Region, images: dict[str, str]) -> None:
    tiers(region)
    refused = region.b2i("runbook", "failover", "shop.yaml")
    assert (refused.code, region.asked) == (2, [])
    assert "shop" in refused.error["action"]
    assert region.b2i("runbook", "failover", "shop.yaml", "--yes-i-mean", "shoe").code == 2
    ended = failover(region)
    assert (ended.code, ended.told["outcome"], ended.told["mode"]) == (0, "made", "failover")
    there = {one["id"]: one for one in region.launched()}
    assert {one["server_id"] for one in servers(ended).values()} == set(there)
    assert all(any(tag.startswith("b2i-launch") for tag in one["tags"]) for one in there.values())


def test_a_failover_that_has_ended_is_not_done_a_second_time(region: Region, images: dict[str, str]) -> None:
    tiers(region)
    first = failover(region)
    region.forget()
    again = failover(region)
    assert (again.code, again.told["outcome"], again.told["run"]) == (0, "adopted", first.told["run"])
    assert region.writes == []
    other = failover(region, "--again")
    assert (other.code, other.told["run"] != first.told["run"], launches(region)) == (0, True, [])
    assert servers(other)[DB]["server_id"] == servers(first)[DB]["server_id"]


def test_a_stopped_failover_keeps_what_is_up_and_goes_on_from_there(region: Region, images: dict[str, str]) -> None:
    write(region, group("database", DB), group("web", {"source": WEB} | NEVER, needs=["database"]), on_failure="stop")
    stopped = failover(region)
    assert (stopped.code, stopped.told["state"], states(stopped)) == (5, "stopped", {"database": "up", "web": "failed"})
    assert len(region.launched()) == 2
    assert stopped.told["evidence"]
    write(region, group("database", DB), group("web", WEB, needs=["database"]), on_failure="stop")
    region.forget()
    ended = failover(region)
    assert (ended.code, ended.told["run"], states(ended)) == (0, stopped.told["run"], {"database": "up", "web": "up"})
    assert launches(region) == []


def test_a_group_of_an_ended_failover_can_be_tried_again(region: Region, images: dict[str, str]) -> None:
    write(region, group("database", DB), group("web", {"source": WEB} | NEVER, needs=["database"]), on_failure="skip")
    run = failover(region).told["run"]
    write(region, group("database", DB), group("web", WEB, needs=["database"]), on_failure="skip")
    assert say(region, "retry", run, "web").code == 0
    ended = failover(region)
    assert (ended.code, ended.told["run"], states(ended)) == (0, run, {"database": "up", "web": "up"})


# -- stopped, killed, side by side --------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", ["createServers", "getServer", "deleteServers", "listVolumesDetail"])
def test_killed_anywhere_the_same_command_goes_on_and_launches_nothing_twice(
    region: Region, images: dict[str, str], operation: str
) -> None:
    before = account(region)
    tiers(region)
    with region.killing(operation, skip=2):
        drill(region)
    ended = drill(region)
    assert (ended.code, states(ended)) == (0, {"database": "up", "application": "up", "web": "up"})
    taken = [asked for asked in launches(region) if asked.status and asked.status < 300]
    assert len(taken) == 3
    assert account(region) == before


def test_a_drill_that_nobody_goes_on_with_is_taken_down_by_the_reconciler_in_its_time(
    region: Region, images: dict[str, str]
) -> None:
    before = account(region)
    tiers(region)
    with region.killing("createServers", skip=7):
        drill(region)
    assert "goes on" in region.b2i("runbook", "status", "shop", json=False).out
    region.b2i("reconcile")
    assert len(region.launched()) == 2, "its run may be at work"
    region.clock.advance(1900)
    region.b2i("reconcile")
    assert account(region) == before
    ended = drill(region)
    assert (ended.code, account(region)) == (0, before)
    assert list(region.journal.glob("order-*.json")) == [], "what the reconciler took down is nobody's order any more"


def test_a_drill_that_was_to_end_ends_although_it_was_killed_before_it_did(region: Region, images: dict[str, str]) -> None:
    tiers(region)
    said: list[asyncio.Task[None]] = []

    async def stop() -> None:
        async with Journal.at(region.journal, clock=region.clock) as journal:
            assert (await decide("shop", None, "stop", journal, by="ada", note="not today")).at_work

    def once_something_is_launched(asked: Asked) -> None:
        if asked.operation == "getEcsJob" and not said:
            said.append(asyncio.get_running_loop().create_task(stop()))

    region.watchers.append(once_something_is_launched)
    with region.killing("getConsoleOutput"):
        drill(region)
    ended = drill(region)
    assert (ended.code, states(ended)) == (5, {"database": "failed", "application": "waiting", "web": "waiting"})
    assert ended.told["stopped"] == "stopped by ada: not today"
    assert region.launched() == []


def test_cleanup_takes_down_what_drills_have_left_and_no_server_of_a_failover(region: Region, images: dict[str, str]) -> None:
    tiers(region)
    failover(region)
    before = account(region)
    with region.killing("createServers", skip=7):
        drill(region)
    assert account(region) != before
    done = region.b2i("runbook", "cleanup", "shop.yaml")
    assert (done.code, len(done.told["runs"]), account(region)) == (0, 1, before)
    again = region.b2i("runbook", "cleanup", "shop.yaml")
    assert (again.code, again.told["runs"]) == (0, [])


def test_without_its_journal_cleanup_knows_the_servers_of_drills_by_their_marks(region: Region, images: dict[str, str]) -> None:
    before = account(region)
    tiers(region)
    with region.killing("createServers", skip=7):
        drill(region)
    region.write_settings(journal="another")
    done = region.b2i("runbook", "cleanup", "shop.yaml")
    assert (done.code, len(done.told["servers"]), account(region)) == (0, 2, before)


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_a_server_that_the_file_does_not_name_any_more_is_not_forgotten(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    drill(region, "--no-wait")
    write(region, group("web", WEB))
    ended = drill(region)
    assert ended.code == 2
    assert f"has launched {DB}" in ended.error["message"]
    assert region.b2i("runbook", "cleanup", "shop.yaml").code == 0
    assert region.launched() == []


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_a_note_stands_with_the_run_until_it_is_over(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    run = drill(region, "--no-wait").told["run"]
    assert say(region, "note", run, "the old host is still smoking", "--by", "ada").code == 0
    say(region, "approve", run)
    ended = drill(region)
    kept = json.loads(Path(ended.told["evidence"]).read_text())
    assert [(note["by"], note["text"]) for note in kept["run"]["notes"]] == [("ada", "the old host is still smoking")]
    assert say(region, "note", run, "too late").code == 2


@pytest.mark.one_door("a flow run is suspended instead of leaving: see tests/prefect")
def test_a_run_that_is_not_there_is_a_mistake_that_names_those_that_are(region: Region, images: dict[str, str]) -> None:
    asking(region, {"approve": "Is the data right?"})
    run = drill(region, "--no-wait").told["run"]
    for words in (("approve", "shoe"), ("resume", "shoe"), ("status", "shoe"), ("note", "shoe", "text")):
        ended = say(region, *words)
        assert (ended.code, run in ended.error["action"]) == (2, True)
    wrong = say(region, "approve", run, "databse")
    assert (wrong.code, "there are database, application, web" in wrong.error["message"]) == (2, True)
    assert "asks nothing in database" in say(region, "approve", run, "database").error["message"]
