"""Our own settings, `b2i.yaml`: whom images may be shared with, where the journal lies, how patient we are."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from backup_to_image.errors import UsageError
from backup_to_image.model.cloud import Value
from backup_to_image.model.orders import HIDDEN, Duration
from backup_to_image.model.shared_place import PASSWORD_VARIABLE, SharedPlace
from backup_to_image.yamlfile import load_file

__all__ = ["Directories", "Settings", "Settle", "is_project_id", "read_settings"]

PROJECT_ID = r"^[0-9a-fA-F]{32}$"
_CONSOLE = re.compile(r"https://[a-z0-9][a-z0-9.-]*(:\d+)?(/[\w.-]+)*/?", re.ASCII | re.IGNORECASE)
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/(?!\.\.?(/|$))[\w.-]+)*/?", re.ASCII)


def is_project_id(text: str) -> bool:
    """Whether it is written like the id of a project."""
    return re.fullmatch(PROJECT_ID, text) is not None


class _Part(Value):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


class Settle(_Part):
    """How long to look for the effect of a request whose answer was lost, before it may be sent again."""

    image: Duration = timedelta(minutes=2)
    """Of a request for an image."""
    server: Duration = timedelta(minutes=10)
    """Of a launch. Shorter is quicker and riskier: the cloud refuses no second server."""


class Directories(_Part):
    """Where a worker finds the files that parameters name."""

    policies: Path | None = None
    """Policies, each with deployments of its own."""
    launch: Path | None = None
    """Launch orders."""
    runbooks: Path | None = None
    """Runbooks, each with deployments of its own."""
    evidence: Path | None = None
    """Where evidence of runbooks and reports of nights are kept; absent: runbooks' beside the usual journal, nights' nowhere."""


class Settings(_Part):
    """What `b2i.yaml` says; every key has a default but the recipients."""

    projects: dict[str, str] = {}
    """The only projects that images may be shared with, by alias."""
    accept_from: tuple[str, ...] = ()
    """Whose images `b2i accept --all` takes: project ids, or aliases of `projects`."""
    share_in_eu_ch2: bool = False
    """Try to share full-ECS images in eu-ch2, where the cloud's own pages disagree whether that is possible."""
    journal: str | None = None
    """Folder of the journal, or the address of a Valkey or Redis server; absent: `b2i` in the user's state directory."""
    settle: Settle = Settle()
    directories: Directories = Directories()
    evidence_bucket: str | None = None
    """Bucket on S3 or OBS that the evidence of runbooks is copied to: `s3://BUCKET/PREFIX`; its keys are in the environment."""
    allowed_commands: tuple[str, ...] = ()
    console: str | None = "https://console.otc.t-systems.com"
    """Where links into the cloud's console lead; null: there are none. Nothing is ever asked of it."""
    file: Path | None = Field(default=None, exclude=True)
    """Where these settings were read; None when there is no file."""

    @field_validator("projects")
    @classmethod
    def _ids(cls, value: dict[str, str]) -> dict[str, str]:
        wrong = [
            f"{alias}: {ident!r} is no project id (32 hex digits)" for alias, ident in value.items() if not is_project_id(ident)
        ]
        if wrong:
            raise ValueError("; ".join(wrong))
        return value

    @field_validator("accept_from")
    @classmethod
    def _senders(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "projects" not in info.data:
            return value  # whose own mistake is told; the aliases cannot be judged
        wrong = [name for name in value if name not in info.data["projects"] and not is_project_id(name)]
        if wrong:
            told = ", ".join(repr(name) for name in wrong)
            raise ValueError(f"{told}: neither a project id (32 hex digits) nor an alias of `projects`")
        return value

    @field_validator("journal")
    @classmethod
    def _store(cls, value: str | None) -> str | None:
        if value is not None and SharedPlace.is_meant_by(value):
            try:
                SharedPlace.parse(value)
            except ValueError as error:  # pydantic's words would repeat an address that may hold a password
                raise PydanticCustomError(HIDDEN, "{why}", {"why": str(error)}) from None
        return value

    @field_validator("evidence_bucket")
    @classmethod
    def _bucket(cls, value: str | None) -> str | None:
        if value is not None and not _BUCKET.fullmatch(value):  # which may hold a key, so nobody repeats it
            why = "must be s3://BUCKET/PREFIX; the endpoint and the keys stand in the environment (AWS_ENDPOINT_URL and so on)"
            raise PydanticCustomError(HIDDEN, "{why}", {"why": why})
        return value

    @field_validator("console")
    @classmethod
    def _links(cls, value: str | None) -> str | None:
        if value is not None and not _CONSOLE.fullmatch(value):
            raise ValueError("must be https://HOST, or null")
        return value

    @property
    def recipients(self) -> frozenset[str]:
        """The project ids of `projects`, as the cloud writes them."""
        return frozenset(ident.lower() for ident in self.projects.values())

    @property
    def senders(self) -> frozenset[str]:
        """The project ids of `accept_from`."""
        return frozenset(self.projects.get(name, name).lower() for name in self.accept_from)

    def alias_of(self, project: str) -> str | None:
        """What `projects` calls that project."""
        return next((alias for alias, ident in self.projects.items() if ident.lower() == project.lower()), None)

    def directory(self, key: Literal["policies", "launch", "runbooks", "evidence"]) -> Path | None:
        """One of the directories; a relative one is relative to the settings file."""
        folder: Path | None = getattr(self.directories, key)
        if folder is None:
            return None
        folder = folder.expanduser()
        return folder if folder.is_absolute() or self.file is None else self.file.parent / folder

    def journal_place(self, environ: Mapping[str, str]) -> Path | SharedPlace:
        """The journal's folder, a relative one relative to the settings file; or its server, with the password from outside.

        Raises UsageError where the address names a user and the environment has no password.
        """
        if self.journal and SharedPlace.is_meant_by(self.journal):
            place, password = SharedPlace.parse(self.journal), environ.get(PASSWORD_VARIABLE)
            if place.user and not password:
                raise UsageError(f"The journal {place} names a user, and {PASSWORD_VARIABLE} is not set.")
            return place.model_copy(update={"password": SecretStr(password) if password else None})
        if self.journal:
            folder = Path(self.journal).expanduser()
            return folder if folder.is_absolute() or self.file is None else self.file.parent / folder
        return _state_folder(environ) / "journal"

    def evidence_folder(self, environ: Mapping[str, str]) -> Path:
        """Where the evidence of runbooks is kept; beside the journal's usual place where nothing is said."""
        return self.directory("evidence") or _state_folder(environ) / "evidence"


def _state_folder(environ: Mapping[str, str]) -> Path:
    state = environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path("~/.local/state").expanduser()) / "b2i"


def read_settings(given: str | None = None, *, environ: Mapping[str, str] = os.environ, cwd: Path | None = None) -> Settings:
    """Find and read the settings: the file given, `B2I_CONFIG`, `./b2i.yaml`, `~/.config/b2i/b2i.yaml`, or defaults.

    A file that is named must exist; the others may be absent. Raises UsageError with every mistake as file:line.
    """
    named = given or environ.get("B2I_CONFIG")
    if named:
        return _read(Path(named).expanduser())
    config_home = environ.get("XDG_CONFIG_HOME")
    home = Path(config_home) if config_home else Path("~/.config").expanduser()
    for path in ((cwd or Path.cwd()) / "b2i.yaml", home / "b2i" / "b2i.yaml"):
        if path.is_file():
            return _read(path)
    return Settings()


def _read(path: Path) -> Settings:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such settings file.", action="Name another with --config or B2I_CONFIG.")
    return load_file(path, Settings, "settings file").model_copy(update={"file": path.resolve()})
