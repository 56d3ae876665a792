"""The JSON Schemas of the files that people write, made from the models that read them: editors complete and check by them.

    python -m deployments.schemas             write them anew, here
    python -m deployments.schemas --check     only say which differ; exit 3 if one does

In a file, an editor is told by a first line such as `# yaml-language-server: $schema=deployments/schemas/launch-order.json`.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from backup_to_image.model import Duration, LaunchOrder
from backup_to_image.model.policy import Policy
from backup_to_image.model.runbook import Runbook
from backup_to_image.settings import Settings

__all__ = ["FILES", "main", "schema_of"]

FOLDER = Path(__file__).resolve().parent
FILES: dict[str, tuple[type[BaseModel], str]] = {
    "b2i": (Settings, "Settings of backup-to-image: b2i.yaml"),
    "launch-order": (LaunchOrder, "A launch order: servers from a full-ECS image"),
    "policy": (Policy, "A policy: which servers become images every night, and what becomes of the images"),
    "runbook": (Runbook, "A runbook: which servers come back in a disaster, in which order, and what people do in between"),
}
"""Each kind of file: its model, and what editors call it."""


class _AsPeopleWrite(GenerateJsonSchema):
    """Defaults are told as they would be written in the file: 2h, not PT2H."""

    def encode_default(self, dft: Any) -> Any:
        return TypeAdapter(Duration).dump_python(dft, mode="json") if isinstance(dft, timedelta) else super().encode_default(dft)


def schema_of(name: str) -> str:
    """The schema as it lies in its file."""
    model, title = FILES[name]
    told = model.model_json_schema(schema_generator=_AsPeopleWrite)
    told["properties"].pop("file", None)  # where settings were read is not written in them
    return json.dumps({"$schema": _AsPeopleWrite.schema_dialect} | told | {"title": title}, indent=2) + "\n"


@click.command("schemas", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Only say which differ; exit 3 if one does.")
def main(*, check: bool) -> None:
    """Write the schemas anew from the models. A second time changes nothing."""
    stale = [name for name in FILES if not _lies_there(name)]
    for name in stale:
        if not check:
            (FOLDER / f"{name}.json").write_text(schema_of(name), encoding="utf-8")
        click.echo(f"{name}.json {'differs' if check else 'written'}")
    sys.exit(3 if check and stale else 0)


def _lies_there(name: str) -> bool:
    path = FOLDER / f"{name}.json"
    return path.is_file() and path.read_text(encoding="utf-8") == schema_of(name)
