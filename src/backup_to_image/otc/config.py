"""Credentials from clouds.yaml, secure.yaml and OS_*, found and merged as openstacksdk does it (BEHAVIOUR.md 2).

Of an entry the keys that mean something here are read; every other key is named in a warning, since a setting that is silently
passed over is a setting that somebody relies on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import SecretStr

from backup_to_image.errors import UsageError
from backup_to_image.otc.cloud_files import Clouds, find_clouds
from backup_to_image.otc.credentials import Credentials, region_of

__all__ = ["read_clouds"]

# What the vendor profiles of openstacksdk say, with the scheme that its otc-swiss lacks (openstacksdk 4.22.0).
_PROFILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "otc": ("https://iam.{region_name}.otc.t-systems.com/v3", ("eu-de", "eu-nl")),
    "otc-swiss": ("https://iam-pub.eu-ch2.sc.otc.t-systems.com/v3", ("eu-ch2",)),
}

# Field of Credentials to the keys it is written as, the winner last, as openstacksdk has it.
_AUTH: dict[str, tuple[str, ...]] = {
    "auth_url": ("auth_url",),
    "username": ("user_name", "username"),
    "user_id": ("user_id",),
    "password": ("password",),
    "passcode": ("passcode",),
    "token": ("auth_token", "token"),
    "user_domain_name": ("user_domain_name",),
    "user_domain_id": ("user_domain_id",),
    "project_name": ("tenant_name", "project_name"),
    "project_id": ("tenant_id", "project_id"),
    "project_domain_name": ("project_domain_name",),
    "project_domain_id": ("project_domain_id",),
    "domain_name": ("domain_name",),
    "domain_id": ("domain_id",),
}
_BESIDE: dict[str, tuple[str, ...]] = {
    "access_key": ("access_key", "ak"),
    "secret_key": ("secret_key", "sk"),
    "security_token": ("security_token",),
    "signature": ("signature",),
    "interface": ("endpoint_type", "interface"),
    "cacert": ("cacert",),
}
_ELSEWHERE = frozenset(
    {"auth", "auth_type", "profile", "cloud", "region_name", "regions", "region", "verify", "insecure", "identity_api_version"}
)
_SECRETS = frozenset({"password", "passcode", "token", "secret_key", "security_token"})
_OVERRIDES = {
    "iam": ("identity", "iam"),
    "ims": ("image", "ims"),
    "cbr": ("cbr",),
    "ecs": ("compute", "ecs"),
    "evs": ("block_storage", "volume", "evs"),
    "vpc": ("network", "vpc"),
    "eip": ("eip",),
}
_OVERRIDE_KEYS = {f"{name}_endpoint_override": service for service, names in _OVERRIDES.items() for name in names}
_AUTH_TYPES = frozenset({"password", "v3password", "token", "v3token", "v3totp", "v3multifactor"})

_SELECTORS = frozenset(
    {"OS_CLOUD", "OS_REGION_NAME", "OS_REGION", "OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE", "OS_CLOUD_NAME"}
)


def read_clouds(
    name: str | None, *, environ: Mapping[str, str], cwd: Path, region: str | None = None
) -> tuple[Credentials, list[str]]:
    """The credentials of one cloud, and what was in its entry but is not read.

    `name` wins over OS_CLOUD, which wins over OS_* variables; a file with a single cloud needs no name. Raises UsageError that
    names every mistake with its file and line, or where it looked and which clouds there are.
    """
    asked = name or environ.get("OS_CLOUD") or None
    if asked is None and _from_environment(environ):
        entry = _Entry("the environment", _environment_entry(environ), places={}, variables=True)
        return entry.read(region)
    clouds = find_clouds(environ, cwd)
    return _pick(clouds, asked).read(region)


def _from_environment(environ: Mapping[str, str]) -> bool:
    return any(variable.startswith("OS_") and variable not in _SELECTORS and _field_of(variable) for variable in environ)


def _field_of(variable: str) -> str | None:
    """The key that a variable stands for, or None for one that is not ours."""
    key = variable.removeprefix("OS_").lower()
    known = {key for keys in (*_AUTH.values(), *_BESIDE.values()) for key in keys} | _ELSEWHERE | set(_OVERRIDE_KEYS)
    return key if key in known - {"cloud", "auth", "regions", "ak", "sk"} else None


def _environment_entry(environ: Mapping[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"auth": {}}
    in_auth = {key for keys in _AUTH.values() for key in keys}
    for variable, value in sorted(environ.items()):
        key = _field_of(variable) if variable.startswith("OS_") else None
        if key and value:
            (entry["auth"] if key in in_auth else entry)[key] = value
    entry.setdefault("region_name", environ.get("OS_REGION"))
    return entry


def _pick(clouds: Clouds, name: str | None) -> _Entry:
    have = ", ".join(sorted(clouds.entries)) or "none"
    if not clouds.files:
        looked = "\n".join(f"  {path}" for path in clouds.looked)
        wanted = f"cloud {name!r}" if name else "any cloud"
        raise UsageError(
            f"There is no clouds.yaml for {wanted}, and OS_AUTH_URL with its companions is not set. Looked for:\n{looked}"
        )
    if name is None:
        if len(clouds.entries) != 1:
            raise UsageError(f"{clouds.files[0]}: which cloud? Give --cloud or OS_CLOUD; there are: {have}.")
        name = next(iter(clouds.entries))
    if name not in clouds.entries:
        places = ", ".join(str(path) for path in clouds.files)
        raise UsageError(f"{places}: there is no cloud {name!r}; there are: {have}.")
    entry = clouds.entries[name]
    if not isinstance(entry, dict):
        raise UsageError(f"{clouds.place((name,))}: clouds.{name}: must be a block of keys")
    places = {loc[1:]: place for loc, place in clouds.places.items() if loc[:1] == (name,)}
    return _Entry(f"clouds.{name}", cast("dict[str, Any]", entry), places=places)


@dataclass
class _Entry:
    """One cloud's entry, and what is said about it."""

    name: str
    keys: dict[str, Any]
    places: dict[tuple[str, ...], str]
    variables: bool = False
    problems: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])

    def read(self, region: str | None) -> tuple[Credentials, list[str]]:
        self.keys = _dashes(self.keys)
        auth = self._block("auth")
        told: dict[str, Any] = {name: self._text(auth, ("auth",), keys) for name, keys in _AUTH.items()}
        for name, keys in _AUTH.items():  # what stands beside `auth` wins, since openstacksdk takes it for an override
            told[name] = self._text(self.keys, (), keys) or told[name]
        told |= {name: self._text(self.keys, (), keys) for name, keys in _BESIDE.items()}
        self._auth_type()
        told["verify"] = self._verify()
        told["endpoint_overrides"] = self._overrides()
        profile = self._text(self.keys, (), ("cloud", "profile"))
        if profile is not None and profile not in _PROFILES:
            self._wrong(("profile",), f"{profile!r} is none of {', '.join(_PROFILES)}; leave it out and give auth_url")
            profile = None
        told["region"] = self._region(region, profile, told["project_name"], told)
        if profile and not told["auth_url"]:
            told["auth_url"] = _PROFILES[profile][0]
        if told["auth_url"]:
            told["auth_url"] = told["auth_url"].replace("{region_name}", told["region"] or "")
        self._name_the_unread(auth)
        return self._checked(told), self.warnings

    def _checked(self, told: dict[str, Any]) -> Credentials:
        for kind in ("name", "id"):  # one domain for both, where nothing else is said
            both = told.pop(f"domain_{kind}")
            told[f"user_domain_{kind}"] = told[f"user_domain_{kind}"] or both
            told[f"project_domain_{kind}"] = told[f"project_domain_{kind}"] or both
        if told["signature"] not in {None, "plain", "scoped"}:
            self._wrong(("signature",), f"{told['signature']!r} is neither plain nor scoped")
            told["signature"] = None
        if told["cacert"]:
            told["cacert"] = str(Path(told["cacert"]).expanduser())
            if not Path(told["cacert"]).is_file():
                self._wrong(("cacert",), f"there is no file {told['cacert']}")
        told["interface"] = (told["interface"] or "public").removesuffix("URL")
        for name in _SECRETS:
            told[name] = SecretStr(told[name]) if told[name] else None
        if not told["auth_url"]:
            self._wrong(("auth", "auth_url"), "is missing, such as https://iam.eu-de.otc.t-systems.com/v3 (or give profile: otc)")
            told["auth_url"] = "https://not-given.invalid"
        credentials = Credentials(**{name: value for name, value in told.items() if value is not None})
        for problem in credentials.problems():
            where, _, words = problem.partition(": ")
            self._wrong(("auth", where.split()[0]), words)
        if self.problems:
            raise UsageError(dict.fromkeys(self.problems))
        if credentials.access_key and not credentials.signs:
            self._warn(("ak",), "is not used, since a password or a token is given too")
        return credentials

    def _block(self, key: str) -> dict[str, Any]:
        value: Any = self.keys.get(key) or None
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._wrong((key,), "must be a block of keys")
            return {}
        return _dashes(cast("dict[str, Any]", value))

    def _text(self, keys: Mapping[str, Any], under: tuple[str, ...], names: Iterable[str]) -> str | None:
        """The value of the last of these keys that is there. No numbers: YAML reads 0123 as 83 before anybody can object."""
        said: str | None = None
        for name in names:
            value = keys.get(name)
            if value is None or value == "":
                continue
            if isinstance(value, str):
                said = value
            else:
                self._wrong((*under, name), "must be text; put it in quotes")
        return said

    def _auth_type(self) -> None:
        kind = self._text(self.keys, (), ("auth_type",)) or "password"
        if kind == "agency":
            self._wrong(
                ("auth_type",),
                "agency is not supported: a delegation's token cannot be renewed here; log in as a user of the target account",
            )
        elif kind not in _AUTH_TYPES:
            self._wrong(("auth_type",), f"{kind!r} is none of {', '.join(sorted(_AUTH_TYPES))}")
        version = str(self.keys.get("identity_api_version") or "3")
        if version.partition(".")[0].lstrip("v") != "3":
            self._wrong(("identity_api_version",), f"{version}: this cloud speaks version 3")

    def _verify(self) -> bool:
        if self._flag("insecure", False):
            return False
        return self._flag("verify", True)

    def _flag(self, key: str, default: bool) -> bool:
        value = self.keys.get(key)
        if value is None or value == "":
            return default
        if isinstance(value, bool):
            return value
        if str(value).lower() in {"true", "false"}:
            return str(value).lower() == "true"
        self._wrong((key,), "must be true or false")
        return default

    def _overrides(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, service in _OVERRIDE_KEYS.items():
            address = self._text(self.keys, (), (key,))
            if address:
                found[service] = address
        return found

    def _region(self, asked: str | None, profile: str | None, project: str | None, told: dict[str, Any]) -> str | None:
        """Asked for, the entry's first, read off the project's name, or the profile's first; with that region's own values."""
        regions = self._regions()
        if asked and regions and asked not in regions:
            self._wrong(("region_name",), f"region {asked!r} is none of {', '.join(regions)}")
            return None
        of_profile = _PROFILES[profile][1] if profile else ()
        named = region_of(project or "")
        chosen = asked or next(iter(regions), None)
        if chosen is None:
            chosen = named if named and (not of_profile or named in of_profile) else next(iter(of_profile), None)
        elif profile and not regions and chosen not in of_profile:
            self._wrong(("region_name",), f"region {chosen!r} is none of {', '.join(of_profile)}, which profile {profile} knows")
        for key, value in _dashes(regions.get(chosen or "", {})).items():
            keys = {**_AUTH, **_BESIDE}
            name = next((name for name, spelled in keys.items() if key in spelled), None)
            if name and isinstance(value, str):
                told[name] = value
            elif key == "auth" and isinstance(value, dict):
                for inner, said in _dashes(cast("dict[str, Any]", value)).items():
                    name = next((name for name, spelled in _AUTH.items() if inner in spelled), None)
                    if name and isinstance(said, str):
                        told[name] = said
            else:
                self._warn(("regions",), f"{chosen}: {key} is not read")
        return chosen

    def _regions(self) -> dict[str, dict[str, Any]]:
        """The regions that the entry names, in order, with the values that hold in each."""
        listed: Any = self.keys.get("regions") or self.keys.get("region_name") or None
        if listed is None:
            return {}
        if isinstance(listed, str):
            listed = [one.strip() for one in listed.split(",")]
        found: dict[str, dict[str, Any]] = {}
        for one in cast("list[Any]", listed) if isinstance(listed, list) else [listed]:
            if isinstance(one, str):
                found[one] = {}
            elif isinstance(one, dict) and isinstance(cast("dict[str, Any]", one).get("name"), str):
                values = cast("dict[str, Any]", one)
                found[values["name"]] = values.get("values") or {}
            else:
                self._wrong(("regions",), "must be a list of names, or of blocks with name and values")
        return found

    def _name_the_unread(self, auth: dict[str, Any]) -> None:
        if self.variables:
            return
        in_auth = {key for keys in _AUTH.values() for key in keys}
        beside = in_auth | {key for keys in _BESIDE.values() for key in keys} | _ELSEWHERE | set(_OVERRIDE_KEYS)
        for key in self.keys:
            if key not in beside:
                self._warn((key,), "is not read")
        for key in auth:
            if key not in in_auth:
                self._warn(("auth", key), f"is not read{'; it belongs beside auth' if key in beside else ''}")

    def _wrong(self, loc: tuple[str, ...], words: str) -> None:
        self.problems.append(self._said(loc, words))

    def _warn(self, loc: tuple[str, ...], words: str) -> None:
        self.warnings.append(self._said(loc, words))

    def _said(self, loc: tuple[str, ...], words: str) -> str:
        if self.variables:
            return f"OS_{loc[-1].upper()}: {words}"
        beside = loc[1:] if loc[:1] == ("auth",) and loc not in self.places and loc[1:] in self.places else loc
        place = self.places.get(beside) or self.places.get(beside[:1]) or self.places.get((), "")
        return f"{place}{': ' if place else ''}{self.name}.{'.'.join(beside)}: {words}"


def _dashes(keys: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key).replace("-", "_"): value for key, value in keys.items()}
