"""Which servers a policy means and which backup of each is taken: every rule by its reason, nothing asked of any cloud."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_to_image.model import Backup, Image, Server, Vault
from backup_to_image.model.night import FleetMember
from backup_to_image.model.policy import Policy, RecoverySet, WhichServers
from backup_to_image.steps.choose import choose_members, choose_servers, newest_set

NOW = datetime(2026, 11, 25, 23, 0, tzinfo=UTC)


def server(name: str, **tags: str) -> Server:
    return Server(id=f"id-{name}", name=name, status="ACTIVE", tags=tags)


def backup(of: str, hours: float, ident: str = "", **more: Any) -> Backup:
    made = NOW - timedelta(hours=hours)
    told = {"id": ident or f"{of}-{hours:g}", "name": "", "status": "available", "kind": "server", "resource_id": f"id-{of}"}
    return Backup(**(told | {"project_id": "p", "created_at": made} | more))


def image(of: Backup, status: str = "active") -> Image:
    return Image(id=f"image-of-{of.id}", name="an image", status=status, owner="p", visibility="private", backup_id=of.id)


def policy(**more: Any) -> Policy:
    return Policy.model_validate({"name": "nightly", "servers": {"names": ["*"]}} | more)


def members(
    *backups: Backup, images: tuple[Image, ...] = (), vaults: tuple[Vault, ...] = (), **told: Any
) -> dict[str, FleetMember]:
    servers = sorted({one.resource_id.removeprefix("id-") for one in backups} | {"web"})
    found = choose_members(
        policy(**told), [server(name) for name in servers], backups, images, {one.id: one for one in vaults}, now=NOW
    )
    return {member.server_name: member for member in found}


def vault(*servers: str) -> Vault:
    ids = tuple(f"id-{name}" for name in servers)
    return Vault(
        id="v", name="shop-vault", status="available", object_type="server", protect_type="backup", size_gb=1, server_ids=ids
    )


# -- which servers ------------------------------------------------------------------------------------------------------

_SERVERS = [
    server("shop-web", stage="prod"),
    server("shop-db", stage="prod"),
    server("shop-scratch"),
    server("mail", stage="test"),
]
FLEET = {one.id: one for one in _SERVERS}


@pytest.mark.parametrize(
    ("which", "names"),
    [
        ({"names": ["*"]}, ["mail", "shop-db", "shop-scratch", "shop-web"]),
        ({"names": ["shop-*"], "exclude": ["*-scratch"]}, ["shop-db", "shop-web"]),
        ({"names": ["shop-?b"]}, ["shop-db"]),
        ({"tags": {"stage": "prod"}}, ["shop-db", "shop-web"]),
        ({"tags": {"stage": "*"}}, ["mail", "shop-db", "shop-web"]),
        ({"tags": {"stage": "prod", "other": "x"}}, ["shop-db", "shop-web"]),
        ({"vaults": ["shop-vault"]}, ["mail", "shop-db"]),
        ({"vaults": ["v"], "names": ["shop-*"]}, ["shop-db"]),
        ({"ids": ["id-mail", "id-shop-db"], "exclude": ["id-mail"]}, ["shop-db"]),
        ({"ids": ["id-mail"], "names": ["shop-*"]}, []),
    ],
)
def test_all_keys_must_hold_and_inside_a_key_any_entry_does(which: dict[str, Any], names: list[str]) -> None:
    chosen = choose_servers(WhichServers.model_validate(which), FLEET, {"v": vault("shop-db", "mail")})
    assert ([one.name for one in chosen.servers], chosen.mistakes) == (names, ())


def test_a_drill_server_is_never_meant_however_it_is_named() -> None:
    drill = Server(id="id-drill", name="shop-web-drill-1", status="ACTIVE", tags={"b2i-drill": "0123456789ab"})
    servers = {one.id: one for one in [*_SERVERS, drill]}
    for which in (WhichServers(names=("*",)), WhichServers(ids=("id-drill",))):
        assert drill not in choose_servers(which, servers, {}).servers


def test_ids_and_vaults_that_do_not_exist_are_mistakes_told_all_at_once() -> None:
    which = WhichServers(ids=("id-gone", "id-mail"), vaults=("no-vault",))
    chosen = choose_servers(which, FLEET, {"v": vault("mail")})
    assert chosen.servers == ()
    assert ["id-gone" in chosen.mistakes[0].why, "no-vault" in chosen.mistakes[1].why] == [True, True]


def test_a_vaults_name_that_two_have_chooses_neither() -> None:
    vaults = {"v": vault("mail"), "w": vault("shop-db").model_copy(update={"id": "w"})}
    assert "2 vaults" in choose_servers(WhichServers(vaults=("shop-vault",)), FLEET, vaults).mistakes[0].why


# -- which backup -------------------------------------------------------------------------------------------------------


def test_the_newest_usable_backup_is_taken() -> None:
    found = members(backup("web", 3, status="error"), backup("web", 5), backup("web", 20))["web"]
    assert (found.action, found.backup and found.backup.id) == ("make", "web-5")


def test_a_backup_that_has_its_image_is_adopted_and_one_whose_image_died_is_passed_over() -> None:
    newest, older = backup("web", 2), backup("web", 6)
    adopted = members(newest, older, images=(image(newest),))["web"]
    assert (adopted.action, adopted.image_id) == ("adopt", "image-of-web-2")
    assert members(newest, older, images=(image(newest, "killed"),))["web"].backup == older
    alone = members(newest, images=(image(newest, "killed"),))["web"]
    assert (alone.action, "killed" in alone.reason) == ("skip", True)


def test_an_image_that_only_the_backup_names_counts_too() -> None:
    found = members(backup("web", 2, image_ids=("unlisted",)))["web"]
    assert (found.action, found.image_id) == ("adopt", "unlisted")


def test_a_backup_that_is_being_made_is_waited_for() -> None:
    found = members(backup("web", 0.1, status="protecting"), backup("web", 24))["web"]
    assert (found.action, found.backup and found.backup.status) == ("make", "protecting")


@pytest.mark.parametrize(
    ("backups", "words"),
    [
        ((), "no backup"),
        ((backup("web", 30),), "30 h 0 min old, 26 h 0 min are allowed"),
        ((backup("web", 3, status="error"),), "is error"),
        ((backup("web", 3, contains_system_disk=False),), "no system disk"),
    ],
)
def test_a_server_without_a_usable_backup_is_skipped_with_the_reason_or_backed_up_where_the_policy_says_so(
    backups: tuple[Backup, ...], words: str
) -> None:
    skipped = members(*backups)["web"]
    assert (skipped.action, words in skipped.reason, bool(skipped.advice)) == ("skip", True, True), skipped.reason
    made = members(*backups, backup={"make_one": "if_missing"}, vaults=(vault("web"),))["web"]
    assert (made.action, made.vault_id, words in made.reason) == ("back_up", "v", True)
    assert members(*backups, backup={"make_one": "if_missing"})["web"].action == "refuse"


def test_always_means_although_there_is_one() -> None:
    assert members(backup("web", 1), backup={"make_one": "always"}, vaults=(vault("web"),))["web"].action == "back_up"


# -- only of use together -----------------------------------------------------------------------------------------------


def test_a_recovery_set_takes_older_backups_that_lie_together() -> None:
    found = members(backup("web", 1), backup("web", 5), backup("db", 5.2), backup("db", 9), recovery_set={"within": "30m"})
    assert {name: one.backup and one.backup.id for name, one in found.items()} == {"web": "web-5", "db": "db-5.2"}


def test_a_recovery_set_that_is_not_whole_or_too_far_apart_is_refused_as_a_whole() -> None:
    apart = members(backup("web", 1), backup("db", 5), recovery_set={"within": "30m"})
    assert {one.action for one in apart.values()} == {"refuse"}
    assert "30 min" in apart["web"].reason
    lacking = members(backup("web", 1), backup("db", 1), backup("app", 50), recovery_set={"within": "30m"})
    assert {name: one.action for name, one in lacking.items()} == {"web": "refuse", "db": "refuse", "app": "skip"}
    assert "app" in lacking["web"].reason


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=4, unique=True), min_size=1, max_size=4), st.integers(0, 30))
def test_the_set_that_is_found_is_the_newest_of_all_that_lie_together(ages: list[list[int]], within: int) -> None:
    candidates = {f"s{at}": [backup(f"s{at}", age / 60) for age in mine] for at, mine in enumerate(ages)}
    found = newest_set(candidates, RecoverySet(within=timedelta(minutes=within)))
    fitting = [combined for combined in _all(ages) if max(combined) - min(combined) <= within]
    if found is None:
        assert fitting == []
        return
    mine = [round((NOW - one.created_at).total_seconds() / 60) for one in found.values() if one.created_at]
    assert max(mine) - min(mine) <= within
    assert max(mine) == min(max(combined) for combined in fitting)


def _all(ages: list[list[int]]) -> list[list[int]]:
    if not ages:
        return [[]]
    return [[age, *rest] for age in ages[0] for rest in _all(ages[1:])]
