"""Where each service answers: from the token's catalog, whose entries differ in name, type and form (BEHAVIOUR.md 1.2).

Of a catalog URL only the origin and what stands before the version segment are kept; the documented path is appended, so one
entry serves the versions that no catalog lists (v2 for changing an OS, v2.1 for zones and consoles).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from backup_to_image.errors import UsageError
from backup_to_image.otc.credentials import Credentials, is_loopback
from backup_to_image.otc.wire import Body, parts, text

__all__ = ["Endpoints", "Service", "base_of"]

Service = Literal["iam", "ims", "cbr", "ecs", "evs", "vpc", "eip"]

# Per service, what its catalog entry may be called (type or name), the best first. EIP has an entry of its own on few clouds.
_CALLED: dict[Service, tuple[str, ...]] = {
    "ims": ("ims", "image", "glance", "imsv2", "imsv1"),
    "cbr": ("cbr",),
    "ecs": ("ecs", "compute", "nova"),
    "evs": ("evs", "volumev2", "cinderv2", "volumev3", "cinderv3", "volume", "cinder"),
    "vpc": ("vpc",),
    "eip": ("eip", "vpc"),
}
_VERSION = re.compile(r"v\d+(\.\d+)?")
_ANYWHERE = frozenset({"", "*"})


def base_of(url: str) -> str:
    """Origin and any prefix before the version segment, without a slash at the end."""
    split = urlsplit(url)
    kept: list[str] = []
    for step in split.path.split("/"):
        if _VERSION.fullmatch(step):
            break
        kept.append(step)
    return urlunsplit((split.scheme, split.netloc, "/".join(kept).rstrip("/"), "", ""))


class Endpoints:
    """The addresses that one project uses in one region."""

    def __init__(self, catalog: Iterable[Body], credentials: Credentials, region: str | None) -> None:
        self._catalog = list(catalog)
        self._credentials = credentials
        self._region = region
        self._found: dict[Service, str] = {"iam": base_of(credentials.endpoint_overrides.get("iam") or credentials.auth_url)}

    def base(self, service: Service) -> str:
        """The address to which a documented path is appended. Raises UsageError where the catalog has none that fits."""
        if service not in self._found:
            self._found[service] = self._look_up(service)
        return self._found[service]

    def regions(self) -> set[str]:
        """Every region that the catalog names."""
        return {region for entry in self._catalog for end in parts(entry, "endpoints") for region in _regions(end)} - _ANYWHERE

    def _look_up(self, service: Service) -> str:
        override = self._credentials.endpoint_overrides.get(service)
        if override:
            return _checked(service, base_of(override))
        for called in _CALLED[service]:
            for entry in self._catalog:
                if called in {text(entry, "type").lower(), text(entry, "name").lower()}:
                    url = self._fitting(entry)
                    if url:
                        return _checked(service, base_of(url))
        has = ", ".join(sorted({f"{text(entry, 'name')} ({text(entry, 'type')})" for entry in self._catalog})) or "nothing at all"
        raise UsageError(
            f"The catalog has no {self._credentials.interface} endpoint of {service}"
            + (f" in region {self._region}" if self._region else "")
            + f". It has: {has}; regions: {', '.join(sorted(self.regions())) or 'none named'}.",
            action="Check region and interface, and that the project may use this service.",
        )

    def _fitting(self, entry: Body) -> str:
        """The URL for interface and region; an endpoint without a region serves every region."""
        anywhere = ""
        for end in parts(entry, "endpoints"):
            if text(end, "interface").lower().removesuffix("url") != self._credentials.interface.lower().removesuffix("url"):
                continue
            regions = _regions(end)
            if self._region is None or self._region in regions:
                return text(end, "url")
            if regions <= _ANYWHERE:
                anywhere = anywhere or text(end, "url")
        return anywhere


def _regions(end: Body) -> set[str]:
    return {text(end, "region"), text(end, "region_id")}


def _checked(service: str, base: str) -> str:
    split = urlsplit(base)
    if split.scheme not in {"http", "https"} or not split.hostname:
        raise UsageError(f"The catalog's address of {service} is none: {base!r}.")
    if split.scheme == "http" and not is_loopback(split.hostname):
        raise UsageError(
            f"The catalog gives an http:// address for {service} ({split.netloc}); the token would travel in clear.",
            action=f"Set {service}_endpoint_override to the https:// address in clouds.yaml.",
        )
    return base
