"""A policy file says what a fleet's night is: every key has its sense, and every mistake its line."""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from backup_to_image.errors import UsageError
from backup_to_image.model.policy import Amount, Policy
from backup_to_image.yamlfile import load_file

WHOLE = """\
name: nightly-shop
cloud: shop
timezone: Europe/Berlin
schedule: "30 22 * * *"
servers: {vaults: [shop-vault], tags: {backup-to-image: "yes"}, names: ["shop-*"], exclude: ["*-scratch"]}
backup: {newest_within: 26h, make_one: if_missing}
recovery_set: {within: 30m}
image: {name: "{server}-{backup_created:%Y%m%d}-{backup_short}", tags: {team: shop}}
share_with: [dr]
verify: {sample: 2, launch: launch/drill.yaml}
retention:
  {apply: true, when: rolling, keep_newest: 1, max_age: null, daily: 7, weekly: 4, monthly: 6, yearly: 0,
   delete_backup: made_by_us, max_deletions: 5%, vanished: {keep_for: 90d}}
limits: {images_at_once: 40, shards: 1, deadline: 6h}
failed_when: {more_than: 3}
"""


def read(folder: Path, text: str) -> Policy:
    (folder / "policy.yaml").write_text(text)
    return load_file(folder / "policy.yaml", Policy, "policy")


def mistakes(folder: Path, text: str) -> list[str]:
    with pytest.raises(UsageError) as refused:
        read(folder, text)
    return [problem.removeprefix(f"{folder}/") for problem in refused.value.problems]


def test_every_key_of_a_whole_policy_is_read(tmp_path: Path) -> None:
    policy = read(tmp_path, WHOLE)
    assert set(yaml.safe_load(WHOLE)) == set(Policy.model_fields)
    assert (policy.backup.newest_within, policy.recovery_set and policy.recovery_set.within) == (
        timedelta(hours=26),
        timedelta(minutes=30),
    )
    assert str(policy.retention.max_deletions) == "5%"
    assert policy.zone.key == "Europe/Berlin"


def test_a_policy_of_a_name_and_servers_deletes_shares_and_launches_nothing(tmp_path: Path) -> None:
    policy = read(tmp_path, "name: small\nservers: {names: ['*']}\n")
    assert (policy.retention.apply, policy.share_with, policy.verify, policy.backup.make_one) == (False, (), "none", "never")


def test_a_policy_that_is_kept_as_json_is_read_back_as_it_was(tmp_path: Path) -> None:
    policy = read(tmp_path, WHOLE)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


def test_every_mistake_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = (
        "name: no spaces here\n"
        "timezone: Mars/Olympus\n"
        "servers: {exclude: [x]}\n"
        "backup: {newest_within: 26}\n"
        "retention:\n  keep_newest: 0\n  max_deletions: 200%\n  weekdays: 3\n"
        "limits: {images_at_once: 41}\n"
    )
    told = mistakes(tmp_path, text)
    assert [line.split(":")[1] for line in told] == ["1", "2", "3", "4", "6", "7", "8", "9"]
    for number, words in (
        (1, "time zone"),
        (2, 'names: ["*"]'),
        (3, "has a unit"),
        (5, "no amount"),
        (6, "unknown key"),
        (7, "40 at most"),
    ):
        assert words in told[number], told[number]


@pytest.mark.parametrize(
    ("written", "whole", "amount"),
    [
        (3, 1000, 3),
        (0, 10, 0),
        ("5%", 1000, 50),
        ("5%", 19, 0),
        ("7 %", 100, 7),
        ("0.5%", 1000, 5),
        ("100%", 7, 7),
        ("29%", 100, 29),
    ],
)
def test_an_amount_is_a_number_or_a_part_of_the_whole_rounded_down(written: object, whole: int, amount: int) -> None:
    assert Amount.model_validate(written).of(whole) == amount


@pytest.mark.parametrize("written", [-1, True, "5", "101%", "five", None, 2.5, [3]])
def test_what_is_no_amount_is_a_mistake(written: object) -> None:
    with pytest.raises(ValueError, match="no amount"):
        Amount.model_validate(written)
