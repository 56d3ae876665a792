"""What people get wrong: every mistake at once, with its place, as a sentence; never a traceback, never a second log-in."""

import json
from datetime import datetime
from typing import Any

import pytest
import yaml

from tests.support.region import Region

UNKNOWN = "11111111-2222-4333-8444-555555555555"
COMMANDS = [
    ["create", UNKNOWN],
    ["validate", UNKNOWN],
    ["backups"],
    ["teardown", "0" * 12],
    ["launch", UNKNOWN, "--spec", "launch.yaml"],
    ["change-os", UNKNOWN, UNKNOWN],
]
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NAMES = [command[0] for command in COMMANDS]


@pytest.fixture(autouse=True)
def spec(region: Region) -> None:
    region.write_launch()


def read_error(out: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out)["error"]
    assert set(found) == {"code", "message", "action", "retryable"}
    return found


# -- clouds.yaml ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_clouds_yaml_that_is_no_yaml_is_told_with_its_line(region: Region, command: list[str]) -> None:
    (region.folder / "clouds.yaml").write_text("clouds:\n  shop:\n    auth: {username: [\n")
    ended = region.b2i(*command)
    assert (ended.code, region.asked) == (2, [])
    assert "clouds.yaml:" in ended.error["message"]


def test_a_missing_cloud_is_told_with_those_that_there_are(region: Region) -> None:
    ended = region.b2i("backups", cloud="shopp")
    assert (ended.code, region.asked) == (2, [])
    for word in ("shopp", "shop", "dr", "partner"):
        assert word in ended.error["message"] + ended.error["action"]


def test_no_clouds_yaml_at_all_says_where_it_was_looked_for(region: Region) -> None:
    (region.folder / "clouds.yaml").unlink()
    ended = region.b2i("backups")
    assert (ended.code, region.asked) == (2, [])
    assert "clouds.yaml" in ended.error["message"] + ended.error["action"]


def test_everything_that_an_entry_lacks_is_told_at_once(region: Region) -> None:
    (region.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"shop": {"auth": {"project_name": "eu-de_shop"}}}}))
    ended = region.b2i("backups")
    assert ended.code == 2
    for word in ("auth_url", "username", "password"):
        assert word in ended.error["message"], ended.error


# -- logging in -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_wrong_password_is_tried_once_and_never_shown(region: Region, command: list[str]) -> None:
    wrong = f"Wrong-Password-{command[0]}"  # one of its own: a refused one is remembered by the whole process
    region.write_clouds(password=wrong)
    ended = region.b2i(*command)
    assert (ended.code, ended.error["code"]) == (2, "b2i.login-refused")
    assert [asked.operation for asked in region.asked] == ["createToken"]
    assert wrong not in ended.out + ended.err


def test_an_unknown_project_is_a_refused_log_in_and_no_verdict_on_the_password(region: Region) -> None:
    """The user of a mistyped project is not locked out of his others for as long as the process lives."""
    region.write_clouds(project_id="ab" * 16)
    for sent in (1, 1):
        assert region.b2i("backups").code == 2
        assert len(region.sent("createToken")) == sent
    region.write_clouds()
    assert region.b2i("backups").code == 0


def test_a_wrong_password_is_not_tried_with_project_after_project(region: Region) -> None:
    for number in range(5):
        region.write_clouds(password="Wrong-Password-of-all", project_id=f"{number:032x}")
        assert region.b2i("backups").code == 2
    assert len(region.sent("createToken")) == 2


def test_a_password_of_asterisks_is_refused_before_it_is_sent(region: Region) -> None:
    region.write_clouds(password="********")
    ended = region.b2i("backups")
    assert (ended.code, region.asked) == (2, [])


def test_an_address_where_nobody_answers_is_told_with_what_to_check(region: Region) -> None:
    """Over real sockets: a port of this machine on which nothing listens."""
    region.write_clouds(auth_url="http://127.0.0.1:9/v3")
    ended = region.b2i("backups", network=True)
    assert (ended.code, ended.error["retryable"]) == (1, True)
    assert "127.0.0.1:9" in ended.error["message"]
    assert ended.error["action"]


def test_an_address_over_plain_http_is_refused_away_from_this_machine(region: Region) -> None:
    region.write_clouds(auth_url="http://iam.example.com/v3")
    ended = region.b2i("backups")
    assert (ended.code, region.asked) == (2, [])


# -- our own files --------------------------------------------------------------------------------------------------------


def test_a_launch_file_with_three_mistakes_gives_three_lines_with_their_places(region: Region, backup: str) -> None:
    (region.folder / "launch.yaml").write_text(
        "name: shop restored\nflavour: s3.large.2\nnetwork:\n  vpc: shop-vpc\n  subnet: shop-net\nprobes:\n  - {tcp: 99999}\n"
    )
    for command in (["create", backup, "--launch", "launch.yaml"], ["launch", UNKNOWN, "--spec", "launch.yaml"]):
        ended = region.b2i(*command)
        assert (ended.code, region.writes) == (2, [])
        lines = ended.error["message"].splitlines()
        assert [line.split(": ")[0] for line in lines] == ["launch.yaml:1", "launch.yaml:2", "launch.yaml:7"]
        assert "flavour" in lines[1]
        assert "probes.0.tcp" in lines[2]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "just a word",
        "- a\n- b\n",
        "name: [",
        "name: a\nname: b\n",
        "\x00\x01",
        "&a [*a]",
        BOMB,
        "name: !!python/object:os.system x",
    ],
    ids=["empty", "text", "list", "broken", "twice", "binary", "recursive", "bomb", "object"],
)
def test_whatever_a_launch_file_holds_is_answered_in_words(region: Region, content: str) -> None:
    (region.folder / "launch.yaml").write_text(content)
    ended = region.b2i("launch", UNKNOWN, "--spec", "launch.yaml")
    assert (ended.code, ended.error["code"]) == (2, "b2i.usage")
    assert "launch.yaml" in ended.error["message"]


@pytest.mark.parametrize("path", ["nowhere.yaml", ".", "/dev/null/x"])
def test_a_launch_file_that_cannot_be_read_is_named(region: Region, path: str) -> None:
    ended = region.b2i("launch", UNKNOWN, "--spec", path)
    assert ended.code == 2
    assert path in ended.error["message"]


def test_mistakes_of_settings_and_clouds_are_told_together(region: Region) -> None:
    (region.folder / "b2i.yaml").write_text("projects:\n  dr: not-an-id\njournall: x\nsettle: {image: 2}\n")
    (region.folder / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {"shop": {"auth": {"username": "x"}}}}))
    ended = region.b2i("backups")
    assert ended.code == 2
    for words in ("b2i.yaml:1", "not-an-id", "b2i.yaml:3", "journall", "b2i.yaml:4", "auth_url"):
        assert words in ended.error["message"], ended.error["message"]


def test_a_settings_file_that_is_named_must_be_there(region: Region) -> None:
    ended = region.b2i("backups", "--config", "other.yaml")
    assert ended.code == 2
    assert "other.yaml" in ended.error["message"]


# -- words on the command line --------------------------------------------------------------------------------------------

USAGE: dict[str, list[str]] = {
    "no backup": ["create"],
    "backup and server": ["create", UNKNOWN, "--server", "shop-web-01", "--newest"],
    "server without newest": ["create", "--server", "shop-web-01"],
    "newest without server": ["create", "--newest"],
    "unknown option": ["create", UNKNOWN, "--nmae", "x"],
    "unknown command": ["creat", UNKNOWN],
    "no length": ["create", UNKNOWN, "--timeout", "soon"],
    "negative length": ["create", UNKNOWN, "--timeout", "-5m"],
    "length without unit": ["create", UNKNOWN, "--wait-backup", "60"],
    "very long length": ["create", UNKNOWN, "--timeout", "9999999d"],
    "endless length": ["create", UNKNOWN, "--timeout", "99999999999d"],
    "tag without value": ["create", UNKNOWN, "--tag", "team"],
    "tag twice": ["create", UNKNOWN, "--tag", "a=1", "--tag", "a=2"],
    "no spec": ["launch", UNKNOWN],
    "no launch id": ["teardown"],
    "trace into nowhere": ["backups", "--trace", "nowhere/trace.jsonl"],
    "server without backups": ["create", "--server", "no-such-server", "--newest"],
}


@pytest.mark.parametrize("words", USAGE.values(), ids=USAGE)
def test_a_mistake_of_usage_is_one_object_with_exit_code_two(region: Region, words: list[str]) -> None:
    ended = region.b2i(*words)
    assert ended.code == 2
    assert read_error(ended.out)["retryable"] is False
    assert region.writes == []


@pytest.mark.parametrize("words", USAGE.values(), ids=USAGE)
def test_people_get_words_on_standard_error_and_nothing_on_standard_output(region: Region, words: list[str]) -> None:
    ended = region.b2i(*words, json=False)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip()


def test_two_servers_of_one_name_are_not_guessed_between(region: Region) -> None:
    for one in region.things("backup", resource_name="shop-web-02"):
        region.change("backup", one, resource_name="shop-web-01")
    ended = region.b2i("create", "--server", "shop-web-01", "--newest")
    assert (ended.code, region.writes) == (2, [])
    assert "2 servers" in ended.error["message"]


@pytest.mark.parametrize("backup", ["", " ", "../..", "%2e%2e", "a" * 5000, "x\ny", "ümlaut", "' or 1=1", "*", "-"])
def test_odd_words_for_a_backup_are_refused_not_stumbled_over(region: Region, backup: str) -> None:
    ended = region.b2i("create", "--", backup)
    assert ended.code in {2, 3}, ended.out
    assert region.writes == []


def test_words_after_the_command_count_like_words_before_it(region: Region) -> None:
    ended = region.b2i("backups", "--json", "--cloud", "dr", "-q", json=False, cloud="shop")
    assert ended.code == 0
    assert ended.err == ""
    assert json.loads(ended.out)["backups"]


def test_a_trace_shows_every_exchange_and_no_secret(region: Region, backup: str) -> None:
    ended = region.b2i("create", backup, "--trace", "trace.jsonl")
    file = region.folder / "trace.jsonl"
    told = [json.loads(line) for line in file.read_text().splitlines()]
    assert ended.code == 0
    assert [one["operation"] for one in told] == [one.operation for one in region.asked]
    assert region.account["password"] not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0


def test_backups_say_which_could_become_an_image_and_why_the_others_cannot(region: Region, backup: str) -> None:
    ended = region.b2i("backups")
    told = {one["id"]: one for one in ended.told["backups"]}
    known = region.account["backups"]
    assert told[backup]["usable"] is True
    for name in ("error", "already_used", "volume"):
        assert told[known[name]]["why_not"], name
    times = [datetime.fromisoformat(one["created_at"]) for one in ended.told["backups"]]
    assert times == sorted(times, reverse=True)
    usable = region.b2i("backups", "--usable", "--server", "shop-web-01").told["backups"]
    assert usable
    assert all(one["usable"] and one["server_name"] == "shop-web-01" for one in usable)
    assert backup in region.b2i("backups", "--server", "shop-web-01", json=False).out
