"""The Prefect block that holds one project's credentials, and opens the connection that a flow works with.

In the UI it is a form under Blocks; flows take it as a parameter and get it by reference, so no secret is ever a parameter.
`python -m deployments.setup` makes the default one, named b2i.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from prefect.blocks.core import Block
from prefect.runtime import flow_run
from pydantic import Field, SecretStr

from backup_to_image.console import Console
from backup_to_image.errors import UsageError
from backup_to_image.journal import Journal
from backup_to_image.otc import Cloud, Credentials, read_clouds
from backup_to_image.settings import Settings, read_settings
from backup_to_image.steps.context import Context

__all__ = ["DEFAULT_BLOCK", "OtcProject"]

log = logging.getLogger(__name__)

DEFAULT_BLOCK = "b2i"


def _field(position: int, title: str, description: str, default: Any) -> Any:
    return Field(default=default, title=title, description=description, json_schema_extra={"position": position})


class OtcProject(Block):
    """One project of Open Telekom Cloud: where to log in, as whom, and which b2i.yaml the worker reads."""

    _block_type_name: ClassVar[str | None] = "OTC project"
    _block_type_slug: ClassVar[str | None] = "otc-project"
    _description: ClassVar[str | None] = (
        "One project of Open Telekom Cloud (T Cloud Public): where its backups and images live and how to log in. "
        "Give user name and password, or an access key and its secret key."
    )

    auth_url: str = Field(
        title="Log-in address",
        description="Identity service of the region, with /v3 at the end: https://iam.<region>.<cloud>/v3. Only https.",
        json_schema_extra={"position": 0},
    )
    region: str = _field(1, "Region", "Such as eu-de. Empty: read off the front of the project's name.", "")
    domain_name: str = _field(2, "Account (domain)", "Such as OTC00000000001000000000. Not needed with an access key.", "")
    project_name: str = _field(3, "Project", "Name of the project, such as eu-de_shop. Give it or the id.", "")
    project_id: str = _field(4, "Project id", "32 hex digits, where the name is not given.", "")
    username: str = _field(5, "User name", "Of an IAM user with the roles that `b2i doctor` lists.", "")
    password: SecretStr = _field(6, "Password", "Of that user. Empty with an access key.", SecretStr(""))
    access_key: str = _field(7, "Access key (AK)", "Used where no password is given.", "")
    secret_key: SecretStr = _field(8, "Secret key (SK)", "Belongs to the access key.", SecretStr(""))
    cacert: str = _field(9, "CA file", "File on the worker, for a certificate that the system does not know. Usually empty.", "")
    settings_file: str = _field(
        10,
        "Settings file",
        "The b2i.yaml on the worker. Empty: B2I_CONFIG, ./b2i.yaml of the checkout, ~/.config/b2i/b2i.yaml.",
        "",
    )

    @classmethod
    def from_clouds(
        cls, name: str | None = None, *, environ: Mapping[str, str] = os.environ, settings_file: str = ""
    ) -> tuple[Self, list[str]]:
        """A block made from an entry of clouds.yaml (OS_CLOUD where no name is given), and what of it was not read.

        Raises UsageError for an entry that is wrong, or that says something a block cannot keep.
        """
        credentials, warnings = read_clouds(name, environ=environ, cwd=Path.cwd())
        return cls._of(credentials, settings_file), warnings

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, *, settings_file: str = "") -> Self:
        """A block made from OS_* variables alone. Raises UsageError naming everything that is missing."""
        if not environ.get("OS_AUTH_URL"):
            raise UsageError("OS_AUTH_URL is not set, so the environment holds no credentials.")
        plain = {key: value for key, value in environ.items() if key != "OS_CLOUD"}
        return cls._of(read_clouds(None, environ=plain, cwd=Path.cwd())[0], settings_file)

    @classmethod
    def _of(cls, told: Credentials, settings_file: str) -> Self:
        block = cls(
            auth_url=told.auth_url,
            region=told.region or "",
            domain_name=told.user_domain_name or told.project_domain_name or "",
            project_name=told.project_name or "",
            project_id=told.project_id or "",
            username=told.username or "",
            password=told.password or SecretStr(""),
            access_key=told.access_key or "",
            secret_key=told.secret_key or SecretStr(""),
            cacert=told.cacert or "",
            settings_file=settings_file,
        )
        kept, unsaid = block.credentials(), {"user_domain_name", "project_domain_name"}
        lost = sorted(
            field
            for field in Credentials.model_fields
            if getattr(told, field) != getattr(kept, field) and not (field in unsaid and getattr(told, field) is None)
        )
        if lost:
            raise UsageError(
                f"The credentials say {', '.join(lost)}, which a block does not keep.",
                action="Write them with user name and password, or with an access key; a token would expire in the block.",
            )
        return block

    def credentials(self) -> Credentials:
        """What the log-in takes. Whether it is complete, `connect` says."""

        def secret(value: SecretStr) -> SecretStr | None:
            return value if value.get_secret_value() else None

        return Credentials(
            auth_url=self.auth_url.strip(),
            region=self.region or None,
            user_domain_name=self.domain_name or None,
            project_domain_name=self.domain_name or None,
            project_name=self.project_name or None,
            project_id=self.project_id or None,
            username=self.username or None,
            password=secret(self.password),
            access_key=self.access_key or None,
            secret_key=secret(self.secret_key),
            cacert=self.cacert or None,
        )

    def cloud(self) -> Cloud:
        """A connection that has not said a word yet. Raises UsageError naming everything that is wrong with the credentials."""
        return Cloud.connect(self.credentials())

    def settings(self) -> Settings:
        """What b2i.yaml on the worker says. Raises UsageError with every mistake of it."""
        return read_settings(self.settings_file or None)

    def console(self) -> Console:
        """Links into the cloud's console, in this project's region. Raises UsageError with every mistake of b2i.yaml."""
        return Console(self.settings().console, self.credentials().project_region)

    @property
    def name(self) -> str:
        """What the block is called; empty where it was not saved."""
        return self._block_document_name or ""

    @asynccontextmanager
    async def connect(self, *, tell: Callable[[str], None] | None = None) -> AsyncGenerator[Context]:
        """Settings read, journal writable, logged in: what every step works with, closed afterwards.

        In a flow run, orders in the journal name that run: the reconciler leaves them to it while it is at work.
        The worker's files decide whom images may be shared with and where the journal lies. Raises UsageError for settings or
        credentials that are wrong, LoginRefused, JournalError; nothing was made then.
        """
        settings = self.settings()
        async with self.cloud() as cloud, Journal.at(settings.journal_place(os.environ), clock=cloud.clock) as journal:
            cloud.budget.tell = tell
            await cloud.login()
            for warning in journal.warnings:
                (tell or log.warning)(f"warning: {warning}")
            yield Context(cloud, journal, settings, tell=tell, run_id=cast("str | None", flow_run.id))
