"""Remove one image of ours, and its backup where that is wanted: looked at right before, and proven afterwards.

The image goes first, always with `delete_backup: false`; when it is proven to be gone, the backup is asked for by itself. One
request for both would be quicker and worse: whether it took the backup along is not told (IMG.0176), a locked vault refuses in
silence, and where the image's end stays unclear nobody could tell what became of the backup. A backup with an image cannot be
deleted at all, so this is also the only order (BEHAVIOUR.md 10).

The grant of a deletion (204) comes in any case and proves nothing: gone is what neither its id nor the list knows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, ValidationError

from backup_to_image.errors import ApiError, CloudError, ErrorClass, NotFound, StillRunning
from backup_to_image.journal import Lease, Record, hold
from backup_to_image.model import Backup, Image, Value
from backup_to_image.steps.context import Context
from backup_to_image.steps.gone import image_is_gone
from backup_to_image.steps.names import DOUBTFUL_TAG, HOLD_TAG, POLICY_TAG, SOURCE_TAG, VERIFIED_TAG, made_by_us
from backup_to_image.steps.once import note_sent, send, settle

__all__ = ["BackupFate", "Doomed", "InUse", "Removal", "finish_removal", "may_go", "open_removals", "remove_image"]

BackupRule = Literal["never", "made_by_us", "always"]
BackupFate = Literal["goes", "returns", "stays"]
"""What becomes of the backup of an image that goes: it goes too; its own CBR policy has it again, which an image had suspended;
it stays until somebody deletes it."""
_RETIRE = "retire"
_PATIENCE = timedelta(minutes=10)
"""For one image with everything: as long as the slowest public client waits for a deletion (BEHAVIOUR.md 6)."""
_LOOK_EVERY = 3.0
_DOOMED, _POLICY, _TOLD, _BACKUP_ASKED = "doomed", "policy", "image_told", "backup_asked"
_HAS_IMAGE = "BackupService.6204"
_OVER = frozenset({"deleting", "waiting_delete", "deleted"})


class Doomed(Value):
    """One image that is to go, and what was true when that was decided: it is to be true still when it goes."""

    image_id: str
    image_name: str
    server_id: str
    policy: str
    """The policy's name, for whom it goes."""
    policy_tag: str | None
    verified: bool
    backup_id: str
    backup: BackupFate
    backup_rule: BackupRule
    backup_expires_at: AwareDatetime | None = None
    """When the cloud deletes an automatic backup by itself, where it has a date."""
    gb: int = 0
    stand_ins: tuple[str, ...] = ()
    """Images of the server that stay: the newest good one, and for a verified image the newest verified one. Without them this
    one stays too."""
    verified_stand_in: str | None = None
    source_gone: bool = False
    """Whether the server is gone: then what is known of it is kept as long as the backup."""


InUse = Callable[[Doomed], Awaitable[str]]
"""Says what uses an image at this moment; nothing where nothing does."""


class Removal(Value):
    """What became of one image that was to go."""

    doomed: Doomed
    image: Literal["deleted", "gone", "kept", "left"]
    """deleted: by us, and proven. gone: it was not there any more. kept: something spoke against it at the last moment.
    left: it could not be deleted, or is not proven to be gone."""
    backup: Literal["", "deleted", "kept", "gone", "left", "lost"] = ""
    """kept: the policy leaves it. gone: it was not there any more. left: it was to go and could not. lost: it is not there any
    more although it was to stay."""
    code: str | None = None
    reason: str = ""
    late: bool = False
    """The cloud works on, or says "not now": the next run goes on with it."""
    told_before: bool = False
    """An earlier run has told that the image is gone, and this one has only finished with its backup."""

    @property
    def failed(self) -> bool:
        """Whether somebody has to know: something that was to go is there, or something that was to stay is not."""
        return self.image == "left" or self.backup in {"left", "lost"}


class _Untouchable(Exception):
    """Something speaks against the deletion at the last moment; the message is the reason."""


def may_go(backup: Backup, rule: BackupRule, image_id: str, project_id: str) -> bool:
    """Whether the rule lets this backup go with that image: it lies in our project, and no other image needs it."""
    free = backup.project_id == project_id and not set(backup.image_ids) - {image_id}
    return free and (rule == "always" or (rule == "made_by_us" and made_by_us(backup)))


async def remove_image(doomed: Doomed, ctx: Context, *, in_use: InUse) -> Removal:
    """Delete the image and what the policy says of its backup, unless something speaks against it now.

    Safe to repeat after a kill at any point, and beside another run: it looks first, and what it cannot prove it does not claim.
    Whatever the cloud says is told in the result; raises JournalError alone.
    """
    return await _remove(doomed, ctx, in_use)


async def finish_removal(record: Record, ctx: Context) -> Removal | None:
    """Finish what an earlier run began and was cut off at, where its image is gone. Deletes no image: None where it is there."""
    try:
        doomed = Doomed.model_validate(record.facts.get(_DOOMED))
    except ValidationError:
        ctx.tell(
            f"warning: the journal's record of image {record.name} cannot be read and is passed over; look what became of it"
        )
        return None
    removal = await _remove(doomed, ctx, None)
    return None if removal.image == "kept" else removal


async def open_removals(policy: str, ctx: Context) -> list[Record]:
    """What runs of this policy have begun to delete in this project and not finished, the oldest first. Raises JournalError."""
    found = [record for record in await ctx.journal.records(_RETIRE) if record.project_id == ctx.project_id]
    return [record for record in found if record.state != "refused" and record.facts.get(_POLICY) == policy]


async def _remove(doomed: Doomed, ctx: Context, in_use: InUse | None) -> Removal:
    deadline = ctx.deadline(_PATIENCE)
    try:
        # The lease of the image's own making: nobody adopts it while it goes.
        async with hold(ctx.journal, "image", ctx.project_id, doomed.backup_id, deadline=deadline) as lease:
            removal = await _Removing(doomed, ctx, lease, in_use).image_first()
            lease.for_good = removal.image in {"deleted", "gone"} and not removal.late
            return removal
    except StillRunning as late:
        return Removal(doomed=doomed, image="left", code=late.code, reason=_words(late), late=True)


class _Removing:
    """One image on its way out, with the lease that lets nobody else at it."""

    def __init__(self, doomed: Doomed, ctx: Context, lease: Lease, in_use: InUse | None) -> None:
        self.doomed = doomed
        self.ctx = ctx
        self.lease = lease
        self.in_use = in_use
        self.deadline = ctx.deadline(_PATIENCE)
        self.noted: Record | None = None

    async def image_first(self) -> Removal:
        """The image, and then its backup."""
        noted = await self.ctx.journal.read(_RETIRE, self.ctx.project_id, self.doomed.image_id)
        self.noted = noted if noted and noted.state != "refused" else None
        try:
            was = await self._delete_image()
        except _Untouchable as why:
            if self.in_use is not None:
                await self._close()
            return Removal(doomed=self.doomed, image="kept", reason=str(why))
        except StillRunning as late:
            return Removal(doomed=self.doomed, image="left", code=late.code, reason=_words(late), late=True)
        except CloudError as error:
            await self._take_back_refused()
            return Removal(doomed=self.doomed, image="left", code=error.code, reason=_words(error), late=error.retryable)
        if was == "deleted":
            self.ctx.tell(f"image {self.doomed.image_name} ({self.doomed.image_id}) is gone")
        removal = await self._then_backup(Removal(doomed=self.doomed, image=was, told_before=self._fact(_TOLD)))
        await self._forget(removal)
        return removal

    # -- the image ------------------------------------------------------------------------------------------------------

    async def _delete_image(self) -> Literal["deleted", "gone"]:
        """Until it is proven to be gone. Raises what speaks against it, StillRunning where it was granted and is still there."""
        if self.noted is not None and await self._goes(since=self.noted.written_at):
            return "deleted"
        if self.in_use is None:
            raise _Untouchable("it is still there")
        while True:
            try:
                noted, granted = await send(self._ask_for_image, self._image_intent, self.ctx, self.lease, deadline=self.deadline)
            except NotFound:
                if not await self._goes(since=self.ctx.clock.now()):
                    raise
                return "gone" if self.noted is None else "deleted"
            self.noted = noted
            if granted:
                await note_sent(noted, self.ctx, job_id=None)
            else:
                self.ctx.tell(f"image {self.doomed.image_name}: no clear answer to its deletion; looking before it is sent again")
            if await self._goes(since=self.ctx.clock.now()):
                return "deleted"
            if granted or self.ctx.clock.now() >= self.deadline:
                raise self._late(f"its deletion was {'granted' if granted else 'asked for'}, and it is still there")

    async def _image_intent(self) -> Record:
        """What is about to be asked, after the last look. Raises _Untouchable, NotFound."""
        await self._look_once_more()
        return self._intent()

    async def _ask_for_image(self) -> bool:
        await self.ctx.cloud.images.delete(self.doomed.image_id, delete_backup=False, guard=self.lease.still_mine)
        return True

    async def _look_once_more(self) -> None:
        """Whether all is still as it was when this was decided: lists are late, and people act meanwhile."""
        doomed, ctx = self.doomed, self.ctx
        image = await ctx.cloud.images.get(doomed.image_id)
        against = _against(image, doomed, ctx)
        if not against and await ctx.cloud.images.members(image.id):
            against = "it is shared"
        for other in doomed.stand_ins if not against else ():
            against = against or await self._against_its_place(other)
        if not against and self.in_use is not None:
            against = await self.in_use(doomed)
        if against:
            raise _Untouchable(against)

    async def _against_its_place(self, image_id: str) -> str:
        """What is wrong with an image that is to stay in this one's place; nothing where nothing is."""
        doomed, image = self.doomed, None
        with suppress(NotFound):
            image = await self.ctx.cloud.images.get(image_id)
        ours = image and image.owner == self.ctx.project_id and image.tags.get(SOURCE_TAG) == doomed.server_id
        if not (image and ours and image.status == "active") or DOUBTFUL_TAG in image.tags:
            return f"image {image_id}, which was to stay in its place, is not good any more"
        if image_id == doomed.verified_stand_in and VERIFIED_TAG not in image.tags:
            return f"image {image_id}, which was to stay in its place, is not verified any more"
        return ""

    async def _goes(self, *, since: datetime) -> bool:
        """Whether it is gone, by both witnesses, before the settle time has passed."""

        async def gone() -> bool | None:
            return True if await image_is_gone(self.doomed.image_id, self.ctx) else None

        return bool(await self._settled(gone, since=since))

    # -- its backup -----------------------------------------------------------------------------------------------------

    async def _then_backup(self, removal: Removal) -> Removal:
        """What becomes of the backup, now that no image needs it."""
        ident, asked = self.doomed.backup_id, self._fact(_BACKUP_ASKED)
        try:
            backup = await self._backup()
            if backup is None or (backup.status in _OVER and not asked):
                return self._backup_not_there(removal, backup, asked=asked)
            if not self._may_go(backup):
                # Nothing but the look shows that it stays: a proxy may drop the body that says so (BEHAVIOUR.md 14).
                return removal.model_copy(update={"backup": "kept"})
            if backup.status not in _OVER:
                await self._ask_until_granted()
            if not await self._settled(self._backup_gone, since=self.ctx.clock.now()):
                raise self._late(f"backup {ident} is being deleted, and is still there")
        except (CloudError, StillRunning) as error:
            # Refused for good is over; anything else, the next run tries.
            lasting = isinstance(error, ApiError) and error.error_class is ErrorClass.PERMANENT and error.cloud_code != _HAS_IMAGE
            changes = {"backup": "left", "code": error.code, "reason": _words(error), "late": not lasting}
            return removal.model_copy(update=changes)
        self.ctx.tell(f"backup {ident} is gone ({self.doomed.gb} GB)")
        return removal.model_copy(update={"backup": "deleted"})

    async def _backup(self) -> Backup | None:
        try:
            return await self.ctx.cloud.backups.get(self.doomed.backup_id)
        except NotFound:
            return None

    def _may_go(self, backup: Backup) -> bool:
        doomed = self.doomed
        return doomed.backup == "goes" and may_go(backup, doomed.backup_rule, doomed.image_id, self.ctx.project_id)

    def _backup_not_there(self, removal: Removal, backup: Backup | None, *, asked: bool) -> Removal:
        """Gone, or on its way: by us where we had asked for it; else by its expiry, by somebody, or against what we sent."""
        if asked:
            return removal.model_copy(update={"backup": "deleted"})
        expires = self.doomed.backup_expires_at
        expired = expires is not None and expires <= self.ctx.clock.now()
        if removal.image == "gone" or self.doomed.backup == "goes" or expired:
            return removal.model_copy(update={"backup": "gone"})
        state = f"is {backup.status}" if backup else "is gone"
        reason = (
            f"backup {self.doomed.backup_id} {state} together with its image, although delete_backup: false was sent; perhaps "
            "a proxy on the way drops the body of a DELETE"
        )
        return removal.model_copy(update={"backup": "lost", "reason": reason})

    async def _ask_until_granted(self) -> None:
        """Ask for the backup's deletion; "not now" is waited out for a settle time alone, since the next run comes back to it."""
        soon = min(self.deadline, self.ctx.deadline(self.ctx.settings.settle.image))
        while True:
            try:
                self.noted, granted = await send(self._ask_for_backup, self._backup_intent, self.ctx, self.lease, deadline=soon)
            except NotFound:
                return
            except ApiError as refusal:
                if refusal.cloud_code != _HAS_IMAGE or self.ctx.clock.now() >= soon:
                    raise
                await self.ctx.clock.sleep(_LOOK_EVERY)  # CBR has not heard yet that the image is gone
                continue
            if granted or await self._settled(self._backup_going, since=self.ctx.clock.now()):
                return
            if self.ctx.clock.now() >= self.deadline:
                raise self._late(f"no clear answer to the deletion of backup {self.doomed.backup_id}, and it is still there")

    async def _backup_intent(self) -> Record:
        return self._intent(**{_BACKUP_ASKED: True, _TOLD: self._fact(_TOLD)})

    async def _ask_for_backup(self) -> bool:
        await self.ctx.cloud.backups.delete(self.doomed.backup_id, guard=self.lease.still_mine)
        return True

    async def _backup_gone(self) -> bool | None:
        return True if await self._backup() is None else None

    async def _backup_going(self) -> bool | None:
        backup = await self._backup()
        return True if backup is None or backup.status in _OVER else None

    # -- the journal ----------------------------------------------------------------------------------------------------

    def _intent(self, **facts: Any) -> Record:
        now = self.ctx.clock.now()
        return Record(
            kind=_RETIRE,
            project_id=self.ctx.project_id,
            name=self.doomed.image_id,
            state="intent",
            written_at=now,
            first_intent_at=now,
            image_id=self.doomed.image_id,
            facts={_DOOMED: self.doomed.model_dump(mode="json"), _POLICY: self.doomed.policy, **facts},
        )

    def _fact(self, name: str) -> bool:
        return self.noted is not None and self.noted.facts.get(name) is True

    async def _take_back_refused(self) -> None:
        """A refused request leaves nothing to go on with."""
        noted = await self.ctx.journal.read(_RETIRE, self.ctx.project_id, self.doomed.image_id)
        if noted and noted.state == "refused":
            await self.ctx.journal.forget(noted)

    async def _close(self) -> None:
        await self.ctx.journal.forget(self._intent())

    async def _forget(self, removal: Removal) -> None:
        """What the journal knew of an image that is gone; an end that is still to come is kept for the next run.

        The facts of the source are those of this backup alone. Where it stays and its server is gone they stay with it: another
        image of it would have no other.
        """
        doomed, journal, project = self.doomed, self.ctx.journal, self.ctx.project_id
        if removal.backup == "left" and removal.late:
            await journal.write(self._intent(**{_TOLD: True, _BACKUP_ASKED: self._fact(_BACKUP_ASKED)}))
        else:
            await self._close()
        kinds = ["image"] if doomed.source_gone and removal.backup not in {"deleted", "gone", "lost"} else ["image", "facts"]
        for kind in kinds:
            noted = await journal.read(kind, project, doomed.backup_id)
            if noted:
                await journal.forget(noted)

    # -- time -----------------------------------------------------------------------------------------------------------

    async def _settled(self, look: Callable[[], Awaitable[bool | None]], *, since: datetime) -> bool | None:
        return await settle(
            look,
            self.ctx,
            self.lease,
            since=since,
            within=self.ctx.settings.settle.image,
            every=_LOOK_EVERY,
            deadline=self.deadline,
            late=self._late,
        )

    def _late(self, seen: str) -> StillRunning:
        return StillRunning(f"The deletion of image {self.doomed.image_name}", last_seen=seen, deadline=self.deadline)


def _against(image: Image, doomed: Doomed, ctx: Context) -> str:
    """What speaks against deleting this image as it is now; nothing where nothing does."""
    reasons = (
        (image.owner != ctx.project_id, "it lies in another project"),
        (image.tags.get(SOURCE_TAG) != doomed.server_id, f"it does not carry our mark {SOURCE_TAG} of its server"),
        (image.tags.get(POLICY_TAG) != doomed.policy_tag, "it carries the mark of another policy"),
        (image.backup_id != doomed.backup_id, "it names another backup"),
        (image.status != "active", f"it is {image.status}"),
        (HOLD_TAG in image.tags, "it is held"),
        (image.protected, "it is protected"),
        (VERIFIED_TAG in image.tags and not doomed.verified, "it was verified meanwhile"),
    )
    return next((reason for applies, reason in reasons if applies), "")


def _words(error: CloudError | StillRunning) -> str:
    """The cloud's words where it gave some, else ours."""
    return error.words if isinstance(error, ApiError) and error.words else error.message
