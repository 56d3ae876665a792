"""Which vault of this project takes a full-ECS image that was shared with it (BEHAVIOUR.md 9): facts in, checks out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from backup_to_image.model import Check, Value, Vault
from backup_to_image.steps.context import Context

__all__ = ["ChosenVault", "Room", "Vaults", "judge_vaults"]

_PAGE = "IMS api-ref/source/ims_apis/image_sharing/updating_the_sharing_status_for_images.rst"
_IN_CHANGE = "lock"
"""Its capacity is being changed: that passes."""


class Room(Value):
    """How much an image may take in a vault."""

    gb: int
    """The sizes of its disks; backups are smaller than disks, never larger."""
    all_disks: bool
    """False: its data disks are not to be seen from here, so that this is the system disk alone."""

    @property
    def words(self) -> str:
        return (
            f"its disks have {self.gb} GB" if self.all_disks else f"its system disk has {self.gb} GB, its data disks are unknown"
        )


class ChosenVault(Value):
    """The vault, if one fits, and what was seen of each."""

    vault: Vault | None
    checks: tuple[Check, ...]
    why: str = ""
    """What speaks for the vault."""


@dataclass
class Vaults:
    """The vaults of this project as one run sees them: read once, and what the run puts into them counted beside."""

    ctx: Context
    _listed: list[Vault] | None = None
    _put: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    """The vault of each image that this run has one for, and how many GB it may take there."""
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def choose(
        self,
        image_id: str,
        room: Room,
        *,
        named: str | None = None,
        rather: str | None = None,
        despite_size: bool = False,
    ) -> ChosenVault:
        """The named vault, or the emptiest that fits; rather the one of that id. Raises CloudError if they cannot be listed."""
        async with self._one_at_a_time:
            if self._listed is None:
                self._listed = [vault async for vault in self.ctx.cloud.vaults.list()]
            seen = [self._with_what_was_put(vault) for vault in self._listed]
            chosen = judge_vaults(seen, room, named=named, rather=rather, despite_size=despite_size)
            if chosen.vault:
                self._put[image_id] = (chosen.vault.id, room.gb)
            return chosen

    def give_back(self, image_id: str) -> None:
        """It was not accepted after all."""
        self._put.pop(image_id, None)

    def _with_what_was_put(self, vault: Vault) -> Vault:
        put = sum(gb for vault_id, gb in self._put.values() if vault_id == vault.id)
        return vault.model_copy(update={"used_mb": vault.used_mb + put * 1024}) if put else vault


def judge_vaults(
    vaults: Sequence[Vault], room: Room, *, named: str | None = None, rather: str | None = None, despite_size: bool = False
) -> ChosenVault:
    """Look at each vault by every rule; `named` (an id or a name) is the only one that may be taken then."""
    if named is not None:
        meant = [vault for vault in vaults if vault.id == named.lower()] or [vault for vault in vaults if vault.name == named]
        if len(meant) != 1:
            return ChosenVault(vault=None, checks=(_not_one(named, meant),))
        vaults = meant
    if not vaults:
        action = f"Make one in CBR: a server vault for backups, {room.gb} GB at least."
        return ChosenVault(vault=None, checks=(_refuse("vault", "this project has no vault", action, "IMG.0184"),))
    against = {vault.id: _against(vault, room, despite_size=despite_size) for vault in vaults}
    fitting = sorted(
        (vault for vault in vaults if not against[vault.id]), key=lambda one: (one.id != rather, -_free_mb(one), one.id)
    )
    chosen = fitting[0] if fitting else None
    checks = [_check(vault, against[vault.id], room, chosen) for vault in vaults]
    why = next((check.why for vault, check in zip(vaults, checks, strict=True) if vault == chosen), "")
    return ChosenVault(vault=chosen, checks=tuple(checks), why=why)


def _against(vault: Vault, room: Room, *, despite_size: bool) -> list[tuple[str, str, str]]:
    """Every reason against a vault: why, what to do, and the cloud's code."""
    found: list[tuple[str, str, str]] = []
    if vault.object_type != "server":
        found.append((f"it is for {vault.object_type}, not for servers", "Take a server vault.", "IMG.0193"))
    if vault.protect_type != "backup":
        why = f"it is for {vault.protect_type or 'an unknown purpose'}, not for backups"
        found.append((why, "Take a vault for backups.", "IMG.0188"))
    if vault.status != "available":
        what = "Wait until its capacity has been changed." if vault.status == _IN_CHANGE else "See to the vault in CBR."
        found.append((f"it is {vault.status}, not available", what, "IMG.0188"))
    free = _free_mb(vault)
    if free <= 0:
        found.append(("it is full", "Enlarge it, or delete backups that nobody needs.", "IMG.0182"))
    elif free < room.gb * 1024 and not despite_size:
        action = "Enlarge it, or add --despite-size: what is stored is smaller than the disks, and the cloud decides."
        found.append((f"{free // 1024} GB are free, and {room.words}", action, "IMG.0182"))
    return found


def _check(vault: Vault, against: list[tuple[str, str, str]], room: Room, chosen: Vault | None) -> Check:
    name, free = vault.name or vault.id, _free_mb(vault) // 1024
    rule = f"vault {name}"
    if against:
        return Check(
            rule=rule,
            verdict="warned" if chosen else "refused",
            why=f"{name}: {'; '.join(why for why, _, _ in against)} ({vault.id})",
            action="" if chosen else " ".join(dict.fromkeys(action for _, action, _ in against)),
            waiting_helps=all(vault.status == _IN_CHANGE and why.startswith("it is lock") for why, _, _ in against),
            code=against[0][2],
            page=_PAGE,
        )
    taken = "; it is taken" if chosen and vault.id == chosen.id else ""
    unseen = "" if room.all_disks else "; if that is too little, the cloud says IMG.0182"
    return Check(rule=rule, verdict="passed", why=f"{free} GB are free, and {room.words}{unseen}{taken} ({vault.id})", page=_PAGE)


def _not_one(named: str, meant: Sequence[Vault]) -> Check:
    if meant:
        ids = ", ".join(vault.id for vault in meant)
        return _refuse("vault", f"{len(meant)} vaults are called {named!r}", f"Name the id instead: {ids}.", "IMG.0184")
    action = "Name one of this project by its id or name, or leave --vault out: then one that fits is taken."
    return _refuse("vault", f"this project has no vault {named!r}", action, "IMG.0184")


def _free_mb(vault: Vault) -> int:
    return vault.size_gb * 1024 - vault.used_mb


def _refuse(rule: str, why: str, action: str, code: str) -> Check:
    return Check(rule=rule, verdict="refused", why=why, action=action, code=code, page=_PAGE)
