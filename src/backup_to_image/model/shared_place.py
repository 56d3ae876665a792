"""Where a journal lies that several hosts share: the address of a Valkey or Redis server, with everything but its password."""

from __future__ import annotations

import re
from typing import Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from pydantic import Field, SecretStr

from backup_to_image.model.cloud import Value

__all__ = ["PASSWORD_VARIABLE", "SharedPlace"]

PASSWORD_VARIABLE = "B2I_JOURNAL_PASSWORD"  # noqa: S105 - the name of a variable, not a password

_WITH_TLS = {"rediss", "valkeys"}
_SCHEMES = {"redis", "valkey", "unix"} | _WITH_TLS
_WRITE = "redis://HOST:6379/0, rediss://HOST:6379/0 (TLS) or unix:///PATH/TO/SOCKET"
_PORT = 6379
_PREFIX = "b2i"


class SharedPlace(Value):
    """A server's address, read. `str()` gives it back as people write it; it never holds the password."""

    scheme: str
    host: str = ""
    port: int = _PORT
    socket: str = ""
    """Path of a Unix socket, instead of host and port."""
    database: int = 0
    user: str | None = None
    prefix: str = _PREFIX
    """What every key begins with, so that several installations can share a server."""
    ca: str | None = None
    """File with the authority that signed the server's certificate, where the system does not know it."""
    password: SecretStr | None = Field(default=None, repr=False)

    @staticmethod
    def is_meant_by(text: str) -> bool:
        """Whether a `journal` is an address; else it is a folder."""
        return "://" in text or re.match(rf"({'|'.join(_SCHEMES)}):", text) is not None

    @classmethod
    def parse(cls, text: str) -> Self:
        """The address, taken apart. Raises ValueError in plain words, which never repeat what was given: it may be a secret."""
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            raise ValueError("this is no address: its port or host cannot be read") from None
        scheme, on_socket = parts.scheme, parts.scheme == "unix"
        if scheme not in _SCHEMES or "://" not in text:
            raise ValueError(f"a journal is a folder, or an address such as {_WRITE}")
        if parts.password is not None:
            user = f"{parts.username}@" if parts.username else ""
            write = f"`journal: {scheme}://{user}{parts.netloc.rpartition('@')[2]}{parts.path}`"
            raise ValueError(f"a password must not stand here: write {write}, and put it into {PASSWORD_VARIABLE}")
        if bool(parts.hostname) == on_socket or parts.fragment or (on_socket and not parts.path.strip("/")):
            raise ValueError(f"this is no address of a server: write {_WRITE}")
        options = _options(parts.query, {"prefix"} | ({"db"} if on_socket else {"ca"} if scheme in _WITH_TLS else set()))
        database = options.get("db", "0") if on_socket else parts.path.strip("/") or "0"
        if not re.fullmatch(r"\d{1,4}", database):
            raise ValueError("after the server comes the number of its database, such as /0, and nothing else")
        prefix = options.get("prefix", _PREFIX).rstrip(":")
        if not re.fullmatch(r"[\w.:-]{1,64}", prefix, re.ASCII):
            raise ValueError("a prefix is up to 64 letters, digits, `_`, `-`, `.` and `:`")
        return cls(
            scheme=scheme,
            host=parts.hostname or "",
            port=port or _PORT,
            socket=unquote(parts.path) if on_socket else "",
            database=int(database),
            user=unquote(parts.username) if parts.username else None,
            prefix=prefix,
            ca=options.get("ca"),
        )

    @property
    def encrypted(self) -> bool:
        return self.scheme in _WITH_TLS

    def __str__(self) -> str:
        user = f"{quote(self.user)}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = quote(self.socket) if self.socket else f"{host}:{self.port}/{self.database}"
        more = {"db": str(self.database) if self.socket and self.database else "", "ca": self.ca or ""}
        options = {name: value for name, value in more.items() if value}
        if self.prefix != _PREFIX:
            options["prefix"] = self.prefix
        return f"{self.scheme}://{user}{where}" + (f"?{urlencode(options, safe='/:')}" if options else "")


def _options(query: str, known: set[str]) -> dict[str, str]:
    try:
        given = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        raise ValueError("what follows the question mark is no NAME=VALUE") from None
    if {"password", "username"} & {name for name, _ in given}:
        raise ValueError(
            f"a password must not stand here: put it into {PASSWORD_VARIABLE}; a user stands before the host (USER@HOST)"
        )
    if unknown := sorted({name for name, _ in given} - known):
        raise ValueError(f"{', '.join(unknown)}: unknown here; known are {', '.join(sorted(known))}")
    return dict(given)
