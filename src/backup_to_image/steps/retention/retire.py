"""What a policy's retention does with the images of its servers: the plan with every decision, and then what it says.

Which images are the policy's: those with our mark `b2i-source` of a server that the policy chooses, made by a night of this
policy or by hand; those that another policy has made are left to that one. Of servers that exist no more, those that a night of
this policy has made. A server that no list shows has vanished only if asking for it by its id says so too.

Nothing is decided from a list that could not be read, and nothing is deleted by a list alone: right before each deletion the
image, its members and the image that stays in its place are looked at by their ids (`remove_image`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime

from backup_to_image.errors import ApiError, CloudError
from backup_to_image.model import Backup, Image, Value, Vault
from backup_to_image.model.policy import Policy
from backup_to_image.steps.choose import choose_servers
from backup_to_image.steps.context import Context
from backup_to_image.steps.names import DRILL_TAG, POLICY_TAG, SOURCE_TAG, decode_tag, encode_tag
from backup_to_image.steps.orders import OrderedChange, OrderedHandOver, OrderedImage, OrderedLaunch, OrderedShare, open_orders
from backup_to_image.steps.retention.remove_image import (
    BackupFate,
    Doomed,
    Removal,
    finish_removal,
    may_go,
    open_removals,
    remove_image,
)
from backup_to_image.steps.retention.rules import Candidate, Decision, decide
from backup_to_image.steps.survey import Survey

__all__ = ["Expendable", "Retired", "Retirement", "RetirementPlan"]

_AT_ONCE = 8
"""Deletions, and looks at members, side by side."""
_OF_IMAGE = (OrderedLaunch, OrderedShare, OrderedHandOver, OrderedChange)
"""Orders that need the image they name."""


class Expendable(Value):
    """An image that no rule keeps, and what becomes of its backup."""

    decision: Decision
    doomed: Doomed

    @property
    def frees_gb(self) -> int:
        """What its backup takes, if it goes too: the image itself lies in the backup."""
        return self.decision.gb if self.doomed.backup == "goes" else 0


class RetirementPlan(Value):
    """Every image of a policy with its decision. Nothing was deleted."""

    policy: str
    decided_at: datetime
    keep: tuple[Decision, ...] = ()
    delete: tuple[Expendable, ...] = ()
    """The oldest first, no more than one run may delete."""
    waiting: tuple[Expendable, ...] = ()
    """What no rule keeps either, and the next run deletes."""
    most: int = 1
    server_names: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    @property
    def frees_gb(self) -> int:
        return sum(one.frees_gb for one in self.delete)

    def only(self, image_ids: Collection[str]) -> RetirementPlan:
        """The same plan, in which nothing goes but these; the others wait for the next run."""
        go = tuple(one for one in self.delete if one.decision.image_id in image_ids)
        wait = tuple(one for one in self.delete if one.decision.image_id not in image_ids)
        return self.model_copy(update={"delete": go, "waiting": (*wait, *self.waiting)})

    @property
    def returning(self) -> tuple[Expendable, ...]:
        """Those whose automatic backup goes back to its own CBR policy, which keeps or deletes it."""
        return tuple(one for one in self.delete if one.doomed.backup == "returns")


class Retired(Value):
    """What became of the images that were to go."""

    removals: tuple[Removal, ...] = ()
    stopped: str = ""
    """Why no more were deleted, where something spoke against going on."""

    @property
    def deleted(self) -> tuple[str, ...]:
        """Images that we deleted, proven to be gone; each is told by one run alone."""
        return tuple(one.doomed.image_id for one in self.removals if one.image == "deleted" and not one.told_before)

    @property
    def failed(self) -> tuple[Removal, ...]:
        return tuple(one for one in self.removals if one.failed)

    @property
    def exit_code(self) -> int:
        """5 where something that was to go is left; 4 where its deletion is granted and not over."""
        if self.stopped or any(not one.late for one in self.failed):
            return 5
        return 4 if self.failed else 0


class _Stock(Value):
    """The policy's images as the lists show them."""

    candidates: dict[str, tuple[Candidate, ...]] = {}
    """By server."""
    set_aside: tuple[Decision, ...] = ()
    """Images that carry our mark and are kept without asking the rules."""
    backups: dict[str, Backup] = {}
    """Those of the candidates."""
    made_at: dict[str, datetime] = {}
    """When each backup of the policy's servers was made, those without an image too."""
    vanished: frozenset[str] = frozenset()
    server_names: dict[str, str] = {}
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return sum(len(found) for found in self.candidates.values())


class Retirement:
    """A policy's retention in one project: `plan`, then `apply`; or `after` each new image of a night.

    The survey is to know all backups (`since` None), and may believe its lists for long: what is to go is looked at afresh.
    One of these for a night: it counts what the night has deleted against the one cap. Where several share a night: a `shard`
    lets one go for each new image, so that all together stay within the cap; `spent` is what they may have deleted.
    """

    def __init__(self, policy: Policy, ctx: Context, survey: Survey, *, shard: bool = False, spent: int = 0) -> None:
        self._policy = policy
        self._ctx = ctx
        self._survey = survey
        self._shard = shard
        self._stock: _Stock | None = None
        self._reading = asyncio.Lock()
        self._gone: set[str] = set()
        self._made_at: dict[str, datetime] = {}
        """Of backups that were made after the lists were read."""
        self._begun = spent
        self._stopped = ""

    # -- the plan -------------------------------------------------------------------------------------------------------

    async def plan(self, *, made: int = 0) -> RetirementPlan:
        """Every decision with its rule; deletes nothing. `made`: so many images are new tonight, and so many may go at least.

        Raises CloudError where a list that it takes could not be read.
        """
        stock = self._stock = await self._read()
        now = self._ctx.clock.now()
        decisions = self._decide([one for found in stock.candidates.values() for one in found], stock, now)
        keep = [*stock.set_aside, *(one for one in decisions if one.keep)]
        most = self._most(stock.count, made)
        left = sorted((one for one in decisions if not one.keep), key=lambda one: (one.taken_at, one.image_id))
        go: list[Decision] = []
        while left and (room := most - self._begun - len(go)) > 0:
            some, left = left[: min(room, _AT_ONCE)], left[min(room, _AT_ONCE) :]
            # A request each, so of those alone that would go.
            for decision, shared in zip(some, await asyncio.gather(*(self._shared(one.image_id) for one in some)), strict=True):
                if shared:
                    keep.append(decision.model_copy(update={"keep": True, "rule": shared}))
                else:
                    go.append(decision)

        def expendable(those: Sequence[Decision]) -> tuple[Expendable, ...]:
            return tuple(self._expendable(one, stock.candidates[one.server_id], stock) for one in those)

        return RetirementPlan(
            policy=self._policy.name,
            decided_at=now,
            keep=tuple(sorted(keep, key=lambda one: (one.server_id, -one.taken_at.timestamp(), one.image_id))),
            delete=expendable(go),
            waiting=expendable(left),
            most=most,
            server_names=stock.server_names,
            notes=(*stock.notes, *await self._notes_on_the_begun()),
        )

    def _most(self, images: int, made: int) -> int:
        return max(1, self._policy.retention.max_deletions.of(images), made)

    def _decide(self, candidates: Sequence[Candidate], stock: _Stock, now: datetime) -> tuple[Decision, ...]:
        rules, zone = self._policy.retention, self._policy.zone
        return decide(candidates, rules, zone=zone, now=now, vanished=stock.vanished)

    def _expendable(self, decision: Decision, candidates: Sequence[Candidate], stock: _Stock) -> Expendable:
        """With what is to be true still when it goes. `candidates` are those of its server."""
        candidate = next(one for one in candidates if one.image.id == decision.image_id)
        newest_first = sorted((one for one in candidates if one.good), key=lambda one: (one.taken_at, one.image.id), reverse=True)
        newest = next((one.image.id for one in newest_first), None)
        verified = next((one.image.id for one in newest_first if one.verified), None) if candidate.verified else None
        backup = stock.backups[decision.backup_id or ""]
        rule = self._policy.retention.delete_backup
        return Expendable(
            decision=decision,
            doomed=Doomed(
                image_id=decision.image_id,
                image_name=decision.image_name,
                server_id=decision.server_id,
                policy=self._policy.name,
                policy_tag=candidate.image.tags.get(POLICY_TAG),
                verified=candidate.verified,
                backup_id=backup.id,
                backup=self._fate(backup, decision.image_id),
                backup_rule=rule,
                backup_expires_at=backup.expires_at if backup.automatic else None,
                gb=decision.gb,
                stand_ins=tuple(dict.fromkeys(one for one in (newest, verified) if one)),
                verified_stand_in=verified,
                source_gone=decision.server_id in stock.vanished,
            ),
        )

    def _fate(self, backup: Backup, image_id: str) -> BackupFate:
        if may_go(backup, self._policy.retention.delete_backup, image_id, self._ctx.project_id):
            return "goes"
        return "returns" if backup.automatic else "stays"

    async def _shared(self, image_id: str) -> str:
        """The rule that keeps a shared image; also where nobody can see whether it is one."""
        try:
            return "shared" if await self._ctx.cloud.images.members(image_id) else ""
        except CloudError as error:
            return f"whether it is shared cannot be seen: {_words(error)}"

    async def _notes_on_the_begun(self) -> tuple[str, ...]:
        begun = await open_removals(self._policy.name, self._ctx)
        return (f"{len(begun)} deletions of an earlier run are not proven yet; `--apply` finishes them first",) if begun else ()

    # -- what is there --------------------------------------------------------------------------------------------------

    async def _read(self) -> _Stock:
        """The policy's images, from the lists. Raises CloudError where one of those could not be read."""
        survey, which = self._survey, self._policy.servers
        servers, images, backups = await asyncio.gather(survey.servers(), survey.images(), survey.backups())
        vaults: Mapping[str, Vault] = await survey.vaults() if which.vaults else {}
        needed = {"servers", "images", "backups", *(("vaults",) if which.vaults else ())}
        if unread := {what: why for what, why in survey.unread().items() if what in needed}:
            told = "; ".join(f"the {what} could not be read: {why.rstrip('.')}" for what, why in unread.items())
            raise CloudError(
                f"Retention decides nothing: {told}. Nothing was deleted.",
                action="Give the right that is missing, or wait until the service answers.",
                retryable=True,
            )
        chosen = choose_servers(which, servers, vaults)
        present = {server.id for server in chosen.servers}
        known = {backup.id: backup for backup in backups}
        in_drills = {server.image_id for server in servers.values() if DRILL_TAG in server.tags and server.status != "DELETED"}
        ours = [image for image in images if image.owner == self._ctx.project_id and SOURCE_TAG in image.tags]
        mine = encode_tag(self._policy.name)
        missing = {image.tags[SOURCE_TAG] for image in ours if image.tags.get(POLICY_TAG) == mine} - set(servers)
        vanished, unclear = await self._prove_vanished(sorted(missing))
        candidates: dict[str, list[Candidate]] = {}
        aside: list[Decision] = []
        for image in ours:
            server_id, policy_tag = image.tags[SOURCE_TAG], image.tags.get(POLICY_TAG)
            if image.id in self._gone or (server_id not in present and policy_tag != mine):
                continue  # gone by now; another policy's server, or nobody's
            backup = known.get(image.backup_id or "")
            taken_at = backup.created_at if backup else None
            candidate = Candidate(
                image=image,
                server_id=server_id,
                taken_at=taken_at or image.created_at or self._ctx.clock.now(),
                gb=backup.size_gb if backup else 0,
                shared=image.visibility == "shared",
                in_drill=image.id in in_drills,
            )
            if policy_tag is not None and policy_tag != mine:
                aside.append(_kept(candidate, f"made by policy {decode_tag(policy_tag)}, and left to it"))
            elif taken_at is None:
                # Made today of a backup of last year, it would stand in the place of yesterday's.
                aside.append(_kept(candidate, "its backup is not to be seen, so nobody knows how old it is"))
            elif server_id in unclear:
                aside.append(_kept(candidate, f"whether its server is gone cannot be seen: {unclear[server_id]}"))
            elif server_id in servers and server_id not in present:
                aside.append(_kept(candidate, "its server is not one of the policy's any more"))
            else:
                candidates.setdefault(server_id, []).append(candidate)
        names = {ident: servers[ident].name for ident in {*candidates, *(one.server_id for one in aside)} if ident in servers}
        names |= {backup.resource_id: backup.resource_name for backup in backups if backup.resource_id in vanished}
        used = {one.image.backup_id for found in candidates.values() for one in found}
        return _Stock(
            candidates={server_id: tuple(found) for server_id, found in candidates.items()},
            set_aside=tuple(aside),
            backups={ident: backup for ident, backup in known.items() if ident in used},
            made_at={one.id: one.created_at for one in backups if one.created_at and one.resource_id in present},
            vanished=frozenset(vanished),
            server_names=names,
            notes=tuple(map(str, chosen.mistakes)),
        )

    async def _prove_vanished(self, missing: Sequence[str]) -> tuple[set[str], dict[str, str]]:
        """Which of the servers that no list shows are gone by their ids too, and of which that cannot be seen, and why."""
        if self._policy.retention.vanished is None:
            return set(missing), {}  # no rule lets their images go, so nobody has to be asked
        gone: set[str] = set()
        unclear: dict[str, str] = {}
        for server_id in missing:
            try:
                server = await self._ctx.cloud.servers.find(server_id)
            except CloudError as error:
                unclear[server_id] = _words(error)
                continue
            if server is None or server.status == "DELETED":
                gone.add(server_id)
            else:
                unclear[server_id] = f"no list shows it, and it is {server.status} by its id"
        return gone, unclear

    async def _in_use(self, doomed: Doomed) -> str:
        """What uses an image at this moment: a drill that runs, or an order that has not ended."""
        servers = await self._survey.servers()
        if why := self._survey.unread().get("servers"):
            return f"whether a drill runs on it cannot be seen: {why}"
        if any(one.image_id == doomed.image_id and DRILL_TAG in one.tags and one.status != "DELETED" for one in servers.values()):
            return "a drill runs on it"
        for order in await open_orders(self._ctx):
            wanted = order.ordered
            of_image = isinstance(wanted, _OF_IMAGE) and wanted.image_id == doomed.image_id
            of_backup = isinstance(wanted, OrderedImage) and wanted.backup_id == doomed.backup_id
            if order.state in {"open", "late"} and (of_image or of_backup):
                return f"`b2i {wanted.verb}` of {wanted.subject} has not ended"
        return ""

    # -- what it says, done ---------------------------------------------------------------------------------------------

    async def apply(
        self, plan: RetirementPlan | None = None, *, made: int = 0, told: Callable[[Removal], None] | None = None
    ) -> Retired:
        """Delete what the plan says, the oldest first, each looked at once more; finish what an earlier run began.

        `told` hears of each as soon as it is over, for whoever is stopped in the middle. Raises CloudError where a list could not
        be read, JournalError; all else is told in the result.
        """
        plan = plan or await self.plan(made=made)
        finished: list[Removal] = []
        for record in await open_removals(self._policy.name, self._ctx):
            if record.name not in {one.doomed.image_id for one in plan.delete}:
                removal = await finish_removal(record, self._ctx)
                finished += [removal] if removal else []
                if removal and told:
                    told(removal)
        turn = asyncio.Semaphore(_AT_ONCE)

        async def in_turn(one: Expendable) -> Removal | None:
            async with turn:
                removal = await self._remove(one)
            if removal and told:
                told(removal)
            return removal

        under_way = [asyncio.ensure_future(in_turn(one)) for one in plan.delete]
        try:
            removals = await asyncio.gather(*under_way)
        finally:
            for one in under_way:
                one.cancel()
        return Retired(removals=(*finished, *(one for one in removals if one)), stopped=self._stopped)

    async def after(self, server_id: str, image: Image, *, made: int) -> Retired:
        """A server's new image is good: its expendable ones go, the oldest first.

        `made`: so many images the night has made by now. Never raises what the cloud says: a night goes on, and what was not
        deleted waits. Raises JournalError.
        """
        try:
            async with self._reading:
                if self._stock is None:
                    self._stock = await self._read()
        except CloudError as error:
            return Retired(stopped=error.message)
        stock = self._stock
        older = [one for one in stock.candidates.get(server_id, ()) if one.image.id not in {image.id, *self._gone}]
        try:
            await self._learn_age(image, stock)
        except CloudError as error:
            return Retired(stopped=error.message)
        candidates = [*older, *self._new_one(server_id, image, stock)]
        decided = self._decide(candidates, stock, self._ctx.clock.now())
        decisions = [one for one in decided if not one.keep and one.image_id != image.id]
        removals: list[Removal] = []
        for decision in sorted(decisions, key=lambda one: (one.taken_at, one.image_id)):
            gone = any(one.image not in {"kept", "gone"} for one in removals)
            if gone if self._shard else self._begun >= self._most(stock.count, made):
                break
            removal = await self._remove(self._expendable(decision, candidates, stock))
            removals += [removal] if removal else []
        return Retired(removals=tuple(removals), stopped=self._stopped)

    async def replaced(self, server_ids: Iterable[str]) -> dict[str, int]:
        """How many images of each of these servers a new good one would let go. Raises CloudError."""
        async with self._reading:
            stock = self._stock = self._stock or await self._read()
        now = self._ctx.clock.now()
        going: dict[str, int] = {}
        for server_id in server_ids:
            older = stock.candidates.get(server_id, ())
            new = Image(id="", name="", status="active", owner=self._ctx.project_id, visibility="private")
            decisions = self._decide([*older, Candidate(image=new, server_id=server_id, taken_at=now)], stock, now)
            going[server_id] = sum(not one.keep for one in decisions)
        return going

    def _new_one(self, server_id: str, image: Image, stock: _Stock) -> list[Candidate]:
        """The night's new image beside the older ones; one that is foreign, or another policy's, stands for nothing here."""
        ours = image.owner == self._ctx.project_id and image.tags.get(SOURCE_TAG) == server_id
        if not ours or image.backup_id is None or image.tags.get(POLICY_TAG) not in {encode_tag(self._policy.name), None}:
            return []
        taken_at = stock.made_at.get(image.backup_id) or self._made_at.get(image.backup_id)
        return [Candidate(image=image, server_id=server_id, taken_at=taken_at)] if taken_at else []

    async def _learn_age(self, image: Image, stock: _Stock) -> None:
        """When the backup of this image was made, which the lists may be too old to tell."""
        if image.backup_id and image.backup_id not in stock.made_at and image.backup_id not in self._made_at:
            backup = await self._ctx.cloud.backups.get(image.backup_id)
            if backup.created_at:
                self._made_at[backup.id] = backup.created_at

    async def _remove(self, one: Expendable) -> Removal | None:
        """One deletion, counted against the cap; None where something has stopped them all."""
        if self._stopped or one.doomed.image_id in self._gone:
            return None
        self._begun += 1
        removal = await remove_image(one.doomed, self._ctx, in_use=self._in_use)
        if removal.image in {"kept", "gone"}:
            self._begun -= 1
        if removal.image in {"deleted", "gone"}:
            self._gone.add(one.doomed.image_id)
        if removal.backup == "lost":
            self._stopped = f"{removal.reason}. Nothing more was deleted."
        return removal


def _kept(candidate: Candidate, rule: str) -> Decision:
    """Kept without asking the rules."""
    return Decision(
        image_id=candidate.image.id,
        image_name=candidate.image.name,
        server_id=candidate.server_id,
        backup_id=candidate.image.backup_id,
        taken_at=candidate.taken_at,
        gb=candidate.gb,
        keep=True,
        rule=rule,
    )


def _words(error: CloudError) -> str:
    said = error.words if isinstance(error, ApiError) and error.words else error.message
    return said.rstrip(".")
