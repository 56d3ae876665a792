"""Where clouds.yaml and secure.yaml lie, and what they hold together, with the file and line of every field."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from backup_to_image.errors import UsageError

__all__ = ["Clouds", "find_clouds"]

_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Clouds:
    """The entries by name, secure.yaml over clouds.yaml; `places` says file:line for each path of keys below a name."""

    entries: dict[str, Any]
    places: dict[tuple[str, ...], str]
    files: list[Path]
    looked: list[Path]

    def place(self, loc: tuple[str, ...]) -> str:
        return self.places.get(loc, str(self.files[0]) if self.files else "")


def find_clouds(environ: Mapping[str, str], cwd: Path) -> Clouds:
    """Read the first clouds file of the search path and the first secure file, and merge them.

    Raises UsageError for a file that is named by a variable and absent, or is no YAML.
    """
    looked = _candidates(environ, cwd, "clouds", "OS_CLIENT_CONFIG_FILE")
    files = [path for path in looked if _readable(path)][:1]
    files += [path for path in _candidates(environ, cwd, "secure", "OS_CLIENT_SECURE_FILE") if _readable(path)][:1]
    entries: dict[str, Any] = {}
    places: dict[tuple[str, ...], str] = {}
    for path in files:
        content, lines = _read(path)
        entries = _merged(entries, content)
        places |= {loc[1:]: f"{path}:{line}" for loc, line in lines.items() if loc[:1] == ("clouds",)}
    return Clouds(entries=entries, places=places, files=files, looked=looked)


def _candidates(environ: Mapping[str, str], cwd: Path, stem: str, variable: str) -> list[Path]:
    named = environ.get(variable)
    if named:
        path = cwd / Path(named).expanduser()
        if not path.is_file():
            raise UsageError(f"{variable}: there is no file {path}.")
        return [path]
    return [folder / f"{stem}{suffix}" for folder in _folders(environ, cwd) for suffix in _SUFFIXES]


def _folders(environ: Mapping[str, str], cwd: Path) -> list[Path]:
    """The working directory, the user's and the system's configuration directories, as openstacksdk has them."""
    from platformdirs import PlatformDirs  # noqa: PLC0415 - only who reads files pays for it

    system = PlatformDirs("openstack", "OpenStack", multipath=True)
    home = Path(environ.get("SNAP_REAL_HOME") or environ.get("HOME") or Path.home())
    own = environ.get("XDG_CONFIG_HOME")
    folders = [
        cwd,
        Path(own) / "openstack" if own else Path(system.user_config_dir),
        home / ".config" / "openstack",
        *(Path(one) for one in system.site_config_dir.split(os.pathsep)),
        Path("/etc/openstack"),
    ]
    return list(dict.fromkeys(folders))


def _readable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK)


def _read(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    from backup_to_image.yamlfile import read_yaml  # noqa: PLC0415 - keeps YAML out of the import of the client

    content, lines = read_yaml(path, "clouds file")
    clouds: Any = cast("dict[str, Any]", content).get("clouds") if isinstance(content, dict) else None
    if not isinstance(clouds, dict):
        raise UsageError(f"{path}:1: a clouds file has a block `clouds:` with a block per cloud.")
    spelled = {
        tuple(str(step).replace("-", "_") if depth > 1 else str(step) for depth, step in enumerate(loc)): line
        for loc, line in lines.items()
    }
    return cast("dict[str, Any]", clouds), spelled


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` over `below`, block by block."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(value, dict) and isinstance(under, dict)
        merged[key] = _merged(cast("dict[str, Any]", under), cast("dict[str, Any]", value)) if both else value
    return merged
