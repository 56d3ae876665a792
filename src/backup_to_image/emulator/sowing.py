"""Turns a checked seed into the documents of things.py; what CBR and IMS hold is in sowing_history.

Ids are uuid5 of kind and names, so that they are the same in every run; times count back from the moment of sowing.
"""

from __future__ import annotations

import fnmatch
import hashlib
import ipaddress
import re
import uuid
from datetime import timedelta
from functools import lru_cache
from typing import Any

from .cloud import Cloud
from .guests import HEALTHY, PROFILES
from .seeding import Place, Seed, choose
from .store import timestamp
from .things import device_name
from .wire import Doc

__all__ = ["Sower", "span", "stable_hex", "stable_id", "volume_documents"]

_NAMESPACE = uuid.UUID("6b8f5c0e-3d1a-5b62-9a5e-0d4c8b2f7e11")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@lru_cache(maxsize=10_000)
def stable_id(kind: str, *names: str) -> str:
    """The id of a seeded thing: always the same for the same names."""
    return str(uuid.uuid5(_NAMESPACE, "/".join((kind, *names))))


def stable_hex(kind: str, *names: str) -> str:
    """The same as 32 hex digits, for projects, accounts and users."""
    return stable_id(kind, *names).replace("-", "")


def span(text: str) -> timedelta:
    """90m, 5h, 3d as a duration."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is no duration")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


class Sower:
    """Sows one seed into one empty region."""

    def __init__(self, cloud: Cloud, seed: Seed) -> None:
        self.cloud = cloud
        self.seed = seed
        self.region: str = seed.content.get("region", "eu-de")
        self.zones: list[str] = seed.content.get("zones", [f"{self.region}-01", f"{self.region}-02", f"{self.region}-03"])
        self.now = cloud.now()
        self.systems: dict[str, Doc] = {name: {"bit": "64", **system} for name, system in seed.content.get("systems", {}).items()}
        self.projects: dict[str, Doc] = {}
        self.users: dict[str, Doc] = {}
        self.servers: dict[str, dict[str, Doc]] = {}
        self.vaults: dict[str, dict[str, Doc]] = {}
        self.named: dict[str, dict[str, Doc]] = {}  # project -> "vpc/<name>", "subnet/<name>", ... -> document
        self.known: Doc = {"backups": {"available": []}}

    def sow(self) -> None:
        """Everything, in the order in which things refer to each other."""
        from .sowing_history import History  # noqa: PLC0415 - history builds on this module

        self._region()
        plots: list[tuple[Place, Doc]] = []
        for number, account in enumerate(self.seed.content["accounts"]):
            self._account(account, ("accounts", number))
            plots += [(("accounts", number, "projects", at), project) for at, project in enumerate(account["projects"])]
        for place, project in plots:
            self._networks(project, (*place, "networks"))
            self._servers(project, (*place, "servers"))
        history = History(self)
        for place, project in plots:
            history.vaults(project, (*place, "vaults"))
        for place, project in plots:
            history.single_backups(project, (*place, "backups"))
            history.replicas(project, (*place, "replicas"))
            history.images(project, (*place, "images"))
            history.older_images(project)
            self._private_images(project, (*place, "private_images"))
        self._front_page()

    def before(self, age: timedelta) -> str:
        """That long ago, as documents carry it."""
        return timestamp(self.now - age)

    def matching(self, project: str, patterns: list[str], place: Place) -> list[Doc]:
        """The project's servers whose names fit any of the patterns; a pattern that fits none is a mistake."""
        found: dict[str, Doc] = {}
        for at, pattern in enumerate(patterns):
            hits = {name: server for name, server in self.servers[project].items() if fnmatch.fnmatchcase(name, pattern)}
            if not hits:
                raise self.seed.mistake((*place, at), f"no server of {project} is named {pattern!r}")
            found.update(hits)
        return list(found.values())

    def _region(self) -> None:
        for zone in self.zones:
            self.cloud.new("availability-zone", {"id": zone, "available": True, "created_at": self.before(timedelta(days=2000))})
        for name, flavor in self.seed.content.get("flavors", {}).items():
            states = {zone: flavor.get("zones", {}).get(zone, "normal") for zone in self.zones}
            self.cloud.new(
                "flavor",
                {
                    "id": name,
                    "created_at": self.before(timedelta(days=2000)),
                    "vcpus": flavor["vcpus"],
                    "ram": flavor["ram_gb"] * 1024,
                    "az": states,
                    "architecture": "x86",
                    "extra": dict(flavor.get("extra", {})),
                },
            )
        for name, image in self.seed.content.get("public_images", {}).items():
            system = choose(self.seed, ("public_images", name, "os"), image["os"], self.systems, "system")
            made = self.before(timedelta(days=200))
            self.cloud.new("image", plain_image(name, image, system, made, owner=None))

    def _account(self, account: Doc, place: Place) -> None:
        old = self.before(timedelta(days=900))
        domain = self.cloud.new(
            "domain", {"id": stable_hex("domain", account["name"]), "name": account["name"], "created_at": old}
        )
        for at, project in enumerate(account["projects"]):
            if project["name"] in self.projects:
                raise self.seed.mistake(
                    (*place, "projects", at, "name"), f"project {project['name']!r} is there twice; names are unique in a seed"
                )
            doc = {
                "id": stable_hex("project", account["name"], project["name"]),
                "name": project["name"],
                "domain_id": domain["id"],
                "region": self.region,
                "description": project.get("description", ""),
                "created_at": old,
            }
            self.projects[project["name"]] = self.cloud.new("project", doc)
            limits = {
                "images": 50,
                "instances": 100,
                "cores": 400,
                "ram": 1_600_000,
                "volumes": 400,
                "gigabytes": 100_000,
                "eips": 20,
            }
            self.cloud.new("quota", {"id": doc["id"], "created_at": old, **limits, **project.get("quota", {})})
        for at, user in enumerate(account["users"]):
            own = {project["name"]: self.projects[project["name"]] for project in account["projects"]}
            chosen = [
                choose(self.seed, (*place, "users", at, "projects", position), name, own, "project of this account")
                for position, name in enumerate(user.get("projects", list(own)))
            ]
            secret = hashlib.sha256(f"sk/{account['name']}/{user['name']}".encode()).hexdigest()
            self.users[user["name"]] = self.cloud.new(
                "user",
                {
                    "id": stable_hex("user", account["name"], user["name"]),
                    "name": user["name"],
                    "domain_id": domain["id"],
                    "password": user["password"],
                    "ak": stable_hex("ak", account["name"], user["name"])[:20].upper(),
                    "sk": secret[:40],
                    "projects": [project["id"] for project in chosen],
                    "roles": [user.get("role", "te_admin")],
                    "created_at": old,
                },
            )

    def _networks(self, project: Doc, place: Place) -> None:
        name, owner = project["name"], self.projects[project["name"]]["id"]
        self.named[name] = {}
        old = self.before(timedelta(days=800))
        if project.get("networks"):
            default = {
                "id": stable_id("security-group", name, "default"),
                "project": owner,
                "name": "default",
                "description": "Default security group",
                "vpc_id": None,
                "isolated": False,
                "created_at": old,
            }
            self.named[name]["security-group/default"] = self.cloud.new("security-group", default)
        for network in project.get("networks", []):
            vpc = {
                "id": stable_id("vpc", name, network["vpc"]),
                "project": owner,
                "name": network["vpc"],
                "cidr": network["cidr"],
                "status": "OK",
                "created_at": old,
            }
            self.named[name][f"vpc/{vpc['name']}"] = self.cloud.new("vpc", vpc)
            for subnet_name, cidr in network["subnets"].items():
                gateway = str(next(ipaddress.ip_network(cidr).hosts()))
                subnet = {
                    "id": stable_id("subnet", name, subnet_name),
                    "project": owner,
                    "name": subnet_name,
                    "vpc_id": vpc["id"],
                    "cidr": cidr,
                    "gateway": gateway,
                    "az": self.zones[0],
                    "neutron_subnet_id": stable_id("neutron-subnet", name, subnet_name),
                    "created_at": old,
                }
                self.named[name][f"subnet/{subnet_name}"] = self.cloud.new("subnet", subnet)
            for group_name in network.get("security_groups", []):
                group = {
                    "id": stable_id("security-group", name, group_name),
                    "project": owner,
                    "name": group_name,
                    "description": "lets nothing out" if network.get("isolated") else "",
                    "vpc_id": vpc["id"],
                    "isolated": bool(network.get("isolated")),
                    "created_at": old,
                }
                self.named[name][f"security-group/{group_name}"] = self.cloud.new("security-group", group)
        for key in project.get("keypairs", []):
            user = next(user for user in self.users.values() if owner in user["projects"])
            digest = hashlib.md5(f"{name}/{key}".encode(), usedforsecurity=False).hexdigest()
            kept = {
                "id": f"{user['id']}/{key}",
                "user_id": user["id"],
                "project": owner,
                "name": key,
                "public_key": f"ssh-rsa AAAAB3NzaC1yc2E{digest} {key}",
                "fingerprint": ":".join(re.findall("..", digest)),
                "created_at": old,
            }
            self.named[name][f"keypair/{key}"] = self.cloud.new("keypair", kept)
        del place

    def _servers(self, project: Doc, place: Place) -> None:
        name = project["name"]
        self.servers[name] = {}
        flavors = self.seed.content.get("flavors", {})
        taken: dict[str, int] = {}
        for at, server in enumerate(project.get("servers", [])):
            here = (*place, at)
            if server["name"] in self.servers[name]:
                raise self.seed.mistake((*here, "name"), f"server {server['name']!r} is there twice")
            choose(self.seed, (*here, "flavor"), server["flavor"], flavors, "flavor")
            choose(self.seed, (*here, "profile"), server.get("profile", HEALTHY), PROFILES, "profile")
            network = choose(self.seed, (*here, "network"), f"subnet/{server['network']}", self.named[name], "subnet")
            groups = [
                choose(
                    self.seed, (*here, "security_groups", position), f"security-group/{group}", self.named[name], "security group"
                )["id"]
                for position, group in enumerate(server.get("security_groups", []))
            ]
            system_name = server.get("os", "ubuntu")
            system = None if system_name is None else choose(self.seed, (*here, "os"), system_name, self.systems, "system")
            zone = server.get("zone", self.zones[at % len(self.zones)])
            taken[network["id"]] = taken.get(network["id"], 9) + 1
            self.servers[name][server["name"]] = self._server(name, server, network, groups, system, zone, taken[network["id"]])

    def _server(self, project: str, given: Doc, network: Doc, groups: list[str], system: Doc | None, zone: str, host: int) -> Doc:
        owner = self.projects[project]["id"]
        identity = stable_id("server", project, given["name"])
        born = self.before(span(given.get("age", "400d")))
        volumes = [
            self.cloud.new("volume", {"project": owner, **volume})["id"]
            for volume in volume_documents(project, given["name"], given["disks"], zone, born)
        ]
        mac = hashlib.sha256(identity.encode()).hexdigest()
        address = str(ipaddress.ip_network(network["cidr"])[host])
        server: Doc = {
            "id": identity,
            "project": owner,
            "name": given["name"],
            "description": given.get("description", ""),
            "status": given.get("status", "ACTIVE"),
            "task_state": None,
            "flavor": given["flavor"],
            "az": zone,
            "image_id": "",
            "key_name": next((key.partition("/")[2] for key in self.named[project] if key.startswith("keypair/")), None),
            "vpc_id": network["vpc_id"],
            "nics": [
                {
                    "port_id": stable_id("port", project, given["name"]),
                    "mac": "fa:16:3e:" + ":".join(re.findall("..", mac[:6])),
                    "subnet_id": network["id"],
                    "ip": address,
                }
            ],
            "security_groups": groups,
            "volumes": volumes,
            "tags": dict(given.get("tags", {})),
            "metadata": {"EcmResStatus": "freeze" if given.get("frozen") else "normal"},
            "os": system,
            "bare_metal": bool(given.get("bare_metal")),
            "locked": bool(given.get("locked")),
            "launched_at": born,
            "updated_at": born,
            "profile": given.get("profile"),
            "listens": bool(given.get("listens")),
            "user_id": next(user["id"] for user in self.users.values() if owner in user["projects"]),
            "created_at": born,
        }
        return self.cloud.new("server", server)

    def _private_images(self, project: Doc, place: Place) -> None:
        owner = self.projects[project["name"]]["id"]
        for name, image in project.get("private_images", {}).items():
            system = choose(self.seed, (*place, name, "os"), image["os"], self.systems, "system")
            made = self.before(span(image.get("age", "90d")))
            self.cloud.new("image", plain_image(name, image, system, made, owner=owner))

    def _front_page(self) -> None:
        given: Doc = self.seed.content["account"]
        user = choose(self.seed, ("account", "user"), given["user"], self.users, "user")
        project = choose(self.seed, ("account", "project"), given["project"], self.projects, "project")
        recipient = choose(self.seed, ("account", "recipient", "user"), given["recipient"]["user"], self.users, "user")
        guest = choose(self.seed, ("account", "recipient", "project"), given["recipient"]["project"], self.projects, "project")
        vault = choose(
            self.seed, ("account", "recipient", "vault"), given["recipient"]["vault"], self.vaults[guest["name"]], "vault"
        )
        known: Doc = {**self.known}
        if "second_project" in given:
            known["second_project"] = choose(
                self.seed, ("account", "second_project"), given["second_project"], self.projects, "project"
            )["id"]
        if "vault" in given:
            known["vault"] = choose(self.seed, ("account", "vault"), given["vault"], self.vaults[project["name"]], "vault")["id"]
        for kind in ("vpc", "subnet", "security_group"):
            if kind in given:
                key = f"{kind.replace('_', '-')}/{given[kind]}"
                known[kind] = choose(self.seed, ("account", kind), key, self.named[project["name"]], kind)["id"]
        if "keypair" in given:
            choose(self.seed, ("account", "keypair"), f"keypair/{given['keypair']}", self.named[project["name"]], "key pair")
            known["keypair"] = given["keypair"]
        if "flavor" in given:
            choose(self.seed, ("account", "flavor"), given["flavor"], self.seed.content.get("flavors", {}), "flavor")
            known["flavor"] = given["flavor"]
        if "image_public" in given:
            choose(
                self.seed,
                ("account", "image_public"),
                given["image_public"],
                self.seed.content.get("public_images", {}),
                "public image",
            )
            known["image_public"] = stable_id("image", "public", given["image_public"])
        self.cloud.new(
            "account",
            {
                "id": "account",
                "user_id": user["id"],
                "project_id": project["id"],
                "recipient_id": recipient["id"],
                "recipient_project_id": guest["id"],
                "recipient_vault": vault["id"],
                "known": known,
            },
        )


def volume_documents(project: str, server: str, disks: list[Any], zone: str, born: str) -> list[Doc]:
    """The disks of a seeded server, the system disk first."""
    found: list[Doc] = []
    for position, disk in enumerate(disks):
        more: dict[str, Any] = {"size": disk} if isinstance(disk, int) else disk
        found.append(
            {
                "id": stable_id("volume", project, server, str(position)),
                "name": f"{server}-{'root' if position == 0 else f'data{position}'}",
                "size": more["size"],
                "type": more.get("type", "SAS"),
                "az": zone,
                "status": "in-use",
                "server_id": stable_id("server", project, server),
                "device": device_name(position),
                "bootable": position == 0,
                "encrypted": bool(more.get("encrypted")),
                "cmk_id": stable_id("cmk", project) if more.get("encrypted") else None,
                "multiattach": bool(more.get("shared")),
                "snapshot_id": None,
                "metadata": {},
                "image_id": None,
                "created_at": born,
            }
        )
    return found


def plain_image(name: str, given: Doc, system: Doc, made: str, *, owner: str | None) -> Doc:
    """A system disk image that has nothing to do with a backup: one's own, or (without owner) a gold image of the provider's."""
    return {
        "id": stable_id("image", owner or "public", name),
        "project": owner or stable_hex("project", "provider"),
        "name": name,
        "status": "active",
        "created_at": made,
        "updated_at": made,
        "active_at": made,
        "protected": owner is None,
        "tags": {},
        "backup_id": None,
        "whole": False,
        "public": owner is None,
        "min_disk": given["min_disk"],
        "min_ram": given.get("min_ram", 0),
        "max_ram": 0,
        "description": "",
        "size_bytes": 1_200_000_000,
        "os": system,
        "attributes": {"__support_fc_inject": "true"} if system.get("inject") is False else {},
        "cmk_id": None,
        "disks": [],
        "flavor": None,
    }
