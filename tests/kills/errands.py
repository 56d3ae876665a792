"""What a person sends b2i to do, and what must then be true: of the cloud as it is seen from outside, and of what b2i told."""

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from tests.kills.company import Person, Run, Thing

__all__ = ["ERRANDS", "Another", "Create", "Errand", "Launch", "Retention", "Teardown"]


class Errand(Protocol):
    """One command of one person. Made anew for every kill."""

    person: Person
    words: tuple[str, ...]

    def check(self, last: Run, earlier: list[Run]) -> None:
        """One image, one server, nothing beside them, and the last run told the truth about them; once lists have caught up."""
        ...


@dataclass
class Create:
    """An image of a backup, shared and launched."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.backup = self.person.new_name(), self.person.backup()
        self.before = self.person.account()
        self.words = ("create", self.backup, "--share-with", "dr", "--launch", self.person.launch_order(self.name))

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        images = [one for one in self.person.images() if one["__backup_id"] == self.backup]
        assert len(images) == 1, f"{len(images)} images"
        (image,) = images
        assert (told["image_id"], told["image_name"], told["status"]) == (image["id"], image["name"], image["status"])
        assert image["status"] == "active"
        assert last.told_truly("createWholeImage"), told["adopted"]
        assert told["outcome"] == ("adopted" if told["adopted"] else "made")
        assert told["shared_with"] == self.person.members(image["id"]) == [self.person.served.account["second_project"]]
        _one_server(self.person, self.name, told, now, self.before | {("image", image["id"])})


@dataclass
class Launch:
    """A server from an image that is there."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.image = self.person.new_name(), self.person.images()[-1]["id"]
        self.words = ("launch", self.image, "--spec", self.person.launch_order(self.name))
        self.before = self.person.account()

    def check(self, last: Run, earlier: list[Run]) -> None:
        told = last.told
        _one_server(self.person, self.name, told, self.person.account(), self.before)
        assert (told["server_ids"], told["image_id"]) == ([told["server_id"]], self.image)
        assert last.told_truly("createServers"), told["adopted"]
        assert told["outcome"] == ("adopted" if told["adopted"] else "made")


@dataclass
class Another(Launch):
    """One more server beside the first of the same order."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _well(self.person, *self.words)
        self.words = (*self.words, "--another")
        self.before = self.person.account()

    def check(self, last: Run, earlier: list[Run]) -> None:
        """One more. A run that had told of its own before it died was done: then its repetition orders the next."""
        told_before = {run.told["server_id"] for run in earlier if run.told.get("outcome") in {"made", "adopted"}}
        for server in self.person.servers():
            if server["id"] in told_before - {last.told["server_id"]}:
                self.before |= self.person.belongings(server)
        super().check(last, earlier)


@dataclass
class Teardown:
    """A launched server goes, with its disks and its address."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.before = self.person.account()
        launch = Launch(self.person)
        run = _well(self.person, *launch.words)
        self.launched = self.person.account() - self.before
        self.words = ("teardown", run.told["launch_id"], "--yes-i-mean", launch.name)

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        assert now == self.before, f"left: {now - self.before}, gone: {self.before - now}"
        assert told["left_behind"] == []
        named = {("server", one) for one in told["servers"]} | {("disk", one) for one in told["disks"]}
        assert named | {("address", one) for one in told["public_ips"]} <= self.launched


@dataclass
class Retention:
    """The older of two images of a server goes, and its backup after it."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Spare backups come newest first, so the first image that a person makes here stays to the end."""
        for backup in [self.person.backup(), *([] if self._ours() else [self.person.backup()])]:
            code, run = self.person.run("create", backup)
            assert code == 0, run.told
            self.backup, self.image = backup, run.told["image_id"]
        self.person.catch_up()
        self.before = self.person.account()
        self.words = ("retention", self.person.policy("one", delete_backup="always", max_deletions=100), "--apply")

    def _ours(self) -> list[str]:
        return [one["id"] for one in self.person.images() if any(tag.startswith("b2i-source") for tag in one["tags"])]

    def check(self, last: Run, earlier: list[Run]) -> None:
        told = last.told
        assert self.person.account() == self.before - {("image", self.image)}
        assert self.backup not in self.person.backups()
        assert (told["left"], told["kept_after_all"], told["error"]) == ([], [], None)
        assert set(told["deleted"]) | set(told["gone"]) <= {self.image}
        assert set(told["deleted_backups"]) <= {self.backup}
        for run in (last, *earlier):
            granted = [
                one for one in run.seen if one.point[1:] == ("deleteImage", "effect") and one.status == HTTPStatus.NO_CONTENT
            ]
            assert len(granted) <= 1, "one run asked for it twice"
        assert not list((self.person.folder / "journal").glob("retire-*"))


ERRANDS: dict[str, type[Create | Launch | Another | Teardown | Retention]] = {
    "create": Create,
    "launch": Launch,
    "launch --another": Another,
    "teardown": Teardown,
    "retention": Retention,
}


def _well(person: Person, *words: str) -> Run:
    code, run = person.run(*words)
    assert code == 0, run.told
    person.catch_up()
    return run


def _one_server(person: Person, name: str, told: dict[str, Any], now: frozenset[Thing], before: frozenset[Thing]) -> None:
    """One server more than before, with its disks and its address and nothing beside them, and the ids told are its own."""
    servers = [one for one in person.servers() if one["name"] == name and ("server", one["id"]) not in before]
    assert len(servers) == 1, f"{len(servers)} servers called {name}"
    (server,) = servers
    assert (told["server_id"], server["status"]) == (server["id"], "ACTIVE")
    assert f"b2i-launch={told['launch_id']}" in server["tags"], server["tags"]
    assert now - before == person.belongings(server), now - before
    assert before <= now, f"gone: {before - now}"
    assert told["error"] is None
