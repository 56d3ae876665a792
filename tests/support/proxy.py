"""The stack's own proxy in front of its API servers: Caddy with the file of `deployments/stack`, on loopback, with TLS."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Self

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.debian import from_debian
from tests.support.house import ROOT, patience, stop
from tests.support.valkey import free_port

__all__ = ["CADDYFILE", "Proxy", "caddyfile", "make_certificate"]

CADDYFILE = ROOT / "deployments" / "stack" / "Caddyfile"
_LOOPBACK = "127.0.0.1"


class Proxy:
    """Two doors to the same servers: `outside` with TLS for people and other hosts, `inside` for workers of the same host."""

    def __init__(self, folder: Path, behind: Sequence[int]) -> None:
        self.folder = folder
        self.behind = tuple(behind)
        folder.mkdir(parents=True)
        make_certificate(folder / "tls.crt", folder / "tls.key")
        self._ports = (free_port(), free_port())
        (folder / "Caddyfile").write_text(caddyfile(self.behind, *self._ports, folder), encoding="utf-8")

    def __enter__(self) -> Self:
        environ = os.environ | {"HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        command = [from_debian("caddy"), "run", "--config", str(self.folder / "Caddyfile"), "--adapter", "caddyfile"]
        with (self.folder / "caddy.log").open("ab") as log:
            self._process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
        with patience(30, "the proxy") as beats:
            for _ in beats:
                assert self._process.poll() is None, self.log()
                try:
                    httpx.get(self.inside, trust_env=False, timeout=30)
                except httpx.ConnectError:
                    continue
                return self
        raise AssertionError

    def __exit__(self, *_: object) -> None:
        stop(self._process)

    @property
    def outside(self) -> str:
        return f"https://{_LOOPBACK}:{self._ports[0]}"

    @property
    def inside(self) -> str:
        return f"http://{_LOOPBACK}:{self._ports[1]}"

    @property
    def certificate(self) -> Path:
        """Whoever comes from outside has to trust this one, as nobody else has signed it."""
        return self.folder / "tls.crt"

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def log(self) -> str:
        return (self.folder / "caddy.log").read_text(errors="replace")


def caddyfile(behind: Sequence[int], outside: int, inside: int, secrets: Path) -> str:
    """The file as it is, but for where things lie: each address and folder of the containers is this host's."""
    text = CADDYFILE.read_text(encoding="utf-8")
    here = {f"api-{number}:4200": f"{_LOOPBACK}:{port}" for number, port in enumerate(behind, start=1)}
    here |= {":443 {": f":{outside} {{", ":4200 {": f":{inside} {{", "/run/secrets/": f"{secrets}/"}
    here |= {"{\n\tadmin off": f"{{\n\tdefault_bind {_LOOPBACK}\n\tadmin off"}
    for there, ours in here.items():
        assert there in text, f"{CADDYFILE}: no {there!r}"
        text = text.replace(there, ours)
    return text


def make_certificate(certificate: Path, key: Path) -> None:
    """For this host alone, signed by itself, for a day."""
    made = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(made.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_LOOPBACK))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(made, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key.write_bytes(made.private_bytes(*plain))
