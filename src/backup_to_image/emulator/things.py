"""The documents of the region, kind by kind. `created_at` and other moments are texts of `store.timestamp`; sizes are GB.

domain            id, name
project           id, name, domain_id, region, description
user              id, name, domain_id, password, ak, sk, projects [ids], roles ["te_admin"] or ["readonly"]
quota             id = project id, images, instances, cores, ram (MB), volumes, gigabytes, eips (limits, -1: none)
account           id = "account": what `GET /_emulator/account` tells
vpc               id, project, name, cidr, status "OK"
subnet            id (network id, what `nics[].subnet_id` means), project, name, vpc_id, cidr, gateway, az, neutron_subnet_id
security-group    id, project, name, description, vpc_id, isolated (drill networks: true)
keypair           id = "<user id>/<name>", user_id, project, name, public_key, fingerprint
flavor            id = name (s3.large.2), vcpus, ram (MB), az {"eu-de-01": "normal" | "sellout" | ...}, architecture, extra (extra
                  specs)
availability-zone id = name, project None, available
server            id, project, name, description, status ACTIVE|SHUTOFF|ERROR|..., task_state, flavor (flavor id), az, image_id,
                  key_name, vpc_id, nics [{port_id, mac, subnet_id, ip}], security_groups [ids], volumes [volume ids, system disk
                  first], tags {key: value}, metadata {}, os, locked, launched_at, profile (what runs inside; see guests.py),
                  listens, ports, user_id, hidden and booting (while it is made), reservation_id
volume            id, project, name, size, type, az, status in-use|available|..., server_id, device, bootable, encrypted, cmk_id,
                  multiattach, snapshot_id, metadata {}, image_id
publicip          id, project, address, status, port_id, bandwidth {...}
vault             id, project, name, object_type, protect_type, status, size, extra_used_mb (others' copies), locked, resources
                  [server or volume ids], auto_bind, tags {}, user_id
checkpoint        id, project, vault_id, status, resources [...], skipped [...], name, description
backup            id, project, name, description, status, updated_at, expired_at, resource_type, resource_id, resource_name, size,
                  az, image_type, checkpoint_id, vault_id, auto, incremental, restore_mode, contain_system_disk, bms, os, flavor,
                  stored_mb, disks [{id (of the child backup), name, volume_id, snapshot_id, size, type, device, system,
                  encrypted, multiattach}]; a disk backup has one entry in disks. `due` while it is made, restored or deleted.
                  A replica: created_at is of the copying; taken_at, source_project, profile (of the server in the other region)
backup-member     id, backup_id, project = owner, dest_project, status, vault_id, updated_at, image_id
operation-log     id, project, operation_type, status, ...
image             id, project (the owner), name, status, updated_at, active_at, protected, tags {key: value or None}, backup_id,
                  whole, public, min_disk, min_ram, max_ram, description, size_bytes, os, attributes {further wire attributes},
                  cmk_id, disks, flavor; `due` while it is made or deleted. os: {type, platform, version, bit} or None where the
                  server has no OS metadata
image-member      id = "<image id>/<project>", image_id, project = the recipient, status, vault_id, stored_mb, updated_at
ims-job, ecs-job, evs-job   see jobs.py
event             something that happens to another document later: do, target
token             id = sha256 of the token, user_id, project_id, domain_id, expires_at

Helpers that several services need stand below.
"""

from __future__ import annotations

from .cloud import Cloud
from .wire import Doc

__all__ = ["ALPHABETICAL_DEVICES", "backup_of_child", "device_name", "quota", "set_server_status"]

ALPHABETICAL_DEVICES = "abcdefghijklmnopqrstuvwxyz"


def device_name(position: int) -> str:
    """/dev/vda for the first disk of a server, and so on."""
    return f"/dev/vd{ALPHABETICAL_DEVICES[position]}"


def quota(cloud: Cloud, project: str) -> Doc:
    """The project's limits."""
    return cloud.get("quota", project) or {
        "id": project,
        "images": 50,
        "instances": 100,
        "cores": 400,
        "ram": 1_600_000,
        "volumes": 400,
        "gigabytes": 100_000,
        "eips": 20,
    }


def backup_of_child(cloud: Cloud, child_id: str) -> tuple[Doc, Doc] | None:
    """The server backup that holds the child backup with that id, and the child's entry."""
    for backup in cloud.walk("backup"):
        for disk in backup["disks"]:
            if disk["id"] == child_id and backup["id"] != child_id:
                return backup, disk
    return None


def set_server_status(cloud: Cloud, server: Doc, status: str) -> None:
    """A server changes its state (started, stopped) at this moment."""
    server["status"] = status
    server["task_state"] = None
    server["updated_at"] = cloud.stamp()
    cloud.save("server", server)
