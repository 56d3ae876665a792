"""Names and marks: what our things are called, and how we know them again."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from string import Formatter
from typing import Literal

from backup_to_image.errors import UsageError
from backup_to_image.model import Backup, Image

__all__ = [
    "DEFAULT_IMAGE_NAME",
    "DOUBTFUL_TAG",
    "DRILL_TAG",
    "FLAVOR_TAG",
    "HOLD_TAG",
    "LAUNCH_TAG",
    "OUR_TAGS",
    "POLICY_TAG",
    "SOURCE_TAG",
    "VERIFIED_TAG",
    "backup_run_name",
    "decode_tag",
    "doubt_of_drill",
    "doubted_by_drill",
    "drill_name",
    "encode_tag",
    "image_name",
    "launch_id",
    "made_by_us",
    "why_doubtful",
]

SOURCE_TAG = "b2i-source"
POLICY_TAG = "b2i-policy"
FLAVOR_TAG = "b2i-flavor"
VERIFIED_TAG = "b2i-verified"
DOUBTFUL_TAG = "b2i-doubtful"
"""When the image was doubted; with the word in front where a drill did, so that the next drill can clear it."""
_BY_DRILL = "drill-"
HOLD_TAG = "b2i-hold"
LAUNCH_TAG = "b2i-launch"
DRILL_TAG = "b2i-drill"
OUR_TAGS = 5
"""How many of an image's ten tags are ours, so that five stay the user's."""

SERVER_NAME, SERVER_NAME_OF_MANY = 128, 59
"""How long a server's name may be; with a count the cloud adds a number."""
DEFAULT_IMAGE_NAME = "{server}-{backup_created:%Y%m%d}-{backup_short}"
_FIELDS = {"server", "backup_created", "backup_short", "backup_id", "backup_name"}
_OUR_RUN = re.compile(r"b2i-\d{8}-[0-9a-f]{12}(?![0-9a-f])")
"""What `backup_run_name` begins with; a cloud may put something behind it, to tell the backups of one run apart."""
_TAG_PLAIN = re.compile(r"[A-Za-z0-9-]")


def image_name(template: str | None, backup: Backup) -> str:
    """The image's name: deterministic for a backup, so that it is found again. Raises UsageError for a template with mistakes.

    A placeholder is one of ours by its plain name; only the date takes a format, so that no name can grow beyond measure.
    """
    template = DEFAULT_IMAGE_NAME if template is None else template
    try:
        fields = [(field, spec, conversion) for _, field, spec, conversion in Formatter().parse(template) if field is not None]
        unknown = sorted({field for field, _, _ in fields} - _FIELDS)
        if unknown:
            raise UsageError(f"name: unknown placeholder {', '.join(unknown)}; known are {', '.join(sorted(_FIELDS))}.")
        if any(conversion or (spec and (field != "backup_created" or "{" in spec)) for field, spec, conversion in fields):
            raise UsageError(f"name: in {template!r} only {{backup_created}} takes a format, such as {{backup_created:%Y%m%d}}.")
        created = backup.latest_at.astimezone(UTC) if backup.latest_at else ""
        name = template.format(
            server=_plain(backup.resource_name or backup.resource_id),
            backup_created=created,
            backup_short=backup.id[:8],
            backup_id=backup.id,
            backup_name=_plain(backup.name),
        )
    except (ValueError, IndexError) as error:
        raise UsageError(f"name: {template!r} is no usable template: {error}.") from None
    # A long server name gives way, not the backup's date and id that make the name unique.
    overflow = len(name) - 128
    if overflow > 0 and "{server}" in template:
        shorter = _plain(backup.resource_name or backup.resource_id)[:-overflow] or "server"
        name = image_name(template.replace("{server}", shorter), backup)
    return name


def launch_id(project_id: str, image_id: str, order_name: str, mode: Literal["drill", "failover"], generation: int = 0) -> str:
    """Twelve hex digits that name one launch of one order; the generation rises only by a proven teardown or on demand."""
    text = "\0".join((project_id, image_id, order_name, mode, str(generation)))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def backup_run_name(project_id: str, vault_id: str, server_ids: Iterable[str], began_at: datetime) -> str:
    """The name of one backup run of ours and of every backup in it; no other run has it."""
    text = "\0".join((project_id, vault_id, *sorted(server_ids), began_at.astimezone(UTC).isoformat()))
    return f"b2i-{began_at.astimezone(UTC):%Y%m%d}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def made_by_us(backup: Backup) -> bool:
    """Whether this project had the backup made: it carries the name of a run of ours, and no policy and no replication made it.

    Whether it lies in our own project is for the caller to see: a name travels with a backup that is shared.
    """
    ours = _OUR_RUN.match(backup.name) is not None
    return ours and backup.kind == "server" and not backup.automatic and not backup.replica


def drill_name(order_name: str, mark: str, count: int = 1) -> str:
    """What a drill's server is called: the order's name, cut off where it is too long, that it is a drill, and its launch id."""
    suffix = f"-drill-{mark}"
    return order_name[: (SERVER_NAME if count == 1 else SERVER_NAME_OF_MANY) - len(suffix)] + suffix


def encode_tag(text: str) -> str:
    """Any text as a tag value (letters, digits, `_`, `-`): `s3.large.2` becomes `s3_2e_large_2e_2`; too long ones are cut off."""
    return "".join(char if _TAG_PLAIN.match(char) else f"_{ord(char):x}_" for char in text)[:43]


def decode_tag(value: str) -> str:
    """What `encode_tag` was given."""
    return re.sub(r"_([0-9a-f]+)_", lambda match: chr(int(match[1], 16)), value)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-") or "server"


def doubt_of_drill(night: date) -> str:
    """What an image is tagged with whose drill was not answered in that night."""
    return f"{_BY_DRILL}{night:%Y%m%d}"


def doubted_by_drill(image: Image) -> bool:
    """Whether nothing but a drill makes the image doubtful."""
    return image.tags.get(DOUBTFUL_TAG, "").startswith(_BY_DRILL)


def why_doubtful(image: Image) -> str | None:
    """What an image's own mark says of why it is doubtful; None where it is not."""
    mark = image.tags.get(DOUBTFUL_TAG)
    if mark is None:
        return None
    if doubted_by_drill(image):
        return f"its drill of {mark.removeprefix(_BY_DRILL)} was not answered"
    return "marked so by an earlier run"
