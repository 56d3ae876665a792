"""A region with a project for each of several people who work at once, and what each has: a desk, backups, b2i as a process.

A project each, since whoever asks how many servers there are must not be disturbed by the others.
"""

import copy
import itertools
import json
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import yaml

from backup_to_image.emulator.sowing import stable_id
from tests.kills.child import Plan, Point, b2i
from tests.support.served import Served

SPEED = 120
"""At this speed an image takes a second, which is the shortest time that the cloud's own dates tell."""
LATE = 4.0
"""Seconds for which what has been made is on no list yet, so that nobody finds it who does not know that it was asked for."""
PATIENCE = 300.0
"""Seconds for a command that takes ten where the machine is idle: of whom has hung, not of whom is slow."""
USED = {"IMG.0029", "IMG.0134"}
KEPT = 8
"""Backups of every server that already have an image: they tell how long one takes."""
QUOTA = dict.fromkeys(("images", "instances", "volumes", "eips"), 1000) | {"cores": 9000, "ram": 9_000_000}
FRESH = "eu-de_night"
"""What the projects are called in which nobody has had a night yet."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.kills.child", "tests.kills.warm"])
_one_at_a_time = threading.Lock()
"""Starting and reaping processes is not for several threads at once."""


def seed(folder: Path, people: int, backups: int) -> str:
    """The company's seed file: so many projects with so many unused backups each, and one to share with."""
    projects: list[dict[str, Any]] = [
        {
            "name": f"eu-de_p{number}",
            "quota": QUOTA,
            "networks": [
                {"vpc": "net", "cidr": f"127.{50 + number}.0.0/16", "subnets": {"inside": f"127.{50 + number}.1.0/24"}}
                | {"security_groups": ["sg"]},
                {"vpc": "drills", "cidr": f"127.{150 + number}.0.0/16", "subnets": {"apart": f"127.{150 + number}.1.0/24"}}
                | {"security_groups": ["apart-sg"]},
            ],
            "vaults": [{"name": "vault", "size": 100_000, "servers": ["*"], "nightly": backups + KEPT}],
            "servers": [_server("shop")],
            "images": [{"servers": ["shop"], "days": list(range(backups + 1, backups + KEPT + 1))}],
        }
        for number in range(people)
    ]
    return _written(folder, projects)


def seed_of_nights(folder: Path, people: int, nights: int) -> str:
    """A project for each person, and so many more of them in which nobody has had a night yet.

    In each there are two servers with an older image of ours: web has a backup of today, db has to be backed up first.
    """
    names = [f"eu-de_p{number}" for number in range(people)] + [f"{FRESH}{number}" for number in range(nights)]
    projects: list[dict[str, Any]] = []
    for number, name in enumerate(names):
        near, far = (f"127.{50 + number // 100}.{2 * (number % 100) + which}.0/24" for which in (0, 1))
        older = [
            {"servers": [server], "days": [KEPT + 1], "tags": {"b2i-source": stable_id("server", name, server)}}
            for server in ("web", "db")
        ]
        projects.append(
            {
                "name": name,
                "quota": QUOTA,
                "networks": [
                    {"vpc": "net", "cidr": near, "subnets": {"inside": near}, "security_groups": ["sg"]},
                    {"vpc": "drills", "cidr": far, "subnets": {"apart": far}, "security_groups": ["apart-sg"]},
                ],
                "vaults": [{"name": "vault", "size": 100_000, "servers": ["*"]}],
                "servers": [_server("web"), _server("db")],
                "images": [{"servers": ["*"], "days": list(range(2, KEPT + 1))}, *older],
                "backups": [{"server": "web", "age": "2h"}],
            }
        )
    return _written(folder, projects)


def _server(name: str) -> dict[str, Any]:
    more = {"network": "inside", "security_groups": ["sg"], "os": "debian"}
    return {"name": name, "flavor": "s3.large.2", "disks": [40, 100]} | more


def _written(folder: Path, projects: list[dict[str, Any]]) -> str:
    friend = {"name": "eu-de_friend", "vaults": [{"name": "friends", "size": 1_000_000}]}
    told = {
        "account": {"user": "robot", "project": "eu-de_p0", "second_project": "eu-de_dr"}
        | {"recipient": {"user": "friend", "project": "eu-de_friend", "vault": "friends"}},
        "flavors": {"s3.large.2": {"vcpus": 2, "ram_gb": 4}},
        "systems": {"debian": {"type": "Linux", "platform": "Debian", "version": "Debian GNU/Linux 12 64bit"}},
        "accounts": [
            {
                "name": "OTC00000000001000000001",
                "users": [{"name": "robot", "password": "Kept-By-Nobody-1"}],
                "projects": [*projects, {"name": "eu-de_dr"}],
            },
            {
                "name": "OTC00000000001000000002",
                "users": [{"name": "friend", "password": "Kept-By-Nobody-2"}],
                "projects": [friend],
            },
        ],
    }
    place = folder / "company.yaml"
    place.write_text(yaml.safe_dump(told))
    return str(place)


Thing = tuple[str, str]
"""What kind of thing it is, and its id."""


@dataclass
class Seen:
    """One thing that a run did: where that was, and what the cloud said to it."""

    point: Point
    status: int | None
    code: str


@dataclass
class Run:
    """A run of b2i, going on or ended."""

    plan: Plan
    process: Any
    began: float = field(default_factory=time.monotonic)

    def end(self, within: float = PATIENCE) -> int:
        """Its exit code, negative where a signal ended it."""
        if not wait([self.process.sentinel], within):
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.join()
            raise AssertionError(f"not ended after {within} s: {' '.join(self.plan.words)}\n{self.err}")
        self.seconds = time.monotonic() - self.began
        with _one_at_a_time:
            self.process.join()
        assert "Traceback" not in self.err, self.err
        code: int = self.process.exitcode
        return code

    def send(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def await_standstill(self) -> None:
        """Come back once it has been stopped by SIGSTOP."""
        end = time.monotonic() + PATIENCE
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            assert time.monotonic() < end, "it never stood still"
            time.sleep(0.02)

    @property
    def out(self) -> str:
        place = self.plan.file("out")
        return place.read_text() if place.exists() else ""

    @property
    def err(self) -> str:
        place = self.plan.file("err")
        return place.read_text() if place.exists() else ""

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out) if self.out else {}
        return found

    @property
    def seen(self) -> list[Seen]:
        place = self.plan.file("seen")
        lines = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
        return [Seen(Point(*line[:3]), *line[3:]) for line in lines]

    def traced(self, operation: str) -> list[dict[str, Any]]:
        """The exchanges of that kind that it wrote down, with their bodies; rehearsals left out."""
        place = self.plan.file("trace")
        lines = [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []
        found = [one for one in lines if one["operation"] == operation]
        return [one for one in found if not (isinstance(one["request"], dict) and one["request"].get("dry_run") is True)]

    def told_truly(self, operation: str) -> bool:
        """Whether "adopted" is true: not if the cloud granted the request to this very run; "made" is, if it sent one at all."""
        asked = [one for one in self.seen if one.point[1:] == (operation, "effect")]
        sent = any(one.point[1:] == (operation, "before") for one in self.seen)
        granted = any(one.status in range(200, 300) for one in asked)
        adopted: object = self.told["adopted"]
        return (adopted is True and not granted) or (adopted is False and sent)


class Person:
    """Somebody with a project of his own, the backups in it, and a folder from which he works."""

    def __init__(self, served: Served, project: str, folder: Path, fresh: "queue.SimpleQueue[str] | None" = None) -> None:
        self.served, self.project, self.folder, self._fresh = served, project, folder, fresh
        account = served.account
        settings = {
            "projects": {"dr": account["second_project"], "friend": account["recipient"]["project_id"]},
            "journal": "journal",
            "settle": {"image": "8s", "server": "8s"},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "b2i.yaml").write_text(yaml.safe_dump(settings))
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "COLUMNS": "200",
            "OS_AUTH_URL": account["auth_url"],
            "OS_PROJECT_ID": project,
            "OS_REGION_NAME": account["region"],
        }
        self.sign(by_key=False)
        self._numbers = itertools.count(1)
        listed = self._get("cbr", "/v3/{project}/backups", resource_type="OS::Nova::Server", status="available")["backups"]
        self._spare = iter([one["id"] for one in listed if not one["extend_info"].get("os_images_data")])
        self._names = itertools.count(1)

    def backup(self) -> str:
        """A backup that nobody has used yet."""
        return next(self._spare)

    def elsewhere(self) -> "Person":
        """The same person in a project in which nobody has worked yet."""
        assert self._fresh is not None
        project = self._fresh.get_nowait()
        return Person(self.served, project, self.folder / project)

    def guest(self) -> "Person":
        """The friend of another account with whom he shares, at a desk of his own beside him."""
        guest, login = copy.copy(self), self.served.account["recipient"]
        guest.project, guest.folder = login["project_id"], self.folder / "guest"
        guest.folder.mkdir(exist_ok=True)
        (guest.folder / "b2i.yaml").write_text(yaml.safe_dump({"journal": "journal", "settle": {"image": "8s"}}))
        kept = ("PATH", "COLUMNS", "OS_AUTH_URL", "OS_REGION_NAME")
        guest.environ = {name: self.environ[name] for name in kept} | {
            "HOME": str(guest.folder),
            "OS_USERNAME": login["user"],
            "OS_PASSWORD": login["password"],
            "OS_USER_DOMAIN_NAME": login["domain_name"],
            "OS_PROJECT_ID": login["project_id"],
        }
        return guest

    def know_guest(self, name: str) -> None:
        """Have the friend's log-in in a file of his own, under this name."""
        login = self.served.account["recipient"]
        auth = {"auth_url": self.environ["OS_AUTH_URL"], "username": login["user"], "password": login["password"]}
        auth |= {"user_domain_name": login["domain_name"], "project_id": login["project_id"]}
        told = {"clouds": {name: {"auth": auth, "region_name": self.environ["OS_REGION_NAME"]}}}
        (self.folder / "clouds.yaml").write_text(yaml.safe_dump(told))

    def new_name(self) -> str:
        return f"server-{next(self._names)}"

    def launch_order(self, name: str, **more: Any) -> str:
        network = {"vpc": "net", "subnet": "inside", "security_groups": ["sg"]}
        told = {"name": name, "flavor": "s3.large.2", "network": network, "public_ip": {"bandwidth_mbit": 5}}
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(told | {"probes": [{"tcp": 2222}]} | more))
        return f"{name}.yaml"

    def drill_order(self, name: str) -> str:
        """The same where nobody is."""
        return self.launch_order(name, network={"vpc": "drills", "subnet": "apart", "security_groups": ["apart-sg"]})

    def policy(self, name: str, **retention: Any) -> str:
        """A policy for the server that he has; returns the file's name."""
        (self.folder / f"{name}.yaml").write_text(
            yaml.safe_dump({"name": name, "servers": {"names": ["shop"]}, "retention": retention})
        )
        return f"{name}.yaml"

    def night(self) -> str:
        """A policy for all servers that he has, with everything that a night can do; returns the file's name."""
        self.drill_order("drill")
        told = {
            "name": "nightly",
            "timezone": f"Etc/GMT{datetime.now(UTC).hour - 12:+d}",  # where it is noon: a night is not repeated on the next day
            "servers": {"names": ["*"]},
            "backup": {"make_one": "if_missing"},
            "share_with": ["dr"],
            "verify": {"sample": 1, "launch": "drill.yaml"},
            "retention": {"apply": True, "keep_newest": 1, "delete_backup": "always", "max_deletions": 100},
            "limits": {"images_at_once": 1, "deadline": "1h"},
        }
        (self.folder / "nightly.yaml").write_text(yaml.safe_dump(told))
        return "nightly.yaml"

    def runbook(self, name: str) -> str:
        """Two servers that are lost, one after the other with a question between them; returns the file's name."""
        images = [one["id"] for one in self.images()[:2]]
        lost = [
            {"source": f"{name}-{which}", "name": f"{name}-{which}", "image": image, "probes": [{"tcp": 2222}]}
            for which, image in zip(("db", "web"), images, strict=True)
        ]
        told = {
            "name": name,
            "defaults": {"flavor": "s3.large.2", "public_ip": {"bandwidth_mbit": 5}},
            "drill": {"network": {"vpc": "drills", "subnet": "apart", "security_groups": ["apart-sg"]}},
            "failover": {"network": {"vpc": "net", "subnet": "inside", "security_groups": ["sg"]}},
            "groups": [
                {"name": "database", "servers": lost[:1]},
                {"name": "web", "needs": ["database"], "before": [{"approve": "Is the data right?"}], "servers": lost[1:]},
            ],
        }
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(told))
        return f"{name}.yaml"

    def settle(self, **lengths: str) -> None:
        """How long he has b2i look before it asks again; without words as long as people have it."""
        told = yaml.safe_load((self.folder / "b2i.yaml").read_text())
        (self.folder / "b2i.yaml").write_text(yaml.safe_dump(told | {"settle": lengths}))

    def sign(self, *, by_key: bool) -> None:
        """With a key pair, or with user and password for a token."""
        account = self.served.account
        password = {"OS_USERNAME": account["user"], "OS_PASSWORD": account["password"]}
        password["OS_USER_DOMAIN_NAME"] = account["domain_name"]
        keys = {"OS_ACCESS_KEY": account["ak"], "OS_SECRET_KEY": account["sk"]}
        given, taken = (keys, password) if by_key else (password, keys)
        self.environ = {name: value for name, value in self.environ.items() if name not in taken} | given

    # -- b2i ------------------------------------------------------------------------------------------------------------

    def start(
        self,
        *words: str,
        end_at: Point | int | None = None,
        number: signal.Signals = signal.SIGKILL,
        speed: float = 1.0,
        quick_since: datetime | None = None,
    ) -> Run:
        log = self.folder / f"run-{next(self._numbers):03d}"
        plan = Plan(
            folder=self.folder,
            words=(*words, "--json", "-vv", "--trace", str(log.with_suffix(".trace"))),
            environ=self.environ,
            log=log,
            first_port=int(self.served.account["auth_url"].rpartition(":")[2].partition("/")[0]),
            end_at=end_at,
            by=number,
            speed=speed,
            quick_since=quick_since,
        )
        process = _FORKS.Process(target=b2i, args=(plan,), daemon=True)
        with _one_at_a_time:
            process.start()
        return Run(plan, process)

    def run(self, *words: str, **how: Any) -> tuple[int, Run]:
        run = self.start(*words, **how)
        return run.end(), run

    # -- his project, from outside ----------------------------------------------------------------------------------------

    def _get(self, service: str, path: str, **query: Any) -> Any:
        return self.served.ask("GET", service, path, project=self.project, params=query)

    def catch_up(self) -> None:
        """Let lists show all that there is. That nothing more comes can only be waited for."""
        time.sleep(LATE)

    def account(self) -> frozenset[Thing]:
        """All that the project has and that costs money."""
        disks = self._get("evs", "/v2/{project}/cloudvolumes/detail")["volumes"]
        listed = {"image": self.images(), "server": self.servers(), "disk": disks, "address": self._addresses()}
        return frozenset((kind, one["id"]) for kind, found in listed.items() for one in found)

    def belongings(self, server: dict[str, Any]) -> frozenset[Thing]:
        """A server, and what hangs on it."""
        ports = {one["OS-EXT-IPS:port_id"] for listed in server["addresses"].values() for one in listed}
        disks = {("disk", one["id"]) for one in server["os-extended-volumes:volumes_attached"]}
        addresses = {("address", one["id"]) for one in self._addresses() if one.get("port_id") in ports}
        return frozenset({("server", server["id"])} | disks | addresses)

    def _addresses(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("eip", "/v1/{project}/publicips")["publicips"]
        return found

    def images(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("ims", "/v2/cloudimages", __whole_image="true", owner=self.project)["images"]
        return found

    def backups(self) -> list[str]:
        return [one["id"] for one in self.backups_in_full()]

    def backups_in_full(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._get("cbr", "/v3/{project}/backups")["backups"]
        return found

    def servers(self) -> list[dict[str, Any]]:
        listed = self._get("ecs", "/v1/{project}/cloudservers/detail", limit=1000)["servers"]
        return [one for one in listed if one["status"] != "DELETED"]

    def remove(self, servers: Iterable[dict[str, Any]]) -> None:
        """He has no more use for these servers, nor for what hangs on them; comes back when they are gone."""
        going = {one["id"] for one in servers}
        body = {"servers": [{"id": one} for one in going], "delete_publicip": True, "delete_volume": True}
        self.served.ask("POST", "ecs", "/v1/{project}/cloudservers/delete", project=self.project, json=body)
        end = time.monotonic() + PATIENCE
        while going & {one["id"] for one in self.servers()}:
            assert time.monotonic() < end, "they never went"
            time.sleep(0.1)
        self.catch_up()

    def members(self, image: str) -> list[str]:
        return list(self.states(image))

    def states(self, image: str) -> dict[str, str]:
        """Project and state of everybody who has the image."""
        listed = self._get("ims", f"/v2/images/{image}/members")["members"]
        return {one["member_id"]: one["status"] for one in listed}

    def forget_proof(self, image: str) -> None:
        """As if it had never been verified."""
        self.served.ask("DELETE", "ims", f"/v2/{{project}}/images/{image}/tags/b2i-verified", project=self.project)

    def have(self, image: str, *projects: str) -> None:
        """These projects have the image, not answered yet, and no others."""
        path = f"/v2/images/{image}/members"
        for project in self.members(image):
            self.served.ask("DELETE", "ims", f"{path}/{project}", project=self.project)
        for project in projects:
            self.served.ask("POST", "ims", path, project=self.project, json={"member": project})


def people(served: Served, folder: Path) -> list[Person]:
    """Everybody who has a project in the region."""
    listed = sorted(served.get("iam", "/v3/auth/projects")["projects"], key=lambda project: project["name"])
    fresh = queue.SimpleQueue[str]()
    for one in listed:
        if one["name"].startswith(FRESH):
            fresh.put(one["id"])
    return [Person(served, one["id"], folder / one["name"], fresh) for one in listed if one["name"].startswith("eu-de_p")]


def unheard_of(runs: list[Run]) -> Counter[str]:
    """Answers that say that the request should never have been sent, over all these runs.

    That a backup is used already is no such answer: where lists stay late for too long, it is how the cloud says so.
    """
    wrong = {400, 405, 406, 409, 413, 415, 422}
    seen = [one for run in runs for one in run.seen if one.point.phase == "answer"]
    return Counter(f"{one.point.what}: {one.status} {one.code}" for one in seen if one.status in wrong and one.code not in USED)


def given_away(people: list[Person]) -> list[str]:
    """Where a password, a secret key, a token or an adminPass that went over the line stands in what runs left behind."""
    account = people[0].served.account
    folders = {place.parent for person in people for place in person.folder.rglob("*.secrets")}
    assert folders, "no secret was overheard"
    found: list[str] = []
    for folder in sorted(folders):
        known = {account["password"], account["sk"]}
        for place in folder.glob("*.secrets"):
            known |= set(place.read_text().split())
        left = [place for kind in ("*.out", "*.err", "*.trace", "journal/*", "journal/.*") for place in folder.glob(kind)]
        assert left
        found += [f"a secret stands in {place}" for place in left if _any_in(known, place.read_text())]
    return found


def _any_in(known: set[str], text: str) -> bool:
    return any(secret in text for secret in known)
