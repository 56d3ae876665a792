"""The deployments that the runbooks in the worker's directory ask for: whether each could be run, its drill, its failover."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backup_to_image.errors import UsageError
from backup_to_image.forms import DrillForm, RunbookCheckForm, files_in
from backup_to_image.settings import Settings
from backup_to_image.steps.runbook.file import RunbookFile, read_runbook
from deployments.from_files import FromFiles, block_of

__all__ = ["RUNBOOK_TAGS", "runbooks_of"]

RUNBOOK_TAGS = ("b2i-readiness", "b2i-drill", "b2i-failover")
"""Of deployments that are there because of a runbook's file."""


def runbooks_of(settings: Settings, templates: Mapping[str, Any]) -> FromFiles:
    """Read every runbook, and fill in what prefect.yaml has for them. One that is wrong keeps no other from being deployed."""
    found, names = FromFiles(), {RunbookCheckForm.deployment.rpartition("/")[2]: "the deployment for any of them"}
    folder = settings.directory("runbooks")
    for path in files_in(folder) if folder else ():
        try:
            file = read_runbook(path)
        except UsageError as error:
            found.refused[path.name] = "; ".join(error.problems)
            continue
        name = file.runbook.name
        if name in names:
            found.refused[path.name] = f"name: {name!r} is the name of {names[name]} already"
            continue
        names[name] = path.name
        for template, order in _wanted(file):
            declared = templates[template]
            found.declared.append(
                {
                    **declared,
                    "name": name,
                    "description": declared["description"].replace("{runbook}", name).replace("{file}", path.name),
                    "parameters": {"order": order},
                    "block": block_of(file.runbook.cloud),
                    "cloud": file.runbook.cloud,
                }
            )
    return found


def _wanted(file: RunbookFile) -> list[tuple[str, dict[str, Any]]]:
    """Which templates, with what in the form. A failover's name is left to whoever orders it."""
    name = file.path.name
    wanted = [("readiness", RunbookCheckForm(runbook=name).model_dump(mode="json"))]
    wanted += [("drill", DrillForm(runbook=name).model_dump(mode="json"))] if "drill" in file.modes else []
    return wanted + ([("failover", {"runbook": name})] if "failover" in file.modes else [])
