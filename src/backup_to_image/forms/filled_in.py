"""A launch order that is filled in, where no file of it lies on the worker."""

from __future__ import annotations

from typing import Any, ClassVar

import yaml
from pydantic import ValidationError

from backup_to_image.errors import UsageError
from backup_to_image.forms.fields import Tag, field
from backup_to_image.forms.servers import LaunchingForm
from backup_to_image.model import LaunchOrder
from backup_to_image.model.orders import DiskType
from backup_to_image.settings import Settings
from backup_to_image.yamlfile import read_value

__all__ = ["FilledInForm"]

_FLAT = {"size_gb": "system_disk_gb"}
"""Keys of an order whose fields are called otherwise here."""


class FilledInForm(LaunchingForm):
    """A server from an image, described field by field: the keys of a launch order."""

    verb: ClassVar[str] = "launch-filled-in"
    deployment: ClassVar[str] = "launch-filled-in/a-server"

    name: str = field(
        1, "Server's name", "Letters, digits, '-', '_' or '.', at most 128 characters. The same name is the same order."
    )
    flavor: str = field(2, "Flavor", "Id of a flavor, or same-as-source.", "same-as-source")
    availability_zone: str = field(3, "Availability zone", "Such as eu-de-01. Empty: the cloud chooses.", "")
    vpc: str = field(4, "VPC", "Id, or name if only one has it.")
    subnet: str = field(5, "Subnet", "Id, or name if only one has it.")
    security_groups: list[str] = field(6, "Security groups", "Ids or names. Empty: the project's default group.", [])
    fixed_ip: str = field(7, "Fixed address", "An address of the subnet. Empty: the cloud chooses.", "")
    beside_source: bool = field(8, "Beside its source", "Let a drill into a subnet or security group of its source.", False)
    key_pair: str = field(9, "Key pair", "To log in with. Empty: the accounts inside the image hold.", "")
    system_disk_type: DiskType = field(10, "System disk, type", "As the zone has it.", "SSD")
    system_disk_gb: int = field(11, "System disk, GB", "0 to 1024; it never shrinks. 0: as in the image.", 0, ge=0, le=1024)
    data_disks: list[str] = field(
        12, "Data disks", "Only what should differ from the backup. Each: {source: /dev/vdb, type: SSD, size_gb: 200}.", []
    )
    public_ip_mbit: int = field(13, "Public address, Mbit/s", "0 to 1000. 0: no public address.", 0, ge=0, le=1000)
    tags: list[Tag] = field(14, "Tags", "Each as key=value, eight at most. Example: purpose=drill.", [])
    probes: list[str] = field(15, "Probes", "Asked afterwards. Example: tcp: 22, or http: {port: 8080, path: /health}.", [])
    count: int = field(16, "How many", "1 to 100 servers alike.", 1, ge=1, le=100)

    @property
    def spec(self) -> str:
        return "ORDER.yaml"

    def _reads(self) -> tuple[Any, ...]:
        return (*super()._reads(), self._filled_in)

    def order(self, settings: Settings) -> LaunchOrder:  # noqa: ARG002 - no file is read for it
        return self._filled_in()

    def _filled_in(self) -> LaunchOrder:
        problems: list[str] = []

        def each(title: str, written: list[str]) -> list[Any]:
            found: list[Any] = []
            for one in written:
                try:
                    found.append(read_value(one))
                except yaml.YAMLError:
                    problems.append(f"{title}: {one!r} is no YAML; write it as the example does.")
            return found

        tags = {key: value for key, _, value in (tag.partition("=") for tag in self.tags)}
        if len(tags) < len(self.tags):
            problems.append("Tags: a key is given twice.")
        network = {"vpc": self.vpc, "subnet": self.subnet, "security_groups": self.security_groups}
        told = {
            "name": self.name,
            "flavor": self.flavor,
            "availability_zone": self.availability_zone or None,
            "network": network | {"fixed_ip": self.fixed_ip or None, "beside_source": self.beside_source},
            "login": {"key_pair": self.key_pair or None},
            "system_disk": {"type": self.system_disk_type, "size_gb": self.system_disk_gb or None},
            "data_disks": each("Data disks", self.data_disks),
            "public_ip": {"bandwidth_mbit": self.public_ip_mbit} if self.public_ip_mbit else None,
            "tags": tags,
            "probes": each("Probes", self.probes),
            "count": self.count,
        }
        order: LaunchOrder | None = None
        try:
            order = LaunchOrder.model_validate(told)
        except ValidationError as error:
            problems += [_mistake(one["loc"], one["msg"]) for one in error.errors()]
        if order is None or problems:
            raise UsageError(problems)
        return order


def _mistake(where: tuple[int | str, ...], words: str) -> str:
    """By the field's own name: that of the key itself, or of the part of the order in which it stands."""
    keys = [_FLAT.get(str(part), str(part)) for part in where]
    fields = FilledInForm.model_fields
    name = next((key for key in (*keys[:1], *keys[-1:]) if key in fields), "")
    told = fields[name].title if name else ".".join(keys)
    inside = ".".join(map(str, where[1:])) if name and name == keys[0] else ""
    return ": ".join(filter(None, (told, inside, f"{words.removeprefix('Value error, ')}.")))
