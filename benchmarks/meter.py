"""Processor time and memory of processes, and how busy the machine was: read from /proc once a second (Linux)."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Meter", "Used"]

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Used:
    """What one process used while it was measured."""

    cpu: float = 0.0
    """Seconds."""
    peak_mb: float = 0.0


class Meter:
    """Measures processes by name from its beginning to its end; those that end meanwhile keep what was seen last."""

    def __init__(self, **pids: int) -> None:
        self.used = {name: Used() for name in pids}
        self._pids = pids
        self._began = {name: _cpu(pid) for name, pid in pids.items()}
        self._machine = _machine()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.seconds = 0.0
        self.busy = 0.0
        """The part of all cores' time in which they were at work, 0 to 1."""

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._look()
        self._ended.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._since
        work, whole = (now - before for now, before in zip(_machine(), self._machine, strict=True))
        self.busy = work / whole if whole else 0.0

    def _watch(self) -> None:
        while not self._ended.wait(1):
            self._look()

    def _look(self) -> None:
        for name, pid in self._pids.items():
            cpu, peak = _cpu(pid), _peak(pid)
            self.used[name].cpu = max(self.used[name].cpu, cpu - self._began[name])
            self.used[name].peak_mb = max(self.used[name].peak_mb, peak)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def _machine() -> tuple[int, int]:
    user, nice, system, idle, iowait, *rest = (int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
    work = user + nice + system + sum(rest)
    return work, work + idle + iowait
