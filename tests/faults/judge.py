"""What holds after every command, whatever went wrong: one judge for every fault at every step, and for chance."""

from __future__ import annotations

import asyncio
import json
import marshal
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache
from typing import Any

import click

from backup_to_image.cli import main
from backup_to_image.emulator.routing import fit, operations
from backup_to_image.emulator.wire import Problem
from tests.support.region import Asked, Ended, Killed, Region

__all__ = ["DEAD", "Judge", "Order"]

OUTCOMES = {
    0: {"made", "adopted"},
    1: {"failed"},
    2: {"failed"},
    3: {"refused"},
    4: {"still_running"},
    5: {"partly"},
    130: {"still_running"},
}
OUR_CODES = {
    "b2i.bad-answer",
    "b2i.interrupted",
    "b2i.job-failed",
    "b2i.journal",
    "b2i.login-refused",
    "b2i.no-answer",
    "b2i.no-place",
    "b2i.not-verified",
    "b2i.partly-done",
    "b2i.refused",
    "b2i.still-running",
    "b2i.unknown-state",
    "b2i.usage",
}
"""Reasons of our own, for what the cloud has no code for. `b2i.unexpected` is a mistake of ours and never right."""
CLOUD_CODE = re.compile(r"(?:IMG|BackupService|Ecs|Common|Pdp|EVS|VPC|IAM|APIGW)\.\d+")
KINDS = ("image", "image-member", "server", "volume", "publicip", "backup", "vault")
DEAD = {"killed", "deleted"}
REFUSES_WITH_500 = {"BackupService.9998"}
"""CBR does not know the caller: nothing was begun."""
SLACK = timedelta(minutes=12)
"""How much later than its deadlines a command may end: a few requests, each with the client's own patience of 90 s."""
SETTLE = {"createWholeImage": 120.0, "createServers": 600.0, "createCheckpoint": 120.0, "changeOs": 600.0}
"""Seconds for which nobody asks again after an unclear answer."""


@dataclass(frozen=True)
class Order:
    """A command, and what it promises to whoever ordered it."""

    arguments: tuple[str, ...]
    backup: str | None = None
    share: tuple[str, ...] = ()
    called: str | None = None
    """The launch order's name, where a server is ordered."""
    count: int = 1
    probes: int = 0
    launch_id: str | None = None
    """What a teardown is to remove."""
    changes: str | None = None
    """The server whose OS is to be changed."""
    image: str | None = None
    besides: tuple[str, ...] = ()
    """Other images that are ordered with that one."""
    standing: str | None = None
    """How the projects of `share` are to stand with these images: offered, gone, or accepted."""
    backs_up: bool = False
    """Whether the server is backed up first: given again after a success, the command makes a new backup and image."""
    within: timedelta = timedelta(hours=1)
    """Every deadline of the command, added up."""

    def plus(self, *arguments: str) -> Order:
        return replace(self, arguments=(*self.arguments, *arguments))

    def without(self, word: str) -> Order:
        return replace(self, arguments=tuple(one for one in self.arguments if one != word))

    @property
    def command(self) -> str:
        return self.arguments[0]

    @property
    def is_night(self) -> bool:
        return self.command == "nightly"


Account = dict[tuple[str, str], dict[str, Any]]


@dataclass
class Judge:
    """Runs commands and holds them to what b2i promises. Remembers whose things are whose across runs."""

    region: Region
    ours: set[str] = field(default_factory=set[str])
    """Ids of what our commands made."""
    servers_ordered: int = 1
    """How many servers the launch order may have of one image: `--another` and `count` raise it."""
    lost_before: set[int] = field(default_factory=set[int])
    """The numbers of the requests before which the journal was lost."""
    disks_of: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """The disks that a server had before its OS was ordered to be changed, the system disk first."""
    turn: float = 0.01
    """Seconds for which a request may wait for its turn once it is written down that it is sent: settling counts from there."""
    excused: set[str] = field(default_factory=set[str])
    """Ids of others' things that the region itself changes, such as a source server that the fault starts."""

    def run(self, order: Order) -> Ended:
        """Run it, and judge how it ended, what it asked for and what it left."""
        before, first, began = self.account(), len(self.region.asked), self.region.clock.now()
        ended = self.region.b2i(*order.arguments)
        asked, took = self.region.asked[first:], self.region.clock.now() - began
        after = self.account()
        made = {kind_and_id: thing for kind_and_id, thing in after.items() if kind_and_id not in before}
        self.ours |= {ident for _, ident in made}
        made = {kind_and_id: thing for kind_and_id, thing in made.items() if not self._offered_before(kind_and_id, first)}
        self._form(ended, order)
        self._heard(ended, asked)
        assert took <= order.within + SLACK, f"took {took}, {order.within} were promised"
        self._named(ended, order, made, after)
        self._no_false_green(ended, order, after)
        if order.is_night:
            self._drilled(ended, before, after)
        self.others(before, after)
        self.contract(asked)
        self.once(after)
        return ended

    def stop(self, order: Order, number: int, *, after: bool, gently: bool) -> Ended | None:
        """Stop the run at its so-manieth request, before or after its effect: by a signal, or so that it can say no more."""
        left = number

        def halt(_: Asked) -> None:
            nonlocal left
            left -= 1
            if left == -1:
                raise asyncio.CancelledError if gently else Killed(f"at request {number}")

        watchers = self.region.answered if after else self.region.watchers
        before, first = self.account(), len(self.region.asked)
        watchers.append(halt)
        try:
            return self.run(order)
        except Killed:
            now = self.account()
            self.ours |= {ident for _, ident in now if (_, ident) not in before}
            self.others(before, now)
            self.contract(self.region.asked[first:])
            self.once(now)
            return None
        finally:
            watchers.remove(halt)

    def account(self) -> Account:
        """Everything there is, as the region keeps it."""
        found = {(kind, thing["id"]): thing for kind in KINDS for thing in self.region.things(kind)}
        copied: Account = marshal.loads(marshal.dumps(found))  # noqa: S302 - our own, a second ago; a deep copy takes ten times as long
        return copied

    # -- how it ended -----------------------------------------------------------------------------------------------------

    def _form(self, ended: Ended, order: Order) -> None:
        told = ended.told
        outcomes = OUTCOMES[ended.code] | ({"failed"} if order.is_night and ended.code == 5 else set[str]())
        assert told["outcome"] in outcomes, (ended.code, told["outcome"])
        silent = ended.code == 0 or (ended.code == 5 and _says_itself_what_is_missing(told)) or _of_single_servers(told)
        assert (told["error"] is None) == silent, told
        for one in _reasons(ended):
            assert isinstance(one.get("retryable", False), bool)
            assert one["message"], one
            assert one["action"], f"no word on what to do: {one}"
            for command in re.findall(r"`b2i ([a-z][a-z-]*)", one["action"]):
                assert command in _commands(), f"`b2i {command}` does not exist: {one['action']}"

    def _heard(self, ended: Ended, asked: list[Asked]) -> None:
        """The cloud's own code with its own words, where it said one."""
        said = [pair for one in asked for pair in _said(one)]
        for reason in _reasons(ended):
            code, message = reason["code"], reason["message"]
            if code.startswith("http."):
                status = int(code.removeprefix("http."))
                assert any(one.status == status for one in asked), f"{code} was never answered"
                assert not any(_said(one) for one in asked if one.status == status and one is asked[-1]), (
                    f"a code was there: {said}"
                )
            elif reason.get("image_id", "") is None and "createWholeImage" not in {one.operation for one in asked}:
                continue  # a server that was refused by our own rules, with the code that the cloud would have said
            elif not code.startswith("b2i."):
                words = {words for one, words in said if one == code}
                assert words, f"{code} was never said; heard: {sorted(set(said))}"
                assert any(one in message for one in words), (message, words)
            else:
                assert code in OUR_CODES, reason

    # -- what is there afterwards -------------------------------------------------------------------------------------------

    def _named(self, ended: Ended, order: Order, made: Account, after: Account) -> None:
        """Nothing is made that the report does not name, by its id or by the id that finds it."""
        told = ended.out
        for (kind, ident), thing in made.items():
            names = {ident}
            if kind == "image":
                names.add(thing["backup_id"])
            elif kind == "server":
                names.add(_mark(thing))
            elif kind == "volume":
                names |= self._names_of_server(thing["server_id"], after)
                names |= set(re.findall("-drill-([0-9a-f]{12})", thing["name"]))
            elif kind == "publicip":
                names |= {thing["address"], *self._names_of_server(_server_of(thing, after), after)}
            elif kind == "image-member":
                names = {thing["project"]} if ended.code == 0 else {thing["project"], thing["image_id"]}
            elif kind == "backup" and order.backs_up:
                names |= {thing["checkpoint_id"], thing["name"]}
            elif kind in {"backup", "vault"}:
                raise AssertionError(f"{order.command} made a {kind}: {thing}")
            assert any(name in told for name in names if name), f"made and not named: {kind} {thing}\n{told}"

    def _offered_before(self, thing: tuple[str, str], first: int) -> bool:
        """Whether a run before this one, which was killed and could say no more, had asked for this sharing: it comes late."""
        kind, (image, _, project) = thing[0], thing[1].partition("/")
        return kind == "image-member" and any(
            one.operation == "batchAddImageMembers" and image in one.body["images"] and project in one.body["projects"]
            for one in self.region.asked[:first]
        )

    def _names_of_server(self, server_id: str | None, after: Account) -> set[str]:
        server = after.get(("server", server_id or ""))
        return {server["id"], _mark(server)} if server else set()

    def _no_false_green(self, ended: Ended, order: Order, after: Account) -> None:
        told = ended.told
        if ended.code != 0:
            return
        if order.command == "create":
            image = after["image", told["image_id"]]
            assert (image["status"], told["status"]) == ("active", "active"), (image, told)
            assert image["backup_id"] == told["backup_id"]
            assert order.backup in {None, told["backup_id"]}
            members = {
                one["project"] for (kind, _), one in after.items() if kind == "image-member" and one["image_id"] == image["id"]
            }
            assert set(told["shared_with"]) == set(order.share) <= members, (told["shared_with"], members)
        if order.standing:
            assert self.stands(order, after), f"told as done: {order.arguments}"
            named = {told["image_id"]} | {one["image_id"] for one in told.get("offers", ())}
            assert {order.image, *order.besides} <= named
        if order.changes:
            server, (old, *data) = after["server", order.changes], self.disks_of[order.changes]
            assert (server["status"], server["image_id"]) == ("ACTIVE", told["image_id"]), server
            assert server["volumes"] == [told["system_disk_id"], *data], server
            assert (told["old_system_disk_id"], told["data_disks"]) == (old, data)
            assert server["volumes"][0] != old
            assert ("volume", old) not in after
            assert [probe["ok"] for probe in told["probes"]] == [True]
        elif order.command == "teardown":
            assert told["left_behind"] == []
            assert not [one for one in self.launched(after) if _mark(one) == order.launch_id]
            gone = {*told["servers"], *told["disks"], *told["public_ips"]}
            assert not [key for key in after if key[1] in gone], f"said to be gone: {gone}"
        elif order.called:
            ids = told.get("server_ids") or [told["server_id"]]
            assert told["launch_id"]
            assert len(set(ids)) == (order.count if "server_ids" in told else 1)
            for ident in ids:
                server = after["server", ident]
                assert (server["status"], _mark(server), server["name"].startswith(order.called)) == (
                    "ACTIVE",
                    told["launch_id"],
                    True,
                )
                assert server.get("profile") != "dead" or not order.probes
            assert len(told["probes"]) == order.probes * order.count
            assert all(probe["ok"] for probe in told["probes"])

    def stands(self, order: Order, account: Account | None = None) -> bool:
        """Whether every project of the order stands with its images as the order wants."""
        found = self.account() if account is None else account
        return all(
            self._stands(found.get(("image-member", f"{image}/{project}")), order, found["image", str(image)])
            for image in (order.image, *order.besides)
            for project in order.share
        )

    @staticmethod
    def _stands(member: dict[str, Any] | None, order: Order, image: dict[str, Any]) -> bool:
        if member is None or order.standing == "gone":
            return member is None and order.standing == "gone"
        # What is no full-ECS image is copied nowhere.
        return order.standing != "accepted" or (
            member["status"] == "accepted" and bool(member["vault_id"]) == bool(image["backup_id"])
        )

    def _drilled(self, ended: Ended, before: Account, after: Account) -> None:
        """The image stays whatever its drill shows; only what answered is marked; and a server that is left is no secret."""
        told = ended.told
        for key, thing in before.items():
            if key[0] == "image" and key[1] in self.ours and thing["status"] == "active":
                assert key in after, f"an image went: {thing}"
                assert after[key]["status"] == "active", after[key]
        for one in (*told["made"], *told["adopted"], *told["failed"], *told["late"]):
            image = after.get(("image", one["image_id"] or ""))
            if one["verified"]:
                assert image, one
                answered = [probe["ok"] for probe in one["verified"]["probes"]] == [True]
                marked = "b2i-verified" in image["tags"]
                marked_now = marked and "b2i-verified" not in before.get(("image", image["id"]), {}).get("tags", {})
                assert answered or not marked_now, f"marked, and its drill did not answer: {one}"
                assert (answered and marked) or not one["verified"]["ok"], f"not marked, and told as verified: {one}"
                assert one["verified"]["ok"] or one not in [*told["made"], *told["adopted"]], "a drill that failed is no success"
            if one in [*told["made"], *told["adopted"]]:
                assert image, one
                assert (image["status"], image["backup_id"]) == ("active", one["backup_id"]), image
        where = json.dumps([told["notes"], told["left_behind"], told["failed"], told["late"], told["error"]])
        for server in self.launched(after):
            assert _mark(server) in where, f"a server is left, and nobody is told where he looks: {server}"

    def others(self, before: Account, after: Account) -> None:
        """What belongs to others is as it was."""
        for key, thing in before.items():
            if key[1] in self.ours or key[1] in self.excused or thing.get("due"):
                continue
            assert key in after, f"removed, and it is not ours: {key} {thing}"
            assert _lasting(after[key]) == _lasting(thing), f"changed, and it is not ours: {key}"

    def contract(self, asked: list[Asked]) -> None:
        """No request that the contract forbids."""
        for one in asked:
            operation = operations().get(one.operation or "")
            assert operation, f"the contract has no {one.method} {one.path}"
            values = fit(operation.segments, tuple(one.path.strip("/").split("/")))
            assert values is not None
            problem = operation.check_path(values) or operation.check_headers(
                {name.lower(): said for name, said in one.headers.items()}
            )
            assert problem is None, f"{one.operation}: {problem}"
            for read in (operation.read_query(one.query), operation.read_body(one.content, one.headers.get("content-type", ""))):
                assert not isinstance(read, Problem), f"{one.operation}: {read}"

    def once(self, after: Account | None = None) -> None:
        """One backup, at most one image alive; one launch order, at most one server; and nothing asked for again in the dark."""
        after = self.account() if after is None else after
        images = Counter(
            thing["backup_id"]
            for (kind, ident), thing in after.items()
            if kind == "image" and ident in self.ours and thing["status"] not in DEAD
        )
        assert all(number == 1 for number in images.values()), f"several images of one backup: {images}"
        backups = Counter(
            thing["resource_id"]
            for (kind, ident), thing in after.items()
            if kind == "backup" and ident in self.ours and thing["status"] != "error"
        )
        assert all(number == 1 for number in backups.values()), f"several backups for one order: {backups}"
        servers: dict[str, list[dict[str, Any]]] = {}
        for server in self.launched(after):
            servers.setdefault(server["image_id"], []).append(server)
        for image, those in servers.items():
            told = [(one["id"], one["name"], one["tags"], one["status"]) for one in those]
            assert len(those) <= self.servers_ordered, f"several servers of one order and image {image}: {told}"
        for server, (_, *data) in self.disks_of.items():
            assert after["server", server]["volumes"][1:] == data, "a data disk went"
        changed = [one for one in self.region.things("ecs-job", status="SUCCESS") if one["job_type"] == "changeOs"]
        assert len(changed) <= 1, f"its system disk was replaced twice: {changed}"
        for name, settle in SETTLE.items():
            self._not_asked_in_the_dark(name, settle)

    def journal_lost(self) -> None:
        """Nobody can know from here on what was asked for and not answered. An image may be asked for again all the same: the
        cloud refuses a second one of a backup."""
        self.lost_before.add(len(self.region.asked))

    def _not_asked_in_the_dark(self, operation: str, settle: float) -> None:
        dark: dict[str, float] = {}
        for number, one in enumerate(self.region.asked):
            if number in self.lost_before and operation == "createWholeImage":
                dark.clear()
            if one.operation != operation or not one.writes:
                continue
            key = _key(one)
            if key in dark:
                assert one.at >= dark[key] + settle - self.turn, (
                    f"{operation} again {one.at - dark[key]:.0f} s after an unclear answer"
                )
            dark.pop(key, None)
            if _unclear(one):
                dark[key] = one.over or one.at

    def launched(self, account: Account | None = None) -> list[dict[str, Any]]:
        """Servers of ours that live."""
        found = account if account is not None else self.account()
        return [
            thing
            for (kind, ident), thing in found.items()
            if kind == "server" and ident in self.ours and thing["status"] != "DELETED"
        ]

    def left_over(self) -> Account:
        """What our commands made and is still there."""
        return {key: thing for key, thing in self.account().items() if key[1] in self.ours}


@cache
def _commands() -> frozenset[str]:
    return frozenset(main.list_commands(click.Context(main)))


def _of_single_servers(told: dict[str, Any]) -> bool:
    """A night that came to its end: what went wrong is told server by server."""
    return told["error"] is None and bool(told.get("failed") or told.get("late"))


def _reasons(ended: Ended) -> list[dict[str, Any]]:
    """Everything that went wrong: each with its code, its words, and what to do."""
    told = ended.told
    if told["error"] is not None:
        return [ended.error]
    servers = [*told.get("failed", ()), *told.get("late", ())]
    return [{"code": one["code"], "message": one["reason"], **one} for one in servers]


def _says_itself_what_is_missing(told: dict[str, Any]) -> bool:
    """Partly done without an error: a probe that did not answer, servers that are fewer, what a teardown left."""
    return told["error"] is None


def _mark(server: Mapping[str, Any]) -> str:
    return server["tags"].get("b2i-launch") or server["tags"].get("b2i-drill") or ""


def _server_of(address: Mapping[str, Any], account: Account) -> str | None:
    ports = {nic["port_id"]: ident for (kind, ident), thing in account.items() if kind == "server" for nic in thing["nics"]}
    return ports.get(address["port_id"])


def _lasting(thing: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in thing.items() if key not in {"due", "updated_at"}}


def _said(one: Asked) -> list[tuple[str, str]]:
    """Every code of the cloud in an answer, with the words beside it."""
    try:
        return list(_pairs(json.loads(one.answer)))
    except ValueError:
        return []


def _pairs(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, list):
        for entry in node:
            yield from _pairs(entry)
    elif isinstance(node, dict):
        texts = [
            str(node[name]) for name in ("code", "error_code", "message", "error_msg", "fail_reason", "title") if node.get(name)
        ]
        codes = [text for text in texts if CLOUD_CODE.fullmatch(text)]
        yield from ((code, text) for code in codes for text in texts if text != code)
        for value in node.values():
            yield from _pairs(value)


def _key(one: Asked) -> str:
    """What the request is to make: the backup, or the launch mark."""
    if one.operation == "createWholeImage":
        return str(one.body["backup_id"])
    if one.operation == "createCheckpoint":
        return str(one.body["checkpoint"]["parameters"]["resources"])
    if one.operation == "changeOs":
        return one.path
    return next(tag for tag in one.body["server"]["tags"] if tag.startswith("b2i-"))


def _unclear(one: Asked) -> bool:
    """Whether nobody can tell from the answer whether it took effect."""
    if one.status is None or one.over is None:
        return True
    if one.status >= 500:
        return not any(code in REFUSES_WITH_500 for code, _ in _said(one))
    if one.status >= 400:
        return False
    try:
        body = json.loads(one.answer)
    except ValueError:
        return True
    return not (body.get("job_id") or body.get("checkpoint", {}).get("id") or _said(one))
