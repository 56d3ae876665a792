"""Who logs in where, and as what; checked by shape once, wherever it came from (a file, the environment, a Prefect block)."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from pydantic import SecretStr

from backup_to_image.model import Value

__all__ = ["Credentials", "is_loopback"]


class Credentials(Value):
    """What one log-in takes. Secrets show themselves only to whom asks for them by name."""

    auth_url: str
    username: str | None = None
    user_id: str | None = None
    password: SecretStr | None = None
    passcode: SecretStr | None = None
    """The number of a virtual MFA device. It holds for moments, so such a log-in cannot be renewed."""
    token: SecretStr | None = None
    user_domain_name: str | None = None
    user_domain_id: str | None = None
    project_name: str | None = None
    project_id: str | None = None
    project_domain_name: str | None = None
    project_domain_id: str | None = None
    access_key: str | None = None
    secret_key: SecretStr | None = None
    security_token: SecretStr | None = None
    signature: Literal["plain", "scoped"] = "plain"
    region: str | None = None
    interface: str = "public"
    cacert: str | None = None
    verify: bool = True
    endpoint_overrides: dict[str, str] = {}
    """Service (iam, ims, cbr, ecs, evs, vpc, eip) to URL, where the catalog's is not to be used."""

    @property
    def signs(self) -> bool:
        """Whether requests are signed. A password or a token goes first: many files hold a key pair for storage only."""
        return bool(self.access_key) and self.password is None and self.token is None

    @property
    def project_region(self) -> str | None:
        """The region: given, or read off the front of the project's name (`<region>_<name>`, BEHAVIOUR.md 1.1)."""
        return self.region or region_of(self.project_name or "")

    def problems(self) -> list[str]:
        """Everything that is wrong with these credentials before a word is said to the cloud."""
        found: list[str] = []
        url = urlsplit(self.auth_url)
        if url.scheme not in {"http", "https"} or not url.hostname:
            found.append(f"auth_url: {self.auth_url!r} is no address; write it with https://")
        elif url.scheme == "http" and not is_loopback(url.hostname):
            found.append("auth_url: http:// would send the password in clear; only loopback addresses may do without TLS")
        if not self.verify and not is_loopback(url.hostname or ""):
            found.append("verify: false is accepted for loopback addresses only; name the authority's certificate with cacert")
        for service, address in self.endpoint_overrides.items():
            if urlsplit(address).scheme != "https" and not is_loopback(urlsplit(address).hostname or ""):
                found.append(f"endpoint override of {service}: {address!r} must be https://")
        found += self._who()
        if not (self.project_id or self.project_name):
            found.append("project_name (or project_id): is missing; images, backups and servers live in a project")
        return found

    def _who(self) -> list[str]:
        if bool(self.access_key) != bool(self.secret_key):
            return [f"{'sk' if self.access_key else 'ak'}: is missing; access key and secret key belong together"]
        if self.signs or self.token:
            return []
        found: list[str] = []
        if not (self.username or self.user_id):
            found.append("username: is missing (or give ak and sk, or a token)")
        if self.password is None or not self.password.get_secret_value():
            found.append("password: is missing (or give ak and sk, or a token)")
        elif re.fullmatch(r"\*+", self.password.get_secret_value()):
            found.append(
                "password: it is all asterisks, which is how a hidden secret is displayed and not the secret itself;"
                " pass the credentials block by reference. It was not sent, since failed log-ins lock the user"
            )
        if self.username and not (self.user_domain_name or self.user_domain_id):
            found.append("user_domain_name: is missing (the account, such as OTC00000000001000000xxx)")
        return found


def region_of(project_name: str) -> str | None:
    front = project_name.partition("_")[0]
    return front if re.fullmatch(r"[a-z]{2}-[a-z]+\d*", front) else None


def is_loopback(host: str) -> bool:
    """Whether this host is the machine itself, by its spelling; names are not looked up."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
