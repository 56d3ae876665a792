"""Which image each server of a runbook comes back from: decided from what was read, with the reasons. Nothing is made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from backup_to_image.model import Backup, Check, Image, Value
from backup_to_image.model.readiness import RPO_MISSED, Pick
from backup_to_image.model.runbook import ImagesRule, Runbook, RunbookGroup, RunbookServer
from backup_to_image.steps.context import minutes
from backup_to_image.steps.names import DOUBTFUL_TAG, VERIFIED_TAG
from backup_to_image.steps.runbook.stock import Stock
from backup_to_image.steps.select import why_not

__all__ = ["pick_images"]

_PAGE = "docs/runbooks.md"
_MAKING = frozenset({"queued", "saving"})
"""An image that is being made is adopted by whoever orders it again."""
_TO_BE_READ = ("images", "accepted images", "backups")
"""Without these a newer or better image may be overlooked."""


class _Option(Value):
    """A state that a server could come back with."""

    image: Image | None
    backup: Backup | None

    @property
    def taken_at(self) -> datetime | None:
        return self.backup.taken_at if self.backup else None

    @property
    def latest_at(self) -> datetime | None:
        """Its state is no younger: all that is known of some replicas, and of images whose backup is not to be seen."""
        if self.backup:
            return self.backup.latest_at
        return self.image.created_at if self.image else None


def pick_images(book: Runbook, stock: Stock, *, now: datetime) -> tuple[tuple[Pick, ...], tuple[Check, ...]]:
    """One image for each server, in the file's order, together no farther apart than the runbook's `skew`; and what that came to.

    The same facts always give the same answer. What has no image has a check that was refused, and says why. Where no set is
    close enough together, each server has its newest, and a check that was refused says so for all of them.
    """
    rule = book.images
    oldest = now - book.targets.rpo if book.targets.rpo else None
    wants = [_Wanted(group, server, rule, stock, oldest) for group, server in book.servers]
    checks: tuple[Check, ...] = ()
    if rule.skew is not None and all(one.options for one in wants):
        together = _together(wants, rule.skew)
        for one, option in zip(wants, together or (), strict=False):
            one.options = [option]
        checks = (_skew_check(wants, rule.skew, found=together is not None),)
    return tuple(one.pick(book, now) for one in wants), checks


class _Wanted:
    """One server in the making: whose it is, and what it could come back from, the best first."""

    def __init__(
        self, group: RunbookGroup, server: RunbookServer, rule: ImagesRule, stock: Stock, oldest: datetime | None
    ) -> None:
        self._group = group
        self._server = server
        self.source = server.source
        self._rule = rule
        self._stock = stock
        self._oldest = oldest
        self._ids = stock.ids_of(server.source)
        self._images = [image for image in stock.images if self._is_its(image)]
        self.options = [] if self._ambiguous else self._choose()
        self._outdated = any(option.image for option in self.options)

    @property
    def _ambiguous(self) -> bool:
        return len(self._ids) > 1 and self._server.image is None

    def _is_its(self, image: Image) -> bool:
        if self._server.image is not None:
            return self._server.image == image.id or fnmatchcase(image.name, self._server.image)
        return self._stock.source_of(image) in self._ids

    def _choose(self) -> list[_Option]:
        good = [image for image in self._images if not self._why_not(image)]
        found = sorted((_Option(image=one, backup=self._stock.backup_of(one)) for one in good), key=_newest, reverse=True)
        if self._rule.when_missing == "create" and all(self._too_old(option) for option in found):
            making = {image.backup_id for image in self._images if image.status in _MAKING}
            usable = [
                _Option(image=None, backup=backup)
                for backup in self._stock.backups.values()
                if backup.resource_id in self._ids
                and (backup.id in making or not why_not(backup))
                and self._early_enough(backup.latest_at)
            ]
            found += [option for option in usable if not found or _newest(option) > _newest(found[0])]
        return sorted(found, key=_newest, reverse=True)

    def _too_old(self, option: _Option) -> bool:
        """Whether its state is known to miss the target."""
        return self._oldest is not None and option.latest_at is not None and option.latest_at < self._oldest

    def _why_not(self, image: Image) -> str:
        """Why the rule does not take this image; "" where it does."""
        if image.status != "active":
            return image.status
        if DOUBTFUL_TAG in image.tags:
            return "doubtful"
        if self._rule.pick == "newest_verified" and VERIFIED_TAG not in image.tags:
            return "never verified"
        if not self._early_enough(_Option(image=image, backup=self._stock.backup_of(image)).latest_at):
            return f"not of before {self._rule.before:%Y-%m-%d %H:%M %Z}"
        return ""

    def _early_enough(self, latest: datetime | None) -> bool:
        return self._rule.before is None or (latest is not None and latest < self._rule.before)

    def pick(self, book: Runbook, now: datetime) -> Pick:
        server_id = self._ids[0] if len(self._ids) == 1 else None
        name = self._stock.name_of(server_id) if server_id else ""
        option = self.options[0] if self.options else None
        checks = [self._image_check(option)]
        if unseen := [f"{what}: {self._stock.unread[what]}" for what in _TO_BE_READ if what in self._stock.unread]:
            why = f"not all could be read, so a better one may be there: {'; '.join(unseen)}"
            checks.append(
                Check(rule="image", verdict="unknowable", why=why, code="b2i.unread", action="`b2i doctor` says which right.")
            )
        if option is not None:
            checks.append(_age_check(option, self._server, book, now))
        return Pick(
            group=self._group.name,
            source=self._server.source,
            server_id=server_id,
            server_name=name,
            image=option.image if option else None,
            backup=option.backup if option else None,
            taken_at=option.taken_at if option else None,
            checks=tuple(checks),
        )

    def _image_check(self, option: _Option | None) -> Check:
        source = self._server.source
        if self._ambiguous:
            action = "Name the one that is meant by its id."
            return _refused(f"{len(self._ids)} servers are or were called {source}: {', '.join(self._ids)}", action)
        if option is None:
            return _refused(self._why_none(), self._advice())
        when = _told_time(option)
        if option.image is None:
            made = option.backup.id if option.backup else ""
            lacks = "its images are older than the target" if self._outdated else "it has no image"
            why = f"{lacks}; one would be made of backup {made} of {when} first, and that time counts"
            return Check(rule="image", verdict="warned", why=why, action=f"`b2i create {made}` makes it now.", page=_PAGE)
        verified = option.image.tags.get(VERIFIED_TAG)
        proven = f"verified on {verified}" if verified else "never verified: no server of it has answered yet"
        why = f"{option.image.name} ({option.image.id}), of a backup of {when}; {proven}"
        return Check(rule="image", verdict="passed", why=why)

    def _why_none(self) -> str:
        source = self._server.source
        if not self._ids and self._server.image is None:
            return f"nothing here is of a server {source}: no image, no backup, no record"
        if offered := self._offered():
            return f"{offered.name} ({offered.id}) is offered by project {offered.owner}, and nobody has accepted it"
        if self._images:
            told = "; ".join(f"{image.name} ({image.id}) is {self._why_not(image)}" for image in self._images[:3])
            more = f"; {len(self._images) - 3} more" if len(self._images) > 3 else ""
            return f"none of its {len(self._images)} images will do: {told}{more}"
        return f"{source} has no image" + (f" called {self._server.image}" if self._server.image else "")

    def _offered(self) -> Image | None:
        """The newest of its images that are only offered."""
        found = [image for image in self._stock.offered if self._is_its(image)]
        return max(found, key=lambda image: image.created_at.timestamp() if image.created_at else 0.0, default=None)

    def _advice(self) -> str:
        if not self._ids and self._server.image is None:
            return "Correct the name, or write `image` with a pattern of its images' names."
        if offered := self._offered():
            return f"`b2i accept {offered.id}` takes it."
        return f"`b2i create --server {self._server.source} --newest` makes one."


def _together(wants: Sequence[_Wanted], skew: timedelta) -> list[_Option] | None:
    """One option of each, no two of them farther apart than that: the newest such set, or None."""
    times = sorted({option.taken_at for one in wants for option in one.options if option.taken_at}, reverse=True)
    for last in times:
        chosen: list[_Option] = []
        for one in wants:
            before = [option for option in one.options if option.taken_at and option.taken_at <= last]
            if not before:
                return None  # an earlier end leaves even less
            chosen.append(before[0])
        if last - min(option.taken_at for option in chosen if option.taken_at) <= skew:
            return chosen
    return None


def _skew_check(wants: Sequence[_Wanted], skew: timedelta, *, found: bool) -> Check:
    """Of the options that are taken now."""
    if not found and (unknown := [one.source for one in wants if any(option.taken_at is None for option in one.options)]):
        why = f"how far apart the backups were made cannot be told: those of {', '.join(unknown)} do not tell when"
        return Check(rule="skew", verdict="unknowable", why=why, code="b2i.age-unknown", page=_PAGE)
    times = sorted(one.options[0].taken_at for one in wants if one.options[0].taken_at)
    apart = minutes(times[-1] - times[0]) if times else "an unknown time"
    if found:
        return Check(rule="skew", verdict="passed", why=f"the images' backups are {apart} apart, {minutes(skew)} are allowed")
    return Check(
        rule="skew",
        verdict="refused",
        why=f"no images of all its servers are of backups within {minutes(skew)} of each other; the newest are {apart} apart",
        action="Back the servers up in one run of a vault and make images of that, or allow more `skew`.",
        code="b2i.skew",
        page=_PAGE,
    )


def _age_check(option: _Option, server: RunbookServer, book: Runbook, now: datetime) -> Check:
    wanted, latest = book.targets.rpo, option.latest_at
    target = f"the target is {minutes(wanted)}" if wanted else "the runbook has no target"
    age = "how old its state is cannot be told"
    if latest is not None:
        age = f"its state is {minutes(now - latest)}{'' if option.taken_at else ' or more'} old"
    if latest is not None and wanted is not None and now - latest > wanted:
        action = f"`b2i create --server {server.source} --newest` makes a newer one if there is a newer backup."
        if option.backup is None:
            action = "Let the image's owner share a newer one, and accept it."
        return Check(rule="age", verdict="refused", why=f"{age}, {target}", action=action, code=RPO_MISSED, page=_PAGE)
    if option.taken_at is not None:
        return Check(rule="age", verdict="passed", why=f"{age}, {target}" if wanted else f"{age}; {target}")
    unseen = "its backup is a replica that may only tell when it was copied"
    if option.backup is None:
        unseen = "the backup behind the image is not to be seen from here"
    code, action = "", ""
    if wanted:
        code, action = "b2i.age-unknown", "Take `targets.rpo` out, and let those who see its backups watch how old they are."
    return Check(rule="age", verdict="unknowable", why=f"{age}: {unseen}; {target}", action=action, code=code, page=_PAGE)


def _newest(option: _Option) -> tuple[float, float, str]:
    image = option.image
    made = image.created_at if image else None
    latest = option.backup.latest_at if option.backup else None  # one whose backup is seen goes before one that says nothing
    return (
        latest.timestamp() if latest else 0.0,
        made.timestamp() if made else 0.0,
        image.id if image else option.backup.id if option.backup else "",
    )


def _told_time(option: _Option) -> str:
    if option.latest_at is None:
        return "a time that the cloud does not tell"
    return ("" if option.taken_at else "before ") + f"{option.latest_at:%Y-%m-%d %H:%M} UTC"


def _refused(why: str, action: str) -> Check:
    return Check(rule="image", verdict="refused", why=why, action=action, code="b2i.no-image", page=_PAGE)
