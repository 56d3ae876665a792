"""Which servers a policy means, and which backup of each becomes its image: decided from the project's lists, with the reasons.

Nothing is asked here and nothing is made. A server without a usable backup is skipped where the policy makes none; what the
policy itself gets wrong speaks against the whole night.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from backup_to_image.model import Backup, Check, Image, Server, Value, Vault
from backup_to_image.model.night import FleetMember
from backup_to_image.model.policy import Policy, RecoverySet, WhichServers
from backup_to_image.steps.context import minutes
from backup_to_image.steps.findings import CLOCK_SLACK, DEAD, image_among
from backup_to_image.steps.names import DRILL_TAG, made_by_us
from backup_to_image.steps.select import why_not

__all__ = ["Chosen", "choose_members", "choose_servers", "newest_set"]

_COMING = frozenset({"protecting", "waiting_protect"})


class Chosen(Value):
    """The servers of a policy, by name, and what its words do not fit."""

    servers: tuple[Server, ...] = ()
    mistakes: tuple[Check, ...] = ()
    """What is named and does not exist."""


def choose_servers(which: WhichServers, servers: Mapping[str, Server], vaults: Mapping[str, Vault]) -> Chosen:
    """The servers that fit every key that is given; inside a key any entry does. `exclude` has the last word.

    A vault or an id that does not exist is a mistake and chooses nothing; a pattern or a tag may well fit nothing tonight. Drill
    servers are never meant: they are copies that will soon be gone.
    """
    mistakes: list[Check] = []
    wanted = set(servers)
    if which.ids is not None:
        gone = [ident for ident in which.ids if ident not in servers]
        mistakes += [_mistake(f"no server has the id {ident}", "Take it out of `ids`.") for ident in gone]
        wanted &= set(which.ids)
    if which.vaults is not None:
        protected: set[str] = set()
        for name in which.vaults:
            found = [vault for vault in vaults.values() if name in {vault.id, vault.name}]
            if len(found) != 1:
                how = "no vault is" if not found else f"{len(found)} vaults are"
                mistakes.append(_mistake(f"{how} called {name!r}", "Name one that is there, by its id if need be."))
            else:
                protected |= set(found[0].server_ids)
        wanted &= protected
    if which.tags is not None:
        wanted = {ident for ident in wanted if _tagged(servers[ident], which.tags)}
    if which.names is not None:
        wanted = {ident for ident in wanted if _fits(servers[ident].name, which.names)}
    wanted -= {ident for ident in wanted if ident in which.exclude or _fits(servers[ident].name, which.exclude)}
    wanted -= {ident for ident in wanted if DRILL_TAG in servers[ident].tags}
    in_order = sorted((servers[ident] for ident in wanted), key=lambda server: (server.name, server.id))
    return Chosen(servers=tuple(in_order), mistakes=tuple(mistakes))


def choose_members(
    policy: Policy,
    chosen: Sequence[Server],
    backups: Iterable[Backup],
    images: Sequence[Image],
    vaults: Mapping[str, Vault],
    *,
    now: datetime,
    began: datetime | None = None,
) -> tuple[FleetMember, ...]:
    """What the night does with each of these servers, in their order, and why.

    `began`: when the night began for the first time; a backup that it has made since is the one that it always makes.
    """
    youngest = now - policy.backup.newest_within
    of_server: dict[str, list[Backup]] = {server.id: [] for server in chosen}
    for backup in backups:
        if backup.resource_id in of_server:
            of_server[backup.resource_id].append(backup)
    for found in of_server.values():
        found.sort(key=lambda backup: (_age(backup, now), backup.id))
    usable = {ident: [one for one in found if _usable(one, images, youngest)] for ident, found in of_server.items()}
    picked: dict[str, Backup | None] = {ident: found[0] if found else None for ident, found in usable.items()}
    broken = ""
    if policy.recovery_set is not None and picked:
        picked, broken = _together(chosen, usable, policy.recovery_set)
    why = {ident: broken if found else "" for ident, found in usable.items()}
    return tuple(
        _member(policy, server, picked[server.id], of_server[server.id], images, vaults, now, began, broken=why[server.id])
        for server in chosen
    )


def _together(
    chosen: Sequence[Server], usable: Mapping[str, Sequence[Backup]], rule: RecoverySet
) -> tuple[dict[str, Backup | None], str]:
    """The newest set; or nothing for anybody, and why."""
    without = [server.name for server in chosen if not usable[server.id]]
    if without:
        return dict.fromkeys(usable), f"the recovery set is not whole: {', '.join(without)} without a usable backup"
    found = newest_set(usable, rule)
    if found is None:
        return dict.fromkeys(usable), f"no backups of all its servers lie within {minutes(rule.within)} of each other"
    return dict(found), ""


def newest_set(candidates: Mapping[str, Sequence[Backup]], rule: RecoverySet) -> dict[str, Backup] | None:
    """One backup of each server, no two of them farther apart than the rule allows: the newest such set, or None.

    The newest set is that whose oldest backup is the youngest possible.
    """
    times = {backup.id: backup.created_at for found in candidates.values() for backup in found if backup.created_at}
    for last in sorted(set(times.values()), reverse=True):
        together: dict[str, Backup] = {}
        for server, found in candidates.items():
            before = [backup for backup in found if backup.id in times and times[backup.id] <= last]
            if not before:
                return None  # an earlier end leaves even less
            together[server] = max(before, key=lambda backup: times[backup.id])
        if last - min(times[backup.id] for backup in together.values()) <= rule.within:
            return together
    return None


def _usable(backup: Backup, images: Sequence[Image], youngest: datetime) -> bool:
    """Whether the backup may become an image tonight, or has one that lives; one that is being made is waited for."""
    if backup.created_at is None or backup.created_at < youngest:
        return False
    image = image_among(images, backup)
    if image is not None:
        return image.status not in DEAD
    return bool(backup.image_ids) or backup.status in _COMING or not why_not(backup)


def _member(
    policy: Policy,
    server: Server,
    backup: Backup | None,
    backups: Sequence[Backup],
    images: Sequence[Image],
    vaults: Mapping[str, Vault],
    now: datetime,
    began: datetime | None,
    *,
    broken: str,
) -> FleetMember:
    """One server's part. `broken`: it has a usable backup, but its recovery set has not, and why."""
    vault = next((vault.id for vault in vaults.values() if server.id in vault.server_ids), None)
    base = FleetMember(server_id=server.id, server_name=server.name, action="skip", reason="", server=server, vault_id=vault)
    always = policy.backup.make_one == "always" and not _made_tonight(backup, began)
    must = always or (policy.backup.make_one != "never" and backup is None)
    if must and vault is None:
        reason = "a backup is to be made now, and no vault protects the server"
        return base.model_copy(update={"action": "refuse", "reason": reason, "advice": "Bind it to a server vault in CBR."})
    if must:
        why = "the policy always makes one" if always else broken or _why_none(policy, backups, images, now)
        return base.model_copy(update={"action": "back_up", "reason": f"it is backed up first: {why}"})
    if backup is None and broken:
        advice = "Back the servers up in one run of a vault."
        return base.model_copy(update={"action": "refuse", "reason": broken, "advice": advice})
    if backup is None:
        advice = f"`b2i backups --server {server.id}` says why; `backup: {{make_one: if_missing}}` makes one."
        return base.model_copy(update={"reason": _why_none(policy, backups, images, now), "advice": advice})
    image = image_among(images, backup)
    age = minutes(_age(backup, now))
    if image or backup.image_ids:
        name = f"{image.name} ({image.id}, {image.status})" if image else backup.image_ids[0]
        found = {"action": "adopt", "reason": f"its backup of {age} ago has its image: {name}"}
        return base.model_copy(update=found | {"backup": backup, "image_id": image.id if image else backup.image_ids[0]})
    comes = ", which is still being made" if backup.status in _COMING else ""
    return base.model_copy(update={"action": "make", "reason": f"from its backup of {age} ago{comes}", "backup": backup})


def _made_tonight(backup: Backup | None, began: datetime | None) -> bool:
    if backup is None or began is None or backup.created_at is None:
        return False
    return made_by_us(backup) and backup.created_at >= began - CLOCK_SLACK


def _why_none(policy: Policy, backups: Sequence[Backup], images: Sequence[Image], now: datetime) -> str:
    """Why none of these backups, newest first, is taken."""
    if not backups:
        return "it has no backup in this project"
    newest = backups[0]
    if newest.created_at is None:
        return "its backups do not tell when they were made"
    if _age(newest, now) > policy.backup.newest_within:
        return f"its newest backup is {minutes(_age(newest, now))} old, {minutes(policy.backup.newest_within)} are allowed"
    image = image_among(images, newest)
    if image is not None:
        return f"the image of its newest backup is {image.status} ({image.id}), and only a person orders the next"
    return f"its newest backup {why_not(newest) or 'cannot be used'}"


def _mistake(why: str, action: str) -> Check:
    return Check(rule="servers", verdict="refused", why=why, action=action, page="docs/policies.md")


def _age(backup: Backup, now: datetime) -> timedelta:
    return now - backup.created_at if backup.created_at else timedelta.max


def _tagged(server: Server, wanted: Mapping[str, str]) -> bool:
    return any(key in server.tags and value in {"*", server.tags[key]} for key, value in wanted.items())


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
