"""How a server looks: to the ECS query, to its console, to the probes."""

from __future__ import annotations

from .cloud import Cloud
from .guests import SHARED_HOST, profile_named
from .things import device_name
from .wire import Doc, Refusal

__all__ = ["console_log", "find", "host_name", "own_address", "publicip_of", "server_body", "visible"]

_VM_STATES = {"ACTIVE": "active", "SHUTOFF": "stopped", "BUILD": "building", "ERROR": "error"}
_POWER = {"ACTIVE": 1, "REBOOT": 1, "HARD_REBOOT": 1, "SHUTOFF": 4}


def visible(server: Doc) -> bool:
    """A server that is being made does not answer by its id at first, and after a failed creation never."""
    return not server.get("hidden")


def find(cloud: Cloud, server_id: str, project: str) -> Doc:
    """The project's server, or 404 Ecs.0114."""
    server = cloud.own("server", server_id, project)
    if server is None or not visible(server):
        raise Refusal(404, "Ecs.0114", "no such server")
    return server


def host_name(server: Doc) -> str:
    """The name that the system inside gives itself: underscores become hyphens."""
    return str(server["name"]).replace("_", "-").lower()


def publicip_of(cloud: Cloud, server: Doc) -> Doc | None:
    """The EIP bound to one of the server's NICs."""
    ports = {nic["port_id"] for nic in server["nics"]}
    return next((publicip for publicip in cloud.walk("publicip", server["project"]) if publicip["port_id"] in ports), None)


def own_address(cloud: Cloud, server: Doc, address: str) -> str:
    """The address under which a client finds the guest: its own, or the shared one of systems with a single loopback address."""
    return SHARED_HOST if server.get("listens") and cloud.guests.shared else address


def server_body(cloud: Cloud, server: Doc) -> Doc:
    """The server as getServer and listServersDetail show it."""
    flavor = cloud.get("flavor", server["flavor"]) or {"id": server["flavor"], "vcpus": 1, "ram": 1024}
    image = cloud.get("image", server["image_id"]) if server.get("image_id") else None
    status = server["status"]
    body: Doc = {
        "id": server["id"],
        "name": server["name"],
        "status": status,
        "tenant_id": server["project"],
        "user_id": server.get("user_id") or "",
        "created": _seconds(server["created_at"]),
        "updated": _seconds(server.get("updated_at") or server["created_at"]),
        "description": server.get("description") or "",
        "key_name": server.get("key_name"),
        "locked": bool(server.get("locked")),
        "progress": 0,
        "image": {"id": server.get("image_id") or ""},
        "flavor": {
            "id": flavor["id"],
            "name": flavor["id"],
            "vcpus": str(flavor["vcpus"]),
            "ram": str(flavor["ram"]),
            "disk": "0",
        },
        "addresses": {server["vpc_id"]: _addresses(cloud, server)},
        "metadata": _metadata(cloud, server, image),
        "security_groups": [
            {"id": group, "name": (cloud.get("security-group", group) or {"name": group})["name"]}
            for group in server["security_groups"]
        ],
        "os-extended-volumes:volumes_attached": _volumes(cloud, server),
        "OS-EXT-STS:vm_state": _VM_STATES.get(status, status.lower()),
        "OS-EXT-STS:task_state": server.get("task_state"),
        "OS-EXT-STS:power_state": _POWER.get(status, 0),
        "OS-EXT-AZ:availability_zone": server["az"],
        "OS-EXT-SRV-ATTR:hostname": host_name(server),
        "OS-EXT-SRV-ATTR:root_device_name": device_name(0),
        "OS-EXT-SRV-ATTR:reservation_id": server.get("reservation_id") or f"r-{server['id'][:8]}",
        "OS-SRV-USG:launched_at": (server.get("launched_at") or server["created_at"]).removesuffix("Z"),
        "OS-SRV-USG:terminated_at": None,
        "OS-DCF:diskConfig": "MANUAL",
        "accessIPv4": "",
        "accessIPv6": "",
        "config_drive": "",
        "host_status": "UP",
        "tags": [f"{key}={value}" for key, value in server["tags"].items()],
        "sys_tags": [],
    }
    if status == "ERROR":
        body["fault"] = {"code": 500, "message": server.get("fault") or "No valid host was found.", "created": body["updated"]}
    return body


def _addresses(cloud: Cloud, server: Doc) -> list[Doc]:
    found: list[Doc] = []
    publicip = publicip_of(cloud, server)
    for nic in server["nics"]:
        common: Doc = {"version": "4", "OS-EXT-IPS-MAC:mac_addr": nic["mac"], "OS-EXT-IPS:port_id": nic["port_id"]}
        found.append({"addr": own_address(cloud, server, nic["ip"]), "OS-EXT-IPS:type": "fixed", **common})
        if publicip is not None and publicip["port_id"] == nic["port_id"]:
            found.append({"addr": own_address(cloud, server, publicip["address"]), "OS-EXT-IPS:type": "floating", **common})
    return found


def _metadata(cloud: Cloud, server: Doc, image: Doc | None) -> Doc:
    system: Doc = server.get("os") or {}
    metadata: Doc = {
        **(server.get("metadata") or {}),
        "metering.image_id": server.get("image_id") or "",
        "metering.imagetype": "gold" if image is not None and image.get("public") else "private",
        "vpc_id": server["vpc_id"],
        "os_type": system.get("type", "Linux"),
        "os_bit": str(system.get("bit", "64")),
        "charging_mode": "0",
    }
    if image is not None:
        metadata["image_name"] = image["name"]
    if server.get("listens") and cloud.guests.shared:
        metadata["emulator.ports"] = ",".join(f"{port}={real}" for port, real in sorted(cloud.guests.ports(server["id"]).items()))
    return metadata


def _volumes(cloud: Cloud, server: Doc) -> list[Doc]:
    attached: list[Doc] = []
    for position, volume_id in enumerate(server["volumes"]):
        volume = cloud.get("volume", volume_id) or {}
        device = volume.get("device") or device_name(position)
        attached.append(
            {
                "id": volume_id,
                "delete_on_termination": "true" if position == 0 else "false",
                "bootIndex": str(position),
                "device": device,
            }
        )
    return attached


def _seconds(stamp: str) -> str:
    return stamp[:19] + "Z"


_EARLY = (
    "[    0.000000] Linux version 5.14.0-503.el9.x86_64 (gcc 11.5.0) #1 SMP PREEMPT_DYNAMIC",
    "[    0.000000] Command line: BOOT_IMAGE=(hd0,msdos1)/vmlinuz root=UUID={root} ro console=tty0 console=ttyS0,115200n8",
    "[    0.812345] virtio_blk virtio2: [vda] {sectors} 512-byte logical blocks",
    "[    1.204417] EXT4-fs (vda1): mounted filesystem with ordered data mode",
    "[    1.934520] systemd[1]: Hostname set to <{host}>.",
)
_UP = (
    "[  OK  ] Started Initial cloud-init job (pre-networking).",
    "ci-info: | eth0 | True | {address} | 255.255.255.0 | global | {mac} |",
    "[  OK  ] Reached target Network is Online.",
    "[  OK  ] Started OpenSSH server daemon.",
    "[  OK  ] Reached target Multi-User System.",
    "",
    "{host} login: ",
)
_STUCK = (
    "[ TIME ] Timed out waiting for device /dev/disk/by-uuid/{root}.",
    "[DEPEND] Dependency failed for /data.",
    'You are in emergency mode. After logging in, type "journalctl -xb" to view',
    'system logs, "systemctl reboot" to reboot, or "exit" to continue bootup.',
    "Give root password for maintenance",
    "(or press Control-D to continue): ",
)
_DOWN = ("[  OK  ] Stopped OpenSSH server daemon.", "[  OK  ] Reached target System Power Off.", "reboot: Power down", "")


def console_log(cloud: Cloud, server: Doc, rows: int) -> str:
    """What the serial console shows: the boot as far as it has come, ending in the log-in prompt of a system that is up.

    `rows` are counted from the end; -1 means all.
    """
    if server["status"] in {"BUILD", "REBUILD"}:
        return ""
    boots = profile_named(server.get("profile")).boots
    lines: list[str] = list(_EARLY)
    if not boots:
        lines += () if server.get("booting") else _STUCK
    elif not server.get("booting"):
        lines += _UP
        if server["status"] == "SHUTOFF":
            lines += _DOWN
    root = cloud.get("volume", server["volumes"][0]) if server["volumes"] else None
    nic: Doc = server["nics"][0] if server["nics"] else {"ip": "-", "mac": "-"}
    facts = {
        "root": (root or server)["id"],
        "sectors": str((root or {"size": 40})["size"] * 2**21),
        "host": host_name(server),
        "address": nic["ip"],
        "mac": nic["mac"],
    }
    text = [line.format_map(facts) for line in lines]
    return "\n".join(text if rows < 0 else text[-rows:] if rows else [])
