"""One watcher for all images that one project waits for: one list call per beat answers every wait (docs/decisions/0012).

A wait that is alone asks for its image by itself: the job tells its progress, and why it failed. Where several wait, the first
that is due lists the project's newest images for all of them; whoever is due within the same beat shares that list, and its news
starts the beat of every wait anew. What the list cannot tell, a wait asks for by itself, when it is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from backup_to_image.errors import CloudError
from backup_to_image.model import Image
from backup_to_image.otc import Cloud
from backup_to_image.waiting import IMAGE, QUICK_BEAT, passes, shortest_beat, within

__all__ = ["Place", "Watcher"]

_BEAT, _QUICK_BEAT = timedelta(seconds=3), timedelta(seconds=QUICK_BEAT)
"""Lists are never closer than this: forty young images whose usual time nobody knows would have one read every two seconds. Where
images usually take less than a minute, three seconds would be much of it."""
_ONE_BY_ONE_FOR = timedelta(minutes=10)
"""How long nobody tries the list again after it was refused: rights may be given meanwhile."""
_PATIENCE_WITH_LISTS = 3
_PAGE, _LARGEST_PAGE = 100, 500


class Watcher:
    """Answers the waits of one connection to one project."""

    def __init__(self, cloud: Cloud, *, tell: Callable[[str], None]) -> None:
        self._cloud = cloud
        self._tell = tell
        self._places: list[Place] = []
        self._most_at_once = 0
        self._reading: asyncio.Task[_List] | None = None
        self._read_at: datetime | None = None
        self._troubles = 0
        self._one_by_one_until: datetime | None = None
        self._beat = _BEAT

    @contextmanager
    def image(
        self, backup_id: str, *, image_id: str | None = None, ignore: Sequence[str] = (), usual: Sequence[float] = ()
    ) -> Generator[Place]:
        """A place for one wait, to look and to rest at. Whoever leaves, also by an error, disturbs nobody else.

        The image is known by its id, else by its backup; `ignore` names dead ones of earlier attempts. `usual` is how long
        images took before, in seconds.
        """
        place = Place(self, self._cloud, backup_id, image_id, frozenset(ignore))
        if usual:
            self._beat = _QUICK_BEAT if shortest_beat(usual) == QUICK_BEAT else _BEAT
        self._places.append(place)
        self._most_at_once = max(self._most_at_once, len(self._places))
        try:
            yield place
        finally:
            self._places.remove(place)
            if not self._places:
                self._end()

    async def list_for(self, place: Place) -> Image | None:
        """The image as a list shows it that is not older than the shortest beat; None where the wait has to ask by itself.

        Raises the trouble of the list that passes, which is no news for anybody.
        """
        if self._reading is None or self._is_old():
            if self._places == [place] or self._one_by_one():
                return None
            self._read_at = None
            self._reading = asyncio.create_task(self._read())
        try:
            # Shielded: whoever gives up waiting for the list leaves it to the others.
            return (await asyncio.shield(self._reading)).find(place)
        except CloudError:
            if self._one_by_one():
                return None
            raise

    def _end(self) -> None:
        self._most_at_once = 0
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _is_old(self) -> bool:
        """Also when the clock was put back since: what was read in the future says nothing of now."""
        return self._read_at is not None and not self._read_at <= self._cloud.clock.now() < self._read_at + self._beat

    def _one_by_one(self) -> bool:
        return self._one_by_one_until is not None and self._cloud.clock.now() < self._one_by_one_until

    async def _read(self) -> _List:
        try:
            listed = await self._newest()
        except CloudError as error:
            self._troubles += 1
            if not passes(error) or self._troubles >= _PATIENCE_WITH_LISTS:
                if self._one_by_one_until is None:
                    self._tell(f"the list of images tells nothing ({error.code}); asking for each image by itself for now")
                self._one_by_one_until = self._cloud.clock.now() + _ONE_BY_ONE_FOR
            raise
        finally:
            self._read_at = self._cloud.clock.now()
        self._troubles, self._one_by_one_until = 0, None
        for place in self._places:
            place.hear(listed)
        return listed

    async def _newest(self) -> _List:
        """Room for twice as many as were waited for at once, newest first: an old one that is stuck makes the list no longer.

        Who is not on it is asked for by itself. Older than the oldest that is waited for is left out, by the cloud's own clock.
        """
        listed = _List()
        most = max(_PAGE, 2 * self._most_at_once)
        page = min(most, _LARGEST_PAGE)
        created = [place.created_at for place in self._places]
        oldest = min((moment for moment in created if moment), default=None) if None not in created else None
        images = self._cloud.images.list(
            whole=True, owner=self._cloud.project_id, created_after=oldest, newest_first=True, page_size=page
        )
        async for image in images:
            count = listed.add(image)
            if count >= most or (count % page == 0 and all(listed.find(place) for place in self._places)):
                break
        return listed


class Place:
    """Where one wait looks for its image, and rests until it is due or there is news."""

    def __init__(self, watcher: Watcher, cloud: Cloud, backup_id: str, image_id: str | None, ignore: frozenset[str]) -> None:
        self._watcher = watcher
        self._clock = cloud.clock
        self.backup_id = backup_id
        self.image_id = image_id
        self.ignore = ignore
        self.created_at: datetime | None = None
        """When the cloud says that the image was created; None until a list has shown it."""
        self._last = ""
        self._heard: Image | None = None
        self._news = asyncio.Event()

    async def look(self) -> Image | None:
        """The image as the list shows it; None where this wait has to ask by itself. Raises trouble that passes."""
        # News is taken as it is: a list anew for each would be news for all again.
        image = self._heard or await self._watcher.list_for(self)
        self._heard = None
        self._news.clear()
        self._last = image.status if image else self._last
        return image

    def hear(self, listed: _List) -> None:
        """A list was read, for whomever. What is not on it is no news; nor is an end that this wait has looked into already."""
        image = listed.find(self)
        if image is None:
            return
        self.created_at = image.created_at
        if image.status in IMAGE.pending or image.status != self._last:
            self._heard = image
            self._news.set()

    async def rest(self, seconds: float) -> None:
        """Come back after so many seconds, or as soon as a list has news."""
        await within(self._clock, seconds, self._news.wait())


class _List:
    """The newest images, newest first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Image] = {}
        self._by_backup: dict[str | None, list[Image]] = {}

    def add(self, image: Image) -> int:
        self._by_id[image.id] = image
        self._by_backup.setdefault(image.backup_id, []).append(image)
        return len(self._by_id)

    def find(self, place: Place) -> Image | None:
        """The image of that wait: by its id, else the newest of its backup that lives, else the newest."""
        if place.image_id is not None:
            return self._by_id.get(place.image_id)
        made = [image for image in self._by_backup.get(place.backup_id, ()) if image.id not in place.ignore]
        return next((image for image in made if image.status not in IMAGE.failure), made[0] if made else None)
