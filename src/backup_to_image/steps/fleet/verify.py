"""Verify images by drill: launch a server, ask its probes, mark the image, and take the server down again whatever came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from backup_to_image.errors import B2iError, Refused, StillRunning
from backup_to_image.journal import Record, hold
from backup_to_image.model import Image, LaunchDelivery, LaunchOrder
from backup_to_image.model.night import FleetMember, Verified
from backup_to_image.model.policy import VerifyRule
from backup_to_image.steps.context import Context
from backup_to_image.steps.launching.drills import TEARDOWN, LeftBehind, drill_standing, surely, take_down
from backup_to_image.steps.launching.launch import launch_within
from backup_to_image.steps.launching.launched import Standing, launch_marks
from backup_to_image.steps.launching.verified import doubt, prove
from backup_to_image.steps.names import SOURCE_TAG, VERIFIED_TAG
from backup_to_image.steps.orders import ORDER, OpenOrder, OrderedDrill, open_orders, ordered

__all__ = ["Drilled", "choose_sample", "drill_image", "end_left_drills", "last_turns", "left_drills", "verify_image"]

_TURN, _NIGHT = "drilled", "night"


# -- whose turn it is ---------------------------------------------------------------------------------------------------


def choose_sample(
    members: Sequence[FleetMember],
    images: Iterable[Image],
    rule: VerifyRule,
    night: date,
    *,
    turns: Mapping[str, date] | None = None,
) -> tuple[str, ...]:
    """The servers whose images are drilled this night, by id: never verified first, then those whose last time is longest ago.

    `turns` says when each server was drilled last, whatever came of it (`last_turns`): one that fails every night does not take
    the turn of the others. Of equals each night begins with the next, so that everybody has its turn. Asked again in the same
    night it names what is left of the night's sample. The same facts always give the same answer.
    """
    verified: dict[str, date] = {}
    for image in images:
        server_id, day = image.tags.get(SOURCE_TAG), _day(image.tags.get(VERIFIED_TAG))
        if server_id and day:
            verified[server_id] = max(day, verified.get(server_id, day))
    turn = {server_id: max(day, verified.get(server_id, day)) for server_id, day in (turns or {}).items()}
    turn = verified | turn
    servers = sorted({member.server_id for member in members if member.action in {"make", "adopt", "back_up"}})
    if not servers:
        return ()
    done = [server_id for server_id in servers if verified.get(server_id, date.min) >= night]
    begun = [server_id for server_id in servers if turn.get(server_id, date.min) >= night and server_id not in done]
    first = night.toordinal() * rule.sample % len(servers)
    rotated = servers[first:] + servers[:first]
    waiting = sorted((one for one in rotated if turn.get(one, date.min) < night), key=lambda one: turn.get(one, date.min))
    return tuple([*begun, *waiting][: max(0, rule.sample - len(done))])


async def last_turns(ctx: Context) -> dict[str, date]:
    """On which night each server was drilled last, as the journal knows. Raises JournalError."""
    known = [one for one in await ctx.journal.records(_TURN) if one.project_id == ctx.project_id]
    return {one.name: day for one in known if (day := _day(str(one.facts.get(_NIGHT, ""))))}


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        return None


# -- the drill ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drilled:
    """What came of one drill; its server is gone, or named in what is left."""

    verified: Verified
    launched: LaunchDelivery | None
    left: tuple[str, ...]
    error: B2iError | None
    """Why it did not come to its probes."""


async def verify_image(
    image: Image, drill: LaunchOrder, ctx: Context, *, deadline: datetime, night: date | None = None
) -> Verified:
    """What a server launched from this image answers; it is gone afterwards, or the reason says what is left of it.

    Only an image whose every probe answered is marked as verified (with `night`, by default today); one that is doubtful for
    another reason than a drill is not, nor one that somebody else made. One whose server came up and did not answer is marked as
    doubtful, unless it was verified before. A drill without probes proves that the server becomes ACTIVE, which is told and does
    not count as verified. Safe to repeat, by two processes at once too. After a kill the next run of the same drill goes on with
    its server and takes it down; the journal keeps the drill, and the reconciler takes its server down after the deadline.
    Raises CloudError, StillRunning and JournalError before anything was launched; what goes wrong later is told in the answer.
    """
    return (await drill_image(image, drill, ctx, deadline=deadline, night=night)).verified


async def drill_image(
    image: Image, drill: LaunchOrder, ctx: Context, *, deadline: datetime, night: date | None = None
) -> Drilled:
    """What `verify_image` does, told in full: the servers as they were, and the error where it did not come to its probes."""
    began = ctx.clock.now()
    night = night or began.date()
    async with hold(ctx.journal, "drill", ctx.project_id, f"{drill.name} of {image.id}", deadline=deadline):
        standing = await drill_standing(image, drill, ctx)
        wanted = OrderedDrill(launch_id=standing.mark, image_id=image.id)
        left: tuple[str, ...] = ()
        seen = _Seen()
        with suppress(LeftBehind):
            async with ordered(wanted, ctx, patience=max(deadline - ctx.clock.now(), timedelta(0))) as until:
                await _note_turn(image, night, ctx)
                seen = await _seen(image, drill, standing, ctx, until=until, night=night)
                left = await surely(take_down(standing.mark, ctx)) if seen.launched else ()
                if left:
                    raise LeftBehind(standing.mark)
    left_behind = _left_behind(standing.mark, left) if left else ""
    reason = "; ".join(filter(None, (seen.reason, left_behind)))
    ctx.tell(
        f"drill {standing.mark} of image {image.name}: {'verified' if seen.ok else 'not verified'}{reason and f': {reason}'}"
    )
    verified = Verified(
        ok=seen.ok,
        launch_id=standing.mark,
        seconds=round((ctx.clock.now() - began).total_seconds(), 1),
        probes=seen.delivery.probes if seen.delivery else (),
        reason=reason,
        left_behind=left_behind,
    )
    return Drilled(verified, seen.delivery, left, seen.error)


async def left_drills(drill: LaunchOrder, ctx: Context) -> tuple[OpenOrder, ...]:
    """Drills of this order that have not ended: of runs that were killed, or could not take them down. Raises JournalError."""
    found: list[OpenOrder] = []
    for order in await open_orders(ctx):
        wanted = order.ordered
        if isinstance(wanted, OrderedDrill):
            marks = launch_marks(wanted.image_id, drill.name, ctx, mode="drill")
            found += [order] if wanted.launch_id in marks else []
    return tuple(found)


async def end_left_drills(left: Iterable[OpenOrder], drill: LaunchOrder, ctx: Context, *, deadline: datetime) -> tuple[str, ...]:
    """Take down those that nobody has gone on with since; says what stays behind.

    Nobody goes on with a drill whose image was marked before its server was gone: there is nothing to verify any more. One that
    another run is at is waited for until the deadline. Raises JournalError; what the cloud says is told.
    """
    stays = [
        await _end_left(order.ordered, order.record, drill, ctx, deadline=deadline)
        for order in left
        if isinstance(order.ordered, OrderedDrill)
    ]
    return tuple(words for words in stays if words)


async def _end_left(wanted: OrderedDrill, then: Record, drill: LaunchOrder, ctx: Context, *, deadline: datetime) -> str:
    """`then`: what the journal had of it before the night's work; whoever has been at it since has written it anew."""
    mark, stays = wanted.launch_id, tuple[str, ...]()
    try:
        async with hold(ctx.journal, "drill", ctx.project_id, f"{drill.name} of {wanted.image_id}", deadline=deadline):
            noted = await ctx.journal.read(ORDER, ctx.project_id, then.name)
            if noted is None or noted.written_at != then.written_at:
                return ""
            ctx.tell(f"drill {mark}: an earlier run has left it; taking down what there is of it")
            with suppress(LeftBehind):
                async with ordered(wanted, ctx, patience=TEARDOWN):
                    stays = await surely(take_down(mark, ctx))
                    if stays:
                        raise LeftBehind(mark)
    except StillRunning as busy:
        return f"drill {mark}: {busy.message}"
    return f"drill {mark}: {_left_behind(mark, stays)}" if stays else ""


def _left_behind(mark: str, left: Iterable[str]) -> str:
    return f"left behind by its drill: {', '.join(left)}; `b2i teardown {mark}` removes it"


@dataclass(frozen=True)
class _Seen:
    """What a drill has shown before its server goes."""

    ok: bool = False
    reason: str = ""
    delivery: LaunchDelivery | None = None
    error: B2iError | None = None
    launched: bool = False
    """Whether there may be a server that has to go."""


async def _seen(image: Image, drill: LaunchOrder, standing: Standing, ctx: Context, *, until: datetime, night: date) -> _Seen:
    """Launch, probe, mark. Whoever stops it meanwhile waits until the server is taken down."""
    try:
        delivery = await launch_within(image, drill, ctx, mode="drill", deadline=until)
        proof = await prove(delivery, image, night, ctx)
        doubted = await doubt(image, night, ctx) if delivery.outcome == "partly" else ""
    except asyncio.CancelledError:
        ctx.tell(f"drill {standing.mark}: stopped; its server is taken down first")
        if left := await surely(take_down(standing.mark, ctx)):
            ctx.tell(f"drill {standing.mark}: left behind: {', '.join(left)}; `b2i teardown {standing.mark}` removes it")
        raise
    except B2iError as error:
        launched = not isinstance(error, Refused) or bool(standing.servers)
        return _Seen(reason=f"{error.message} {error.action}".strip(), error=error, launched=launched)
    why = proof.why + doubted
    return _Seen(
        ok=proof.marked or (proof.answered and not proof.ours),
        reason=why,
        delivery=delivery.model_copy(update={"verified": proof.marked, "verified_why": why}),
        launched=True,
    )


async def _note_turn(image: Image, night: date, ctx: Context) -> None:
    """Its server has had its turn, whatever comes of it."""
    server_id = image.tags.get(SOURCE_TAG)
    if server_id:
        facts = {_NIGHT: f"{night:%Y%m%d}"}
        now = ctx.clock.now()
        await ctx.journal.write(
            Record(kind=_TURN, project_id=ctx.project_id, name=server_id, state="done", written_at=now, facts=facts)
        )
