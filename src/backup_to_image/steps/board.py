"""The board: every server of the fleet, how old the state is that it would come back with, and what is wrong with it.

A few lists and the journal tell it, whatever the number of servers; makes and changes nothing. What cannot be seen counts as
unknown, never as good. Whom the newest images are shared with is known from the last night's proof; to ask the cloud costs a
request for each image, so it is done on demand.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from backup_to_image.errors import CloudError
from backup_to_image.model import Backup, Image, Server, Vault
from backup_to_image.model.board import (
    Board,
    BoardPolicy,
    BoardRunbook,
    BoardServer,
    LastResult,
    OverdueOrder,
    ServerState,
    TooOld,
)
from backup_to_image.model.night import NightReport, ServerNight
from backup_to_image.model.policy import BackupRule, Policy
from backup_to_image.steps.choose import Chosen, choose_servers
from backup_to_image.steps.context import Context
from backup_to_image.steps.fleet.last_night import last_reports
from backup_to_image.steps.forecast import forecast
from backup_to_image.steps.names import DOUBTFUL_TAG, POLICY_TAG, SOURCE_TAG, VERIFIED_TAG, decode_tag, encode_tag
from backup_to_image.steps.orders import OpenOrder, OrderedImage, OrderedLaunch, open_orders
from backup_to_image.steps.policy_file import PolicyFile
from backup_to_image.steps.runbook.kept import last_looks
from backup_to_image.steps.survey import Survey

__all__ = ["BOARD_COLUMNS", "age", "allowed_age", "board_rows", "past_their_rpo", "read_board"]

_A_NIGHT = timedelta(days=1)
_USUAL_AGE = BackupRule().newest_within
"""How old a backup may be where the policy's file is not given."""
_LOOKED_AT_WITHIN = timedelta(days=2)
"""A runbook that is looked at every morning; once one was missed, somebody has to know."""
_AT_ONCE = 8
_WORST_FIRST: tuple[ServerState, ...] = ("failing", "late", "unknown", "fresh", "single", "gone")
_BAD = ("failed", "partly", "late")
_NEEDED = ("images", "backups", "servers", "vaults")
"""Without these the board may hide something."""
_LONG_AGO = datetime.min.replace(tzinfo=UTC)

BOARD_COLUMNS = ("server", "state", "newest image", "age", "verified", "last night", "shared with", "images", "GB pinned", "why")


async def read_board(ctx: Context, policies: Sequence[PolicyFile] = (), *, shares: bool = False) -> Board:
    """Look at the fleet: the servers of these policies, those of the last nights, and all that images of ours were made of.

    `shares` asks for the members of each newest image, a request each. Raises JournalError; what the cloud does not tell stands
    in `unread`.
    """
    survey = Survey(ctx)  # of everything: a night's own reaches back one night, and the image that counts may be older
    by_vault = any(one.policy.servers.vaults is not None for one in policies)
    images, backups, servers, quota = await asyncio.gather(survey.images(), survey.backups(), survey.servers(), survey.quota())
    vaults = await survey.vaults() if by_vault else dict[str, Vault]()
    unread = survey.unread()
    unseen = "servers" in unread or (by_vault and "vaults" in unread)
    reports, runbooks = await last_reports(ctx), await last_looks(ctx)
    facts = _Facts(
        now=ctx.clock.now(),
        images=[image for image in images if image.status != "deleted"],
        backups={backup.id: backup for backup in backups},
        servers=servers,
        reports=reports,
        chosen={one.policy.name: None if unseen else choose_servers(one.policy.servers, servers, vaults) for one in policies},
        within={one.policy.name: one.policy.backup.newest_within for one in policies},
        unread=unread,
    )
    overdue = facts.overdue(await open_orders(ctx))
    rows = [facts.row(server_id, overdue) for server_id in facts.server_ids()]
    if shares:
        rows = await _with_members(rows, facts.unread, ctx)
    rows.sort(key=lambda row: (_WORST_FIRST.index(row.state), -_age_or_most(row), row.server_name, row.server_id))
    lasts = forecast(quota, [image.created_at for image in facts.images if image.created_at], reports, now=facts.now)
    return Board(
        at=facts.now,
        project_id=ctx.project_id,
        servers=tuple(rows),
        policies=facts.policies(),
        quota=lasts,
        overdue=overdue,
        runbooks=runbooks,
        gb_pinned=facts.gb(image for image in facts.images if _ours(image)),
        findings=(
            *facts.findings(),
            *_not_ready(runbooks, facts.now),
            *((f"image quota: {lasts.words}",) if lasts.nights_left == 0 else ()),
        ),
        unread=facts.unread,
    )


def allowed_age(policy: Policy) -> timedelta:
    """How old a server's state may be before somebody has to know: the newest backup's age, and a night more."""
    return policy.backup.newest_within + _A_NIGHT


def past_their_rpo(board: Board, policy: Policy) -> tuple[TooOld, ...]:
    """Servers of the policy that would come back with an older state than `allowed_age`, or not at all."""
    allowed = allowed_age(policy)
    return tuple(
        TooOld(server_id=one.server_id, server_name=one.server_name, age_s=one.age_s)
        for one in board.servers
        if policy.name in one.policies
        and one.exists is not False
        and (one.age_s > allowed.total_seconds() if one.age_s is not None else one.state == "failing" and one.image_id is None)
    )


async def _with_members(rows: Sequence[BoardServer], unread: dict[str, str], ctx: Context) -> list[BoardServer]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(row: BoardServer) -> BoardServer:
        if row.image_id is None:
            return row
        async with gate:
            try:
                members = await ctx.cloud.images.members(row.image_id)
            except CloudError as error:
                unread[f"members of image {row.image_id}"] = error.message
                return row.model_copy(update={"shared_with": None})
        return row.model_copy(update={"shared_with": tuple(member.project_id for member in members)})

    return list(await asyncio.gather(*(one(row) for row in rows)))


class _Facts:
    """All that was read, and what it says of one server."""

    def __init__(
        self,
        *,
        now: datetime,
        images: Sequence[Image],
        backups: Mapping[str, Backup],
        servers: Mapping[str, Server],
        reports: Sequence[NightReport],
        chosen: Mapping[str, Chosen | None],
        within: Mapping[str, timedelta],
        unread: dict[str, str],
    ) -> None:
        self.now = now
        self.images = images
        self.unread = unread
        self._backups = backups
        self._servers = servers
        self._reports = reports
        self._chosen = chosen
        self._within = within
        self._of: dict[str, list[Image]] = defaultdict(list)
        for image in images:
            if source := self._source(image):
                self._of[source].append(image)
        self._names = {encode_tag(name): name for name in (*chosen, *(report.policy for report in reports))}
        self._nights: dict[str, list[tuple[NightReport, ServerNight]]] = defaultdict(list)
        self._taken: dict[str, datetime] = {}
        for report in reports:
            for server in report.servers:
                self._nights[server.server_id].append((report, server))
                if server.image_id and server.backup_created_at:
                    self._taken[server.image_id] = server.backup_created_at
        self._takes = {name: {server.id for server in found.servers} for name, found in chosen.items() if found}

    # -- which servers ------------------------------------------------------------------------------------------------------

    def server_ids(self) -> list[str]:
        """Those that a policy means, that the last nights had, or that images of ours were made of."""
        named = [server.id for chosen in self._chosen.values() if chosen for server in chosen.servers]
        with_images = [ident for ident, images in self._of.items() if any(_ours(image) for image in images)]
        return list(dict.fromkeys([*named, *self._nights, *with_images]))

    def _source(self, image: Image) -> str | None:
        """The server that an image was made of: its mark says it, else its backup."""
        backup = self._backups.get(image.backup_id or "")
        return image.tags.get(SOURCE_TAG) or (backup.resource_id if backup else None)

    def _policies_of(self, server_id: str) -> tuple[str, ...]:
        """The policies that take it: by their files, else by their last nights, else by what its images say.

        Whoever has left a policy is not looked for by it any more; but an image's mark counts as long as nothing tells better.
        """
        names: set[str] = set()
        had = {report.policy for report, _ in self._nights.get(server_id, ())}
        marked = {image.tags[POLICY_TAG] for image in self._of.get(server_id, ()) if POLICY_TAG in image.tags}
        for name in {*self._chosen, *had, *(self._names.get(mark) or decode_tag(mark) for mark in marked)}:
            if name in self._takes:
                takes = server_id in self._takes[name]
            elif any(report.policy == name and report.servers for report in self._reports):
                takes = name in had
            else:
                takes = encode_tag(name) in marked or name in had
            if takes:
                names.add(name)
        return tuple(sorted(names))

    # -- one server ---------------------------------------------------------------------------------------------------------

    def row(self, server_id: str, overdue: Sequence[OverdueOrder]) -> BoardServer:
        images = self._of.get(server_id, [])
        newest = self._newest_good(images)
        taken = self._taken_at(newest) if newest else None
        policies = self._policies_of(server_id)
        exists = None if "servers" in self.unread else server_id in self._servers
        results = self._results(server_id, newest)
        mine = [one for one in overdue if one.server_id == server_id]
        state, reasons = self._judge(images, newest, taken, policies, exists=exists, results=results, overdue=mine)
        verified_on, verified = _verified(images)
        return BoardServer(
            server_id=server_id,
            server_name=self._name(server_id, images),
            state=state,
            reasons=reasons,
            policies=policies,
            exists=exists,
            image_id=newest.id if newest else None,
            image_name=newest.name if newest else None,
            ours=_ours(newest) if newest else None,
            taken_at=taken,
            age_s=round((self.now - taken).total_seconds()) if taken else None,
            verified_on=verified_on,
            verified_image_id=verified,
            results=results,
            shared_with=self._shared_with(server_id, newest),
            images=sum(_ours(image) for image in images),
            gb_pinned=self.gb(image for image in images if _ours(image)),
        )

    def _newest_good(self, images: Sequence[Image]) -> Image | None:
        good = [image for image in images if image.status == "active" and DOUBTFUL_TAG not in image.tags]
        return max(good, key=lambda image: (self._taken_at(image) or _LONG_AGO, image.created_at or _LONG_AGO), default=None)

    def _taken_at(self, image: Image) -> datetime | None:
        """When its backup was made. The image itself is younger, so its own date would flatter."""
        backup = self._backups.get(image.backup_id or "")
        if backup and backup.taken_at:
            return backup.taken_at
        return self._taken.get(image.id)

    def _name(self, server_id: str, images: Sequence[Image]) -> str:
        if server_id in self._servers:
            return self._servers[server_id].name
        nights = self._nights.get(server_id)
        backups = [self._backups[image.backup_id] for image in images if image.backup_id and image.backup_id in self._backups]
        return nights[-1][1].server_name if nights else next((one.resource_name for one in backups), "") or server_id

    def _results(self, server_id: str, newest: Image | None) -> tuple[LastResult, ...]:
        taken = self._taken_at(newest) if newest else None
        found = [
            LastResult(
                policy=report.policy,
                night=report.night,
                outcome=one.outcome,
                reason=one.reason,
                code=one.code,
                action=one.action,
                image_id=one.image_id,
                settled=one.bad and _settled(one, report, taken),
            )
            for report, one in self._nights.get(server_id, ())
        ]
        return tuple(sorted(found, key=lambda one: _BAD.index(one.outcome) if one.outcome in _BAD else len(_BAD)))

    def _judge(
        self,
        images: Sequence[Image],
        newest: Image | None,
        taken: datetime | None,
        policies: Sequence[str],
        *,
        exists: bool | None,
        results: Sequence[LastResult],
        overdue: Sequence[OverdueOrder],
    ) -> tuple[ServerState, tuple[str, ...]]:
        """The worst that can be said of it, and everything that speaks for that."""
        late = [f"its order `{one.verb}` should have ended by {_clock(one.deadline)} UTC" for one in overdue]
        if exists is False:
            return "gone", ("the server exists no more", *late)
        if not policies and not late:
            return "single", ()
        if "images" in self.unread:
            return "unknown", (f"the images could not be read: {self.unread['images']}", *late)
        unknown: list[str] = []
        failing = [_words(one) for one in results if one.outcome in {"failed", "partly"} and not one.settled]
        if newest is None and "backups" in self.unread:
            unknown.append("which images are its own could not be looked at: the backups could not be read")
        elif newest is None:
            failing.insert(0, _no_image(images))
        late += [_words(one) for one in results if one.outcome == "late" and not one.settled]
        allowed = min((self._within.get(name, _USUAL_AGE) for name in policies), default=None)
        if newest is not None and allowed is not None:
            if taken is None:
                unknown.append("the backup of its newest image is not to be seen, so nobody can tell how old that is")
            elif self.now - taken > allowed + _A_NIGHT:
                late.append(
                    f"its newest image holds the state of {age(self.now - taken)} ago; {age(allowed)} and a night are allowed"
                )
        marks: dict[ServerState, object] = {"failing": failing, "late": late, "unknown": unknown, "fresh": policies}
        held: list[ServerState] = [one for one, holds in marks.items() if holds]
        return (held[0] if held else "single"), (*failing, *late, *unknown)

    def _shared_with(self, server_id: str, newest: Image | None) -> tuple[str, ...] | None:
        """As the last night proved it, where it was about this image."""
        proven = [one.shared_with for _, one in self._nights.get(server_id, ()) if newest and one.image_id == newest.id]
        return tuple(dict.fromkeys(project for projects in proven for project in projects)) if proven else None

    # -- the whole ----------------------------------------------------------------------------------------------------------

    def gb(self, images: Iterable[Image]) -> int:
        """What the backups of these images take: they stay as long as the images."""
        pinned = {image.backup_id for image in images if image.backup_id}
        return sum(self._backups[ident].size_gb for ident in pinned if ident in self._backups)

    def overdue(self, orders: Sequence[OpenOrder]) -> tuple[OverdueOrder, ...]:
        by_id = {image.id: image for image in self.images}
        found: list[OverdueOrder] = []
        for order in orders:
            if order.deadline is None or order.deadline > self.now:
                continue
            wanted, source = order.ordered, None
            if isinstance(wanted, OrderedImage) and wanted.backup_id in self._backups:
                source = self._backups[wanted.backup_id].resource_id
            elif isinstance(wanted, OrderedLaunch) and wanted.image_id in by_id:
                source = self._source(by_id[wanted.image_id])
            found.append(OverdueOrder(verb=wanted.verb, subject=wanted.subject, deadline=order.deadline, server_id=source))
        return tuple(found)

    def policies(self) -> tuple[BoardPolicy, ...]:
        reports = {report.policy: report for report in self._reports}
        found: list[BoardPolicy] = []
        for name in sorted({*self._chosen, *reports}):
            report, chosen = reports.get(name), self._chosen.get(name)
            counts: dict[str, int] = defaultdict(int)
            for one in report.servers if report else ():
                counts[one.outcome] += 1
            found.append(
                BoardPolicy(
                    name=name,
                    servers=len(chosen.servers) if chosen else None,
                    night=report.night if report else None,
                    outcome=report.outcome if report else None,
                    began_at=report.began_at if report else None,
                    ended_at=report.ended_at if report else None,
                    counts=dict(counts),
                    mistakes=tuple(map(str, chosen.mistakes)) if chosen else (),
                )
            )
        return tuple(found)

    def findings(self) -> tuple[str, ...]:
        """What is wrong with the whole, so that it stands at no server."""
        found = [f"policy {one.name}: {mistake}" for one in self.policies() for mistake in one.mistakes]
        for report in self._reports:
            if report.outcome == "failed" and not report.servers:
                why = "; ".join(report.notes)
                found.append(f"the night {report.night} of {report.policy} failed as a whole{': ' if why else ''}{why}")
        found += [f"{what} could not be read: {why}" for what, why in self.unread.items() if what in _NEEDED]
        return tuple(found)


def _not_ready(runbooks: Iterable[BoardRunbook], now: datetime) -> Iterable[str]:
    for one in runbooks:
        named = f"runbook {one.name} ({' and '.join(one.modes)})"
        if not one.ready:
            yield f"{named} is not ready, {one.score} of 100: {'; '.join(one.reasons)}"
        if now - one.at > _LOOKED_AT_WITHIN:
            yield f"{named} was looked at {age(now - one.at)} ago: nobody knows whether it is ready"


def _settled(one: ServerNight, report: NightReport, taken: datetime | None) -> bool:
    """Whether a good image that is as new as the night's would have been is there by now.

    Of a night that made the image and failed to share or verify it, only a newer image says that it is over.
    """
    if taken is None:
        return False
    if one.outcome == "partly" or one.backup_created_at is None:
        return taken > (one.backup_created_at or report.began_at)
    return taken >= one.backup_created_at


def _ours(image: Image) -> bool:
    return SOURCE_TAG in image.tags


def _verified(images: Sequence[Image]) -> tuple[date | None, str | None]:
    found = [(day, image.id) for image in images if (day := _day(image.tags.get(VERIFIED_TAG)))]
    return max(found, default=(None, None))


def _day(tag: str | None) -> date | None:
    try:
        return date.fromisoformat(tag) if tag else None
    except ValueError:
        return None


def _no_image(images: Sequence[Image]) -> str:
    if any(image.status == "active" for image in images):
        return "no good image: those that are there are doubtful"
    if images:
        return f"no good image: {', '.join(sorted({f'one is {image.status}' for image in images}))}"
    return "there is no image of it"


def _words(one: LastResult) -> str:
    code = f" ({one.code})" if one.code and one.code not in one.reason else ""
    return f"night {one.night} of {one.policy}: {one.outcome}{': ' if one.reason else ''}{one.reason.rstrip('.')}{code}"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _age_or_most(row: BoardServer) -> float:
    return float("inf") if row.age_s is None else row.age_s


def age(length: timedelta) -> str:
    """How old something is, as people say it: 40 min, 26 h, 9 d."""
    seconds = length.total_seconds()
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 3 * 86400 else f"{seconds / 86400:.0f} d"


def board_rows(board: Board) -> list[dict[str, str]]:
    """The board as a table, a row for each server under BOARD_COLUMNS: for a terminal, and for an artifact in Prefect."""
    return [_row(one) for one in board.servers]


def _row(one: BoardServer) -> dict[str, str]:
    last = one.results[0] if one.results else None
    old = age(timedelta(seconds=one.age_s)) if one.age_s is not None else "?" if one.image_id else "-"
    night = f"{last.outcome}{', settled since' if last.settled else ''}" if last else "-"
    why = "; ".join(one.reasons) or (last.reason if last else "")
    cells = (
        one.server_name,
        one.state,
        one.image_name or one.image_id or "none",
        old + (", not ours" if one.ours is False else ""),
        f"{one.verified_on:%Y-%m-%d}" if one.verified_on else "never",
        night,
        "?" if one.shared_with is None else ", ".join(one.shared_with) or "nobody",
        str(one.images),
        str(one.gb_pinned),
        why,
    )
    return dict(zip(BOARD_COLUMNS, cells, strict=True))
