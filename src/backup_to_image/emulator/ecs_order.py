"""Reading a launch order: everything that createServers refuses, and what remains to be made (BEHAVIOUR.md 11 and 13).

The codes are those of ECS `api-ref/source/appendix/error_codes.rst`. `read_order` changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .cloud import Cloud
from .ecs_image import backup_behind, usable_image
from .things import quota
from .wire import Doc, Refusal

__all__ = [
    "SOLD",
    "Disk",
    "Order",
    "check_password",
    "flavor_state",
    "free_addresses",
    "key_pair",
    "read_order",
    "room_in",
    "used_addresses",
    "used_quota",
]

# Flavors in these states are sold (BEHAVIOUR.md 11).
SOLD = {"normal", "obt", "promotion"}
_SOLD_OUT = {"sellout", "obt_sellout"}

# Disk types of an availability zone that says nothing else. SATA is no longer sold (openapi, RootVolume).
_DISK_TYPES = {
    "SSD": "normal",
    "SAS": "normal",
    "GPSSD": "normal",
    "ESSD": "normal",
    "SATA": "sellout",
    "co-p1": "normal",
    "uh-l1": "normal",
}
_SPECIAL_TYPES = {"co-p1", "uh-l1"}  # exchange only with each other, and only with flavors made for them
_ANY_FLAVOR = {"SSD", "SAS", "SATA", "GPSSD", "ESSD", "GPSSD2"}

_USER_DATA_LIMIT = 32 * 1024
_SUFFIXED_NAME_LIMIT = 59
_TAG_LIMIT = 10
_RESERVED_ADDRESSES = 4  # the network's own, and the last three
_SMALL_SYSTEM_RAM = 4096  # what a 32-bit system can use, MB


@dataclass(slots=True)
class Disk:
    """A disk that the launch will make."""

    size: int
    type: str
    system: bool = False
    snapshot_id: str | None = None
    multiattach: bool = False
    encrypted: bool = False
    cmk_id: str | None = None
    image_id: str | None = None


@dataclass(slots=True)
class Order:
    """A launch order that has been found in order."""

    image: Doc
    backup: Doc | None
    flavor: Doc
    zone: str
    names: list[str]
    disks: list[Disk]
    nics: list[tuple[Doc, str | None]]  # subnet, fixed address
    groups: list[str]
    tags: dict[str, str]
    publicip: Doc | None
    asked: Doc


def read_order(cloud: Cloud, project: str, user: Doc, asked: Doc) -> Order:
    """The order with everything looked up, or the first refusal."""
    names = _names(asked)
    tags = _tags(cloud, asked)
    _login(cloud, user, asked)
    image = usable_image(cloud, asked["imageRef"], project)
    backup = backup_behind(cloud, image)
    flavor, zone = _place(cloud, asked)
    _image_fits_flavor(image, flavor)
    nics = _nics(cloud, project, asked)
    groups = _groups(cloud, project, asked)
    disks = _disks(cloud, asked, image, backup)
    for disk in disks:
        _type_is_sold(cloud, zone, flavor, disk.type)
    publicip = _publicip(cloud, project, asked, len(names))
    _quotas(cloud, project, flavor, disks, len(names))
    return Order(image, backup, flavor, zone, names, disks, nics, groups, tags, publicip, asked)


def _names(asked: Doc) -> list[str]:
    count = asked.get("count", 1)
    if count == 1:
        return [asked["name"]]
    if len(asked["name"]) > _SUFFIXED_NAME_LIMIT:
        raise Refusal(400, "Ecs.0914", f"with count > 1 the name has at most {_SUFFIXED_NAME_LIMIT} characters")
    if any("ip_address" in nic for nic in asked["nics"]):
        raise Refusal(400, "Ecs.0005", "a fixed ip_address cannot be given to several servers")
    if "id" in asked.get("publicip", {}):
        raise Refusal(400, "Ecs.0005", "one EIP cannot be bound to several servers")
    return [f"{asked['name']}-{number:04d}" for number in range(1, count + 1)]


def _tags(cloud: Cloud, asked: Doc) -> dict[str, str]:
    pairs = [tag.split(".", 1) for tag in asked.get("tags", [])]
    if cloud.switches["server_tags"] == "honoured":
        pairs += [[tag["key"], tag["value"]] for tag in asked.get("server_tags", [])]
    if len(pairs) > _TAG_LIMIT:
        raise Refusal(400, "Ecs.0905", "the number of tags exceeds the maximum")
    tags = {pair[0]: pair[1] for pair in pairs}
    if len(tags) < len(pairs):
        raise Refusal(400, "Ecs.0908", "the tag key cannot be duplicate")
    return tags


def _login(cloud: Cloud, user: Doc, asked: Doc) -> None:
    if "key_name" in asked:
        key_pair(cloud, user, asked["key_name"])
    elif "adminPass" in asked:
        check_password(asked["adminPass"])
    if "user_data" in asked:
        try:
            text = base64.b64decode(asked["user_data"], validate=True)
        except (binascii.Error, ValueError):
            raise Refusal(400, "Ecs.0005", "user_data is not base64") from None
        if len(text) > _USER_DATA_LIMIT:
            raise Refusal(400, "Ecs.0005", "user_data is longer than 32 KB")


def key_pair(cloud: Cloud, user: Doc, name: str) -> Doc:
    """The user's key pair, or Ecs.0314: key pairs belong to users, not to projects."""
    found = cloud.get("keypair", f"{user['id']}/{name}")
    if found is None:
        raise Refusal(400, "Ecs.0314", f"the key pair {name} does not exist")
    return found


def check_password(password: str) -> None:
    """8-26 characters, three of four kinds, neither a user name nor one reversed; else Ecs.0011."""
    kinds = sum(
        (
            any(letter.isupper() for letter in password),
            any(letter.islower() for letter in password),
            any(letter.isdigit() for letter in password),
            any(not letter.isalnum() for letter in password),
        )
    )
    plain = password.lower()
    if not 8 <= len(password) <= 26 or kinds < 3 or any(name in {plain, plain[::-1]} for name in ("root", "administrator")):
        raise Refusal(400, "Ecs.0011", "the password does not meet the complexity requirements")


def flavor_state(flavor: Doc, zone: str) -> str:
    """normal, sellout, ...; a zone that is not named takes the region-wide state."""
    return flavor["az"].get(zone, flavor.get("state", "normal"))


def _place(cloud: Cloud, asked: Doc) -> tuple[Doc, str]:
    """The flavor and the zone; without one the system chooses the first where the flavor is sold."""
    flavor = cloud.get("flavor", asked["flavorRef"])
    if flavor is None:
        raise Refusal(400, "Ecs.0029", f"the flavor {asked['flavorRef']} does not exist")
    zones = {zone["id"]: zone for zone in cloud.walk("availability-zone")}
    wanted = asked.get("availability_zone")
    if wanted is not None and (wanted not in zones or not zones[wanted]["available"]):
        raise Refusal(400, "Ecs.0005", f"availability_zone {wanted} is not there")
    candidates = [wanted] if wanted is not None else [zone for zone in zones if zones[zone]["available"]]
    states = {zone: flavor_state(flavor, zone) for zone in candidates}
    for zone, state in states.items():
        if state in SOLD:
            return flavor, zone
    if any(state in _SOLD_OUT for state in states.values()):
        raise Refusal(400, "Ecs.0319", f"insufficient resources for the flavor {flavor['id']}")
    raise Refusal(400, "Ecs.0029", f"the flavor {flavor['id']} does not exist or has been abandoned")


def _image_fits_flavor(image: Doc, flavor: Doc) -> None:
    ram = flavor["ram"]
    if ram < int(image.get("min_ram") or 0):
        raise Refusal(400, "Ecs.0007", f"the image needs {image['min_ram']} MB of memory")
    if 0 < int(image.get("max_ram") or 0) < ram:
        raise Refusal(400, "Ecs.0007", f"the image supports at most {image['max_ram']} MB of memory")
    system: Doc = image.get("os") or {}
    if str(system.get("bit")) == "32" and ram > _SMALL_SYSTEM_RAM:
        raise Refusal(400, "Ecs.0007", "a 32-bit system uses at most 4 GB of memory")
    attributes: Doc = image.get("attributes") or {}
    arm = str(attributes.get("__support_arm", "false")) == "true"
    if arm != (flavor.get("architecture", "x86") not in {"x86", "x86_64"}):
        raise Refusal(400, "Ecs.0007", "image and flavor are of different architectures")


def _nics(cloud: Cloud, project: str, asked: Doc) -> list[tuple[Doc, str | None]]:
    vpc = cloud.own("vpc", asked["vpcid"].lower(), project)
    if vpc is None:
        raise Refusal(400, "Ecs.0014", "the VPC does not exist")
    nics: list[tuple[Doc, str | None]] = []
    used = used_addresses(cloud)
    count = asked.get("count", 1)
    for position, nic in enumerate(asked["nics"]):
        subnet = cloud.own("subnet", nic["subnet_id"].lower(), project)
        if subnet is None:
            raise Refusal(400, "Ecs.0038", "the subnet does not exist")
        if subnet["vpc_id"] != vpc["id"]:
            if position == 0:
                raise Refusal(400, "Ecs.0064", "the VPC ID in the request is inconsistent with that of the primary NIC")
            raise Refusal(400, "Ecs.0014", "all subnets must belong to the same VPC")
        fixed = nic.get("ip_address")
        if fixed is not None:
            _fixed_address_is_free(subnet, fixed, used)
            used.add(fixed)
        elif room_in(subnet, used) < count:
            raise Refusal(400, "Ecs.0012", "the subnet does not contain enough IP addresses")
        nics.append((subnet, fixed))
    return nics


def used_addresses(cloud: Cloud) -> set[str]:
    """Private addresses that some server has; subnets do not overlap here."""
    return {nic["ip"] for server in cloud.walk("server") for nic in server["nics"]}


def free_addresses(subnet: Doc, used: set[str], turn: int = 0) -> Iterator[str]:
    """The subnet's addresses that a server can get, from the turn-th on and round; the gateway and the last three are taken."""
    network = ipaddress.ip_network(subnet["cidr"])
    hosts = network.num_addresses - _RESERVED_ADDRESSES
    for step in range(hosts):
        address = str(network[1 + (turn + step) % hosts])
        if address not in used and address != subnet["gateway"]:
            yield address


def room_in(subnet: Doc, used: set[str]) -> int:
    """How many more servers the subnet can take."""
    network = ipaddress.ip_network(subnet["cidr"])
    taken = {address for address in {*used, subnet["gateway"]} if ipaddress.ip_address(address) in network}
    return network.num_addresses - _RESERVED_ADDRESSES - len(taken)


def _fixed_address_is_free(subnet: Doc, address: str, used: set[str]) -> None:
    try:
        inside = ipaddress.ip_address(address) in ipaddress.ip_network(subnet["cidr"])
    except ValueError:
        raise Refusal(400, "Ecs.0005", f"{address} is no IPv4 address") from None
    if not inside:
        raise Refusal(400, "Ecs.0039", f"{address} does not belong to the subnet")
    if address in used or address not in free_addresses(subnet, used):
        raise Refusal(400, "Ecs.0010", f"the private IP address {address} is already being used")


def _groups(cloud: Cloud, project: str, asked: Doc) -> list[str]:
    """The groups that are named; without any, the project's group `default`, where it has one."""
    named = [group["id"].lower() for group in asked.get("security_groups", [])]
    for group in named:
        if cloud.own("security-group", group, project) is None:
            raise Refusal(400, "Ecs.0014", f"the security group {group} does not exist")
    if named:
        return list(dict.fromkeys(named))
    return [group["id"] for group in cloud.walk("security-group", project, name="default")][:1]


def _disks(cloud: Cloud, asked: Doc, image: Doc, backup: Doc | None) -> list[Disk]:
    """System disk first, then the data disks of the image (retuned where an entry picks one), then new empty ones."""
    originals = [] if backup is None else [disk for disk in backup["disks"] if not disk["system"]]
    system = next((disk for disk in backup["disks"] if disk["system"]), None) if backup is not None else None
    disks = [_system_disk(asked["root_volume"], image, system)]
    tuned: dict[str, Doc] = {}
    added: list[Disk] = []
    for entry in asked.get("data_volumes", []):
        _encryption(entry)
        wanted = entry.get("extendparam", {}).get("snapshotId")
        if wanted is None:
            added.append(_new_disk(cloud, entry))
            continue
        original = next((disk for disk in originals if wanted in {disk["snapshot_id"], disk["volume_id"]}), None)
        if original is None or "data_image_id" in entry:
            raise Refusal(400, "Ecs.0005", f"snapshotId {wanted} is no data disk of the full-ECS image")
        if original["volume_id"] in tuned:
            raise Refusal(400, "Ecs.0005", f"snapshotId {wanted} is there twice")
        if entry["size"] < original["size"]:
            raise Refusal(400, "Ecs.0005", f"the disk was {original['size']} GB; it cannot become smaller")
        _may_exchange(original["type"], entry["volumetype"])
        tuned[original["volume_id"]] = entry
    for original in originals:
        entry = tuned.get(original["volume_id"])
        disks.append(_restored(original, entry))
    disks += added
    if len(disks) - 1 > 59:
        raise Refusal(400, "Ecs.0042", "the number of data disks exceeds the maximum")
    return disks


def _system_disk(root: Doc, image: Doc, original: Doc | None) -> Disk:
    _encryption(root)
    least = int(image.get("min_disk") or 1)
    size = root.get("size") or least
    if size < least:
        raise Refusal(400, "Ecs.0005", f"the image needs a system disk of at least {least} GB")
    if original is not None:
        _may_exchange(original["type"], root["volumetype"])
    encrypted, cmk_id = _key(root)
    return Disk(size, root["volumetype"], system=True, encrypted=encrypted, cmk_id=cmk_id, image_id=image["id"])


def _restored(original: Doc, entry: Doc | None) -> Disk:
    disk = Disk(
        original["size"],
        original["type"],
        snapshot_id=original["snapshot_id"],
        multiattach=bool(original.get("multiattach")),
        encrypted=bool(original.get("encrypted")),
        cmk_id=original.get("cmk_id"),
    )
    if entry is not None:
        disk.size, disk.type = entry["size"], entry["volumetype"]
        disk.multiattach = bool(entry.get("multiattach", entry.get("shareable", disk.multiattach)))
        if "metadata" in entry:
            disk.encrypted, disk.cmk_id = _key(entry)
    return disk


def _new_disk(cloud: Cloud, entry: Doc) -> Disk:
    data_image = entry.get("data_image_id")
    if data_image is not None and cloud.get("image", data_image) is None:
        raise Refusal(400, "Ecs.0031", "the data disk image does not exist")
    encrypted, cmk_id = _key(entry)
    shared = bool(entry.get("multiattach", entry.get("shareable")))
    return Disk(entry["size"], entry["volumetype"], multiattach=shared, encrypted=encrypted, cmk_id=cmk_id, image_id=data_image)


def _encryption(entry: Doc) -> None:
    metadata: dict[str, Any] = entry.get("metadata", {})
    if metadata and (
        "__system__encrypted" not in metadata or ("__system__cmkid" in metadata) != (metadata["__system__encrypted"] == "1")
    ):
        raise Refusal(400, "Ecs.0912", "__system__encrypted and __system__cmkid go together")


def _key(entry: Doc) -> tuple[bool, str | None]:
    metadata: dict[str, Any] = entry.get("metadata", {})
    return metadata.get("__system__encrypted") == "1", metadata.get("__system__cmkid")


def _may_exchange(original: str, wanted: str) -> None:
    if (original in _SPECIAL_TYPES) != (wanted in _SPECIAL_TYPES):
        raise Refusal(400, "Ecs.0046", f"a disk of type {original} cannot become {wanted}")


def _type_is_sold(cloud: Cloud, zone: str, flavor: Doc, kind: str) -> None:
    types: dict[str, str] = (cloud.get("availability-zone", zone) or {}).get("disk_types") or _DISK_TYPES
    if kind not in types:
        raise Refusal(400, "Ecs.0043", f"the disk type {kind} does not exist in {zone}")
    if types[kind] in _SOLD_OUT:
        raise Refusal(400, "Ecs.0044", f"the disk type {kind} has been sold out in {zone}")
    if kind not in _ANY_FLAVOR and kind not in str(flavor["extra"].get("ecs:disk_types", "")).split(","):
        raise Refusal(400, "Ecs.0909", f"the flavor {flavor['id']} does not support the disk type {kind}")


def _publicip(cloud: Cloud, project: str, asked: Doc, count: int) -> Doc | None:
    """An address that exists, or what to make one of; None without either."""
    given: Doc | None = asked.get("publicip")
    if given is None:
        return None
    if "id" in given:
        found = cloud.own("publicip", given["id"].lower(), project)
        if found is None or found["port_id"] or found["status"] != "DOWN":
            raise Refusal(400, "Ecs.0005", "the EIP does not exist or is bound already")
        return found
    if "eip" not in given:
        raise Refusal(400, "Ecs.0005", "publicip names neither an id nor an eip")
    limit = quota(cloud, project)["eips"]
    if limit >= 0 and cloud.store.count("publicip", project) + count > limit:
        raise Refusal(400, "Ecs.0013", "insufficient EIP quota")
    return None


def _quotas(cloud: Cloud, project: str, flavor: Doc, disks: list[Disk], count: int) -> None:
    limits, used = quota(cloud, project), used_quota(cloud, project)
    more = {
        "instances": count,
        "cores": count * flavor["vcpus"],
        "ram": count * flavor["ram"],
        "volumes": count * len(disks),
        "gigabytes": count * sum(disk.size for disk in disks),
    }
    for what, amount in more.items():
        if 0 <= limits[what] < used[what] + amount:
            code = "Ecs.0021" if what in {"volumes", "gigabytes"} else "Ecs.0001"
            raise Refusal(400, code, f"insufficient quota: {what} {used[what]} of {limits[what]} used, {amount} more wanted")


def used_quota(cloud: Cloud, project: str) -> dict[str, int]:
    """What the project's servers and disks use; servers that are being made count from the order on."""
    used = {"instances": 0, "cores": 0, "ram": 0, "volumes": 0, "gigabytes": 0}
    for server in cloud.walk("server", project):
        flavor = cloud.get("flavor", server["flavor"]) or {"vcpus": 0, "ram": 0}
        used["instances"] += 1
        used["cores"] += flavor["vcpus"]
        used["ram"] += flavor["ram"]
    for volume in cloud.walk("volume", project):
        used["volumes"] += 1
        used["gigabytes"] += volume["size"]
    return used
