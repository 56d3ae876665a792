"""What a seeded company has in CBR and IMS: vaults with their nightly backups, single backups good and bad, older images."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from .guests import HEALTHY, PROFILES
from .making import NewId, backup_document, image_document, image_seconds
from .seeding import Place, choose
from .sowing import Sower, span, stable_hex, stable_id, volume_documents
from .store import moment, timestamp
from .wire import Doc

__all__ = ["History"]


def _ids(kind: str, *names: str) -> NewId:
    def new_id(role: str) -> str:
        return stable_id(kind, *names, role)

    return new_id


class History:
    """The past of the company, as far as the cloud remembers it."""

    def __init__(self, sower: Sower) -> None:
        self.sower = sower
        self.cloud = sower.cloud
        self.seed = sower.seed

    def vaults(self, project: Doc, place: Place) -> None:
        """The vaults, each with the nightly backups of its servers."""
        name, owner = project["name"], self.sower.projects[project["name"]]["id"]
        self.sower.vaults[name] = {}
        for at, vault in enumerate(project.get("vaults", [])):
            servers = self.sower.matching(name, vault.get("servers", []), (*place, at, "servers"))
            doc: Doc = {
                "id": stable_id("vault", name, vault["name"]),
                "project": owner,
                "name": vault["name"],
                "object_type": vault.get("object_type", "server"),
                "protect_type": vault.get("protect_type", "backup"),
                "status": vault.get("status", "available"),
                "size": vault["size"],
                "extra_used_mb": vault["size"] * 1024 if vault.get("full") else 0,
                "locked": bool(vault.get("locked")),
                "resources": [server["id"] for server in servers],
                "auto_bind": False,
                "tags": {},
                "user_id": self._user(owner),
                "created_at": self.sower.before(timedelta(days=700)),
            }
            self.sower.vaults[name][vault["name"]] = self.cloud.new("vault", doc)
            hour, minute = (int(part) for part in vault.get("at", "01:00").split(":"))
            for night in range(vault.get("nightly", 0)):
                for position, server in enumerate(servers):
                    self._nightly(server, doc, night, self._night(night, hour, minute) + timedelta(seconds=17 * position))

    def single_backups(self, project: Doc, place: Place) -> None:
        """The backups that a seed lists one by one."""
        name = project["name"]
        for at, given in enumerate(project.get("backups", [])):
            here = (*place, at)
            server = choose(self.seed, (*here, "server"), given["server"], self.sower.servers[name], "server")
            vaults = self.sower.vaults[name]
            if not vaults:
                raise self.seed.mistake(here, f"project {name} has no vault to keep a backup in")
            vault = choose(self.seed, (*here, "vault"), given.get("vault", next(iter(vaults))), vaults, "vault")
            backup = self._single(name, server, vault, given, here)
            if given.get("as") == "available":
                self.sower.known["backups"]["available"].append(backup["id"])
            elif "as" in given:
                self.sower.known["backups"][given["as"]] = backup["id"]
            for guest_name, status in given.get("shared_with", {}).items():
                guest = choose(self.seed, (*here, "shared_with", guest_name), guest_name, self.sower.projects, "project")
                self._share(backup, guest, status, here)

    def replicas(self, project: Doc, place: Place) -> None:
        """Backups of servers of another region, as CBR has copied them here."""
        name = project["name"]
        for at, given in enumerate(project.get("replicas", [])):
            vault = choose(self.seed, (*place, at, "vault"), given["vault"], self.sower.vaults[name], "vault")
            if vault["protect_type"] != "replication":
                raise self.seed.mistake((*place, at, "vault"), f"vault {given['vault']} is not for replicas")
            system = given.get("os", "ubuntu")
            if system is not None:
                system = choose(self.seed, (*place, at, "os"), system, self.sower.systems, "system")
            choose(self.seed, (*place, at, "profile"), given.get("profile", HEALTHY), PROFILES, "profile")
            for night in range(given.get("nightly", 1)):
                replica = self._replica(name, given, vault, system, night)
                if night == 0:
                    self.sower.known["backups"]["available"].append(replica["id"])

    def _replica(self, project: str, given: Doc, vault: Doc, system: Doc | None, night: int) -> Doc:
        """A copy, made later than its backup, of a server that this region has never had."""
        hour, minute = (int(part) for part in given.get("at", "01:00").split(":"))
        copied_after = span(given.get("copied_after", "3h"))
        made = self._night(night, hour, minute, copied_after=copied_after)
        owner = self.sower.projects[project]
        account = (self.cloud.get("domain", owner["domain_id"]) or {})["name"]
        zone = given.get("zone", f"{given['of'].partition('_')[0]}-01")
        source: Doc = {
            "id": stable_id("server", given["of"], given["server"]),
            "project": owner["id"],
            "name": given["server"],
            "az": zone,
            "os": system,
            "flavor": given["flavor"],
        }
        disks = volume_documents(given["of"], given["server"], given["disks"], zone, timestamp(made))
        names = ("replica", project, given["server"], str(night))
        backup = self._backup(source, vault, made + copied_after, names, automatic=True, volumes=disks)
        backup |= {
            "image_type": "replication",
            "taken_at": timestamp(made),
            "source_project": stable_hex("project", account, given["of"]),
            "profile": given.get("profile"),
        }
        return self._keep(backup, vault)

    def images(self, project: Doc, place: Place) -> None:
        """Older images, each of the nightly backup of its server made so many nights ago."""
        name = project["name"]
        for at, given in enumerate(project.get("images", [])):
            here = (*place, at)
            guests = [
                choose(self.seed, (*here, "members", position), guest, self.sower.projects, "project")
                for position, guest in enumerate(given.get("members", []))
            ]
            for server in self.sower.matching(name, given["servers"], (*here, "servers")):
                for night in given["days"]:
                    backup = self._backup_of_night(name, server, night, here)
                    image = self._image(
                        backup, f"{server['name']}-{backup['created_at'][:10].replace('-', '')}-{backup['id'][:8]}", "active"
                    )
                    image["tags"], image["protected"] = dict(given.get("tags", {})), bool(given.get("protected"))
                    for guest in guests:
                        self._member(image, guest)

    def older_images(self, project: Doc) -> None:
        """Many images of backups that are long gone."""
        owner = self.sower.projects[project["name"]]["id"]
        servers = list(self.sower.servers[project["name"]].values())
        for number in range(project.get("older_images", 0)):
            server = servers[number % len(servers)]
            made = self.sower.now - timedelta(days=40, hours=number)
            vault = next(iter(self.sower.vaults[project["name"]].values()))
            backup = self._backup(server, vault, made, ("older", project["name"], str(number)), automatic=True)
            self._image(backup, f"{server['name']}-{made:%Y%m%d}-{backup['id'][:8]}", "active", owner=owner)

    def _user(self, owner: str) -> str:
        return next(user["id"] for user in self.sower.users.values() if owner in user["projects"])

    def _night(self, nights_ago: int, hour: int, minute: int, *, copied_after: timedelta = timedelta(0)) -> Any:
        latest = self.sower.now.replace(hour=hour, minute=minute, second=0, microsecond=65_000)
        while latest + copied_after > self.sower.now - timedelta(minutes=30):
            latest -= timedelta(days=1)
        return latest - timedelta(days=nights_ago)

    def _backup(
        self, server: Doc, vault: Doc, made: Any, names: tuple[str, ...], *, automatic: bool, volumes: list[Doc] | None = None
    ) -> Doc:
        disks = volumes if volumes is not None else [self.cloud.get("volume", identity) or {} for identity in server["volumes"]]
        new_id = _ids("backup", *names)
        prefix = "autobk" if automatic else "manualbk"
        return backup_document(
            server,
            disks,
            vault,
            name=f"{prefix}_{new_id('name')[:4]}",
            created_at=timestamp(made),
            checkpoint_id=new_id("checkpoint"),
            automatic=automatic,
            new_id=new_id,
        )

    def _keep(self, backup: Doc, vault: Doc) -> Doc:
        self.cloud.new(
            "checkpoint",
            {
                "id": backup["checkpoint_id"],
                "project": backup["project"],
                "vault_id": vault["id"],
                "status": "available",
                "resources": [
                    {
                        "id": backup["resource_id"],
                        "name": backup["resource_name"],
                        "type": backup["resource_type"],
                        "size": backup["size"],
                    }
                ],
                "skipped": [],
                "name": backup["name"],
                "description": "",
                "created_at": backup["created_at"],
            },
        )
        return self.cloud.new("backup", backup)

    def _nightly(self, server: Doc, vault: Doc, night: int, made: Any) -> None:
        backup = self._backup(server, vault, made, (vault["id"], server["name"], str(night)), automatic=True)
        backup["expired_at"] = timestamp(made + timedelta(days=30))
        self._keep(backup, vault)

    def _single(self, project: str, server: Doc, vault: Doc, given: Doc, place: Place) -> Doc:
        volumes: list[Doc] = [self.cloud.get("volume", identity) or {} for identity in server["volumes"]]
        if given.get("without_system_disk"):
            volumes = volumes[1:]
            if not volumes:
                raise self.seed.mistake((*place, "without_system_disk"), f"server {server['name']} has a system disk only")
        made = self.sower.now - span(given.get("age", "6h"))
        names = (project, server["name"], str(place[-1]))
        backup = self._backup(server, vault, made, names, automatic=bool(given.get("automatic")), volumes=volumes)
        backup["name"] = given.get("name", backup["name"])
        backup["status"] = given.get("status", "available")
        if backup["status"] in {"protecting", "restoring"}:
            backup["due"] = timestamp(self.sower.now + timedelta(seconds=3600 / self.cloud.speed))
        backup["restore_mode"] = given.get("restore_mode", "backup")
        backup["image_type"] = given.get("image_type", "backup")
        if "disk" in given:
            if given["disk"] >= len(volumes):
                raise self.seed.mistake((*place, "disk"), f"server {server['name']} has {len(volumes)} disks, counted from 0")
            disk: Doc = backup["disks"][given["disk"]]
            volume = volumes[int(given["disk"])]
            backup.update(
                resource_type="OS::Cinder::Volume",
                resource_id=volume["id"],
                resource_name=volume["name"],
                size=volume["size"],
                disks=[disk],
            )
        self._keep(backup, vault)
        if "image" in given:
            self._image(backup, f"{server['name']}-{backup['id'][:8]}", given["image"])
        return backup

    def _backup_of_night(self, project: str, server: Doc, night: int, place: Place) -> Doc:
        """The nightly backup of that server; one older than the vault still holds is kept because it has an image."""
        for vault in self.sower.vaults[project].values():
            if server["id"] in vault["resources"]:
                identity = _ids("backup", vault["id"], server["name"], str(night))("backup")
                if (backup := self.cloud.get("backup", identity)) is None:
                    self._nightly(server, vault, night, self._night(night, 1, 0))
                    backup = self.cloud.get("backup", identity)
                if backup is not None:
                    return backup
        raise self.seed.mistake((*place, "servers"), f"no vault of {project} protects {server['name']}")

    def _image(self, backup: Doc, name: str, status: str, *, owner: str | None = None) -> Doc:
        made = moment(backup["created_at"]) + timedelta(hours=1)
        identity = stable_id("image", backup["id"])
        image = image_document(
            backup, project=owner or backup["project"], name=name, created_at=timestamp(made), identity=identity
        )
        image["status"] = status
        if status == "saving":
            image["due"] = timestamp(self.sower.now + timedelta(seconds=3600 / self.cloud.speed))
        else:
            # At the region's own speed, so that past and present images take the same time.
            image["updated_at"] = self.cloud.due(image_seconds(backup), made)
            image["size_bytes"] = int(backup["size"] * 2**30 * 0.3)
        if status == "active":
            image["active_at"] = image["updated_at"]
        return self.cloud.new("image", image)

    def _share(self, backup: Doc, guest: Doc, status: str, place: Place) -> None:
        vaults = self.sower.vaults.get(guest["name"], {})
        if status == "accepted" and not vaults:
            raise self.seed.mistake((*place, "shared_with"), f"project {guest['name']} has no vault to accept a backup into")
        self.cloud.new(
            "backup-member",
            {
                "id": stable_id("backup-member", backup["id"], guest["id"]),
                "project": backup["project"],
                "backup_id": backup["id"],
                "dest_project": guest["id"],
                "status": status,
                "vault_id": next(iter(vaults.values()))["id"] if status == "accepted" else None,
                "image_id": None,
                "created_at": backup["created_at"],
                "updated_at": backup["created_at"],
            },
        )

    def _member(self, image: Doc, guest: Doc) -> None:
        self.cloud.new(
            "image-member",
            {
                "id": f"{image['id']}/{guest['id']}",
                "project": guest["id"],
                "image_id": image["id"],
                "status": "pending",
                "vault_id": None,
                "stored_mb": 0,
                "created_at": image["updated_at"],
                "updated_at": image["updated_at"],
            },
        )
