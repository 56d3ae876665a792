"""What a person sends b2i to do, and what must then be true: of the cloud as it is seen from outside, and of what b2i told."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol

from tests.kills.child import Point
from tests.kills.company import Person, Run, Thing

__all__ = [
    "ERRANDS",
    "MIXED",
    "RECOVERY",
    "SHARING",
    "SINGLE",
    "Accept",
    "Another",
    "ChangeOs",
    "Create",
    "Drill",
    "Errand",
    "HandOver",
    "Launch",
    "Night",
    "Retention",
    "RunbookCleanup",
    "RunbookDrill",
    "RunbookFailover",
    "Share",
    "Teardown",
    "Unshare",
]


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
class Drill:
    """A server from an image of one's own, launched apart to be asked and taken down again; the image is marked."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        ours = [one for one in self.person.images() if "b2i-source" in _tags(one)]
        if ours:
            self.image = ours[0]["id"]
            if "b2i-verified" in _tags(ours[0]):
                self.person.forget_proof(self.image)
        else:
            self.image = _well(self.person, "create", self.person.backup()).told["image_id"]
        self.words = ("launch", self.image, "--spec", self.person.drill_order(self.person.new_name()), "--drill")
        self.before = self.person.account()

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        assert now == self.before, f"left: {now - self.before}, gone: {self.before - now}"
        assert (told["image_id"], told["drill"], told["verified"], told["left_behind"], told["error"]) == (
            self.image,
            True,
            True,
            [],
            None,
        )
        assert told["outcome"] == ("adopted" if told["adopted"] else "made")
        assert last.told_truly("createServers"), told["adopted"]
        assert [probe["ok"] for probe in told["probes"]] == [True]
        (image,) = [one for one in self.person.images() if one["id"] == self.image]
        assert "b2i-verified" in _tags(image)
        for run in (last, *earlier):
            assert len({one["request"]["server"]["name"] for one in run.traced("createServers")}) <= 1, "two servers at a time"
            assert all(len(one["request"]["servers"]) == 1 for one in run.traced("deleteServers")), "two servers at a time"
        assert not (left := _open_records(self.person)), left


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
class ChangeOs:
    """A running server is stopped and gets an image's system disk; its data disks stay."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.old = self._server()
        self.image = next(one["id"] for one in self.person.images() if one["id"] != self.old["metadata"]["metering.image_id"])
        self.before = self.person.account()
        accepted = ("--accept-data-disks-unchanged", "--yes-i-mean", self.old["name"])
        self.words = ("change-os", self.old["id"], self.image, *accepted, "--stop", "--probe", "console: 'login:'")

    def _server(self) -> dict[str, Any]:
        (found,) = [one for one in self.person.servers() if one["name"] == "shop"]
        return found

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now, server = last.told, self.person.account(), self._server()
        assert (server["id"], server["status"], server["metadata"]["metering.image_id"]) == (self.old["id"], "ACTIVE", self.image)
        (old, *data), (new, *rest) = _disks_of(self.old), _disks_of(server)
        assert rest == data
        assert (now - self.before, self.before - now) == ({("disk", new)}, {("disk", old)})
        assert (told["server_id"], told["image_id"], told["status"], told["error"]) == (server["id"], self.image, "ACTIVE", None)
        assert (told["system_disk_id"], told["old_system_disk_id"], told["data_disks"]) == (new, old, data)
        assert (told["missing_disks"], told["left_behind"], [one["ok"] for one in told["probes"]]) == ([], [], [True])
        assert last.told_truly("changeOs"), told["adopted"]
        assert told["outcome"] == ("adopted" if told["adopted"] else "made")
        granted = [
            one
            for run in (last, *earlier)
            for one in run.seen
            if one.point[1:] == ("changeOs", "effect") and one.status == HTTPStatus.OK
        ]
        assert len(granted) <= 1, "its system disk was replaced twice"
        assert not (left := _open_records(self.person)), left


def _disks_of(server: dict[str, Any]) -> list[str]:
    return [one["id"] for one in sorted(server["os-extended-volumes:volumes_attached"], key=lambda one: int(one["bootIndex"]))]


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


@dataclass
class Night:
    """Two servers, one backed up first: an image of each, shared; one of them drilled; the older images go with their backups."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.person = self.person.elsewhere()
        self.before = self.person.account()
        self.backups = {one["id"]: one["resource_name"] for one in self.person.backups_in_full()}
        self.used = {one["__backup_id"] for one in self.person.images()}
        self.old = {one["id"]: one["__backup_id"] for one in self.person.images() if _tags(one).get("b2i-source")}
        self.words = ("nightly", self.person.night())

    def check(self, last: Run, earlier: list[Run]) -> None:
        person = self.person
        new = {one["id"]: one for one in person.images() if ("image", one["id"]) not in self.before}
        now = person.account()
        assert now - self.before == {("image", one) for one in new}, f"left: {now - self.before}"
        assert self.before - now == {("image", one) for one in self.old}, f"gone: {self.before - now}"
        backups = {one["id"]: one["resource_name"] for one in person.backups_in_full()}
        assert set(self.backups) - set(backups) == set(self.old.values()), "not the backups of the images that went"
        made = {name for ident, name in backups.items() if ident not in self.backups}
        assert (len(set(backups) - set(self.backups)), made) == (1, {"db"}), f"{made} have a new backup"
        of_server = {backups[one["__backup_id"]]: one for one in new.values()}
        assert (len(new), set(of_server)) == (2, {"web", "db"}), f"images: {new}"
        assert not {one["__backup_id"] for one in new.values()} & self.used
        for image in new.values():
            assert image["status"] == "active"
            assert person.members(image["id"]) == [person.served.account["second_project"]]
        verified = [one["id"] for one in new.values() if "b2i-verified" in _tags(one)]
        assert len(verified) == 1, f"verified: {verified}"
        self._truly(last, of_server)
        for run in (last, *earlier):
            assert all(len(one["request"]["servers"]) == 1 for one in run.traced("deleteServers")), "two drill servers at a time"
        assert not (left := _open_records(person)), left

    def _truly(self, last: Run, of_server: dict[str, Any]) -> None:
        """What the last run tells of each server, and of what went, is what the cloud has and what this run asked it for."""
        told = last.told
        assert (told["servers"], told["error"], told["notes"], told["left_behind"]) == (2, None, [], []), told
        assert [told[word] for word in ("failed", "late", "skipped")] == [[], [], []], told
        assert told["outcome"] == ("made" if told["made"] else "adopted")
        one_each = {one["name"]: one for one in (*told["made"], *told["adopted"])}
        assert (len(told["made"]) + len(told["adopted"]), set(one_each)) == (2, set(of_server))
        for name, image in of_server.items():
            said, backup = one_each[name], image["__backup_id"]
            assert (said["image_id"], said["image_name"], said["backup_id"]) == (image["id"], image["name"], backup)
            assert said["shared_with"] == [self.person.served.account["second_project"]]
            asked = [one for one in last.traced("createWholeImage") if one["request"]["backup_id"] == backup]
            granted = any(one["status"] == HTTPStatus.OK for one in asked)
            assert asked if said in told["made"] else not granted, f"{name}: {said}"
        drills = [one["verified"] for one in one_each.values() if one["verified"]]
        assert len(drills) <= 1
        assert all(one["ok"] and not one["reason"] for one in drills), drills
        assert set(told["retired"]) <= set(self.old)
        went = Counter(one["url"] for one in last.traced("deleteImage") if one["status"] == HTTPStatus.NO_CONTENT)
        assert set(went.values()) <= {1}, "one run asked for it twice"


def _tags(image: dict[str, Any]) -> dict[str, str]:
    return dict(tag.partition("=")[::2] for tag in image["tags"])


def _open_records(person: Person) -> list[str]:
    """What the journal has as not finished: orders, a night that is on, requests that nobody has heard the end of.

    But for backup runs, which are notes on what backups are called: whoever finds the backup on the list needs none of them; and
    for the ends of shares, whose day has not come.
    """
    places = (person.folder / "journal").glob("*.json")
    records = [json.loads(place.read_text()) for place in places]
    return [
        f"{one['kind']} {one['name']}: {one['state']}"
        for one in records
        if one["kind"] in {"order", "retire"}
        or (one["kind"] not in {"backup", "share-expiry"} and one["state"] in {"open", "intent", "late"})
    ]


@dataclass
class Share:
    """An image that is there, with two projects; its end after a month stands in the journal before they have it."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        account = self.person.served.account
        self.projects = {account["second_project"], account["recipient"]["project_id"]}
        self.image = self.person.images()[0]["id"]
        self.person.have(self.image)
        self.before = self.person.account()
        self.words = ("share", self.image, "dr", "friend", "--share-for", "30d")

    def check(self, last: Run, earlier: list[Run]) -> None:
        assert set(self.person.members(self.image)) == self.projects
        told = {one["project_id"]: one for one in last.told["members"]}
        assert {project: told[project]["status"] for project in self.projects} == dict.fromkeys(self.projects, "pending")
        assert all(one["ends_at"] for one in told.values()), told
        _as_asked(last, "batchAddImageMembers", "addImageMember")
        assert self.person.account() == self.before
        assert not (left := _open_records(self.person)), left


@dataclass
class Unshare:
    """It is taken back from one of two."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        account = self.person.served.account
        self.image, self.stays = self.person.images()[1]["id"], account["recipient"]["project_id"]
        self.person.have(self.image, account["second_project"], self.stays)
        self.before = self.person.account()
        self.words = ("unshare", self.image, "dr")

    def check(self, last: Run, earlier: list[Run]) -> None:
        assert self.person.states(self.image) == {self.stays: "pending"}
        told = {one["project_id"]: one["status"] for one in last.told["members"]}
        assert told[self.person.served.account["second_project"]] is None
        _as_asked(last, "batchDeleteImageMembers", "deleteImageMember")
        assert self.person.account() == self.before
        assert not (left := _open_records(self.person)), left


@dataclass
class Accept:
    """The friend takes what he was offered."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.owner, self.person = self.person, self.person.guest()
        self.image = self.owner.images()[2]["id"]
        self.owner.have(self.image, self.person.project)
        self.before = self.owner.account()
        self.words = ("accept", self.image)

    def check(self, last: Run, earlier: list[Run]) -> None:
        told = last.told
        assert self.owner.states(self.image) == {self.person.project: "accepted"}
        assert (told["image_id"], told["state"], told["status"]) == (self.image, "accepted", "active")
        asked = _as_asked(last, "batchUpdateImageMembers", "updateImageMember")
        assert (told["vault_id"] == self.owner.served.account["recipient"]["vault"]) is asked, told
        assert self.owner.account() == self.before
        assert not (left := _open_records(self.person)), left


@dataclass
class HandOver:
    """The same image goes from one to the other by the log-ins of both, with an end."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.friend = self.person.guest()
        self.person.know_guest("friend")
        self.image = self.person.images()[3]["id"]
        self.person.have(self.image)
        self.before = self.person.account()
        self.words = ("hand-over", self.image, "--to", "friend", "--share-for", "30d")

    def check(self, last: Run, earlier: list[Run]) -> None:
        told = last.told
        assert self.person.states(self.image) == {self.friend.project: "accepted"}
        assert (told["image_id"], told["state"], told["recipient"]) == (self.image, "accepted", self.friend.project)
        assert told["ends_at"], told
        asked = _as_asked(last, "batchAddImageMembers", "addImageMember", "batchUpdateImageMembers", "updateImageMember")
        answered = any(one.point.what in {"batchUpdateImageMembers", "updateImageMember"} for one in last.seen)
        assert (told["vault_id"] == self.person.served.account["recipient"]["vault"]) is answered, told
        assert asked or not answered
        granted = [
            one
            for run in (last, *earlier)
            for one in run.seen
            if one.point[1:] == ("batchUpdateImageMembers", "effect") and one.status == HTTPStatus.OK
        ]
        assert len(granted) <= 1 + len(earlier), "one run has accepted it twice"
        assert self.person.account() == self.before
        assert not (left := _open_records(self.person)), left


def _as_asked(last: Run, *operations: str) -> bool:
    """Whether the run has asked the cloud for it; that, and nothing else, it tells as made."""
    asked = any(one.point.what in operations for one in last.seen)
    assert last.told["outcome"] == ("made" if asked else "adopted"), last.told
    assert last.told["error"] is None
    return asked


@dataclass
class RunbookDrill:
    """Two servers one after the other, with a question between them, and then nothing is left of them."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.person.new_name()
        self.words = ("runbook", "drill", self.person.runbook(self.name), "--approve-all")
        self.before = self.person.account()

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        assert now == self.before, f"left: {now - self.before}, gone: {self.before - now}"
        assert told["left_behind"] == []
        _all_up(told)
        _launched_once(self.person, self.name, last, earlier)
        assert not (left := _open_records(self.person)), left


@dataclass
class RunbookFailover:
    """The same for real: the servers stay."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.name = self.person.new_name()
        self.words = ("runbook", "failover", self.person.runbook(self.name), "--yes-i-mean", self.name, "--approve-all")
        self.before = self.person.account()

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        _all_up(told)
        there = {one["name"]: one for one in self.person.servers() if one["name"].startswith(f"{self.name}-")}
        servers = {one["name"]: one for group in told["groups"] for one in group["servers"]}
        assert set(there) == set(servers)
        for name, server in there.items():
            assert (servers[name]["server_id"], server["status"]) == (server["id"], "ACTIVE")
            assert f"b2i-launch={servers[name]['launch_id']}" in server["tags"], server["tags"]
        assert now - self.before == frozenset().union(*map(self.person.belongings, there.values())), now - self.before
        assert self.before <= now, f"gone: {self.before - now}"
        _launched_once(self.person, self.name, last, earlier)
        assert not (left := _open_records(self.person)), left
        self.person.remove(there.values())  # there is not room for the servers of all kills


@dataclass
class RunbookCleanup:
    """A drill that was killed when the first of its servers had just come up is taken down."""

    person: Person
    before: frozenset[Thing] = field(init=False)
    words: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        drill = RunbookDrill(self.person)
        self.before = drill.before
        run = self.person.start(*drill.words, end_at=Point("record launch done", "record runbook", "after"))
        assert run.end() < 0
        self.words = ("runbook", "cleanup", *drill.words[2:3])

    def check(self, last: Run, earlier: list[Run]) -> None:
        told, now = last.told, self.person.account()
        assert now == self.before, f"left: {now - self.before}, gone: {self.before - now}"
        assert (told["left_behind"], told["error"]) == ([], None)
        assert not (left := _open_records(self.person)), left


def _all_up(told: dict[str, Any]) -> None:
    assert (told["outcome"] in {"made", "adopted"}, told["stopped"], told["error"]) == (True, None, None), told
    assert [one["state"] for one in told["groups"]] == ["up", "up"]
    assert [one["answer"] for group in told["groups"] for one in group["steps"]] == ["go"]
    for server in [one for group in told["groups"] for one in group["servers"]]:
        assert (server["state"], [probe["ok"] for probe in server["probes"]]) == ("up", [True])


def _launched_once(person: Person, name: str, last: Run, earlier: list[Run]) -> None:
    """Two servers in each run; there is one, but for a drill that was done when its process was killed: then another begins."""
    records = [json.loads(place.read_text())["facts"]["told"] for place in (person.folder / "journal").glob("runbook-*.json")]
    runs = [one for one in records if one["runbook"] == name]
    assert {one["state"] for one in runs} == {"done"}, runs
    by_itself = [one for one in runs if one["mode"] == "drill" and not one["interruptions"]]
    assert len(runs) == 1 or by_itself == runs, f"{len(runs)} runs of one order"
    granted = [
        one
        for run in (last, *earlier)
        for one in run.seen
        if one.point[1:] == ("createServers", "effect") and one.status == HTTPStatus.OK
    ]
    assert len(granted) == 2 * len(runs), f"{len(granted)} launches in {len(runs)} runs of two servers"


ERRANDS: dict[str, Callable[[Person], Errand]] = {
    "create": Create,
    "launch": Launch,
    "launch --another": Another,
    "launch --drill": Drill,
    "teardown": Teardown,
    "change-os": ChangeOs,
    "retention": Retention,
    "nightly": Night,
    "share": Share,
    "unshare": Unshare,
    "accept": Accept,
    "hand-over": HandOver,
    "runbook drill": RunbookDrill,
    "runbook failover": RunbookFailover,
    "runbook cleanup": RunbookCleanup,
}
SHARING = ("share", "unshare", "accept", "hand-over")
MIXED = ("launch --another", "launch --drill", *SHARING)
"""Made of what others do, too: `make check-all` kills them where they change or write something, `make prove` everywhere."""
RECOVERY = ("runbook drill", "runbook failover", "runbook cleanup")
"""Runs of a runbook, and the end of one."""
SINGLE = tuple(command for command in ERRANDS if command not in {"nightly", *MIXED, *RECOVERY})
"""What is done one step after the other; a night's servers get ahead of each other by chance."""


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
