"""Questions of a run, asked at the terminal: while somebody thinks, the run goes on, and an answer from elsewhere counts too."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from rich.markup import escape

from backup_to_image.cli.output import Output
from backup_to_image.model.recovery import Answer, Question, Said
from backup_to_image.steps.runbook.asking import Ask

__all__ = ["asker", "who"]

_MEANS: dict[str, dict[Said, str]] = {
    "approve": {"go": "go on", "skip": "skip the group", "stop": "stop the run"},
    "manual": {"go": "it is done", "skip": "skip the group", "stop": "stop the run"},
    "failed": {"retry": "try it again", "skip": "skip the group", "stop": "stop the run", "go": "take it as it is"},
}


def who(named: str | None) -> str:
    """Who decides: as named, else whoever is logged in to this host."""
    try:
        return named or getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def asker(output: Output, now: Callable[[], datetime], *, by: str, wanted: bool) -> Ask | None:
    """Asks whoever sits at this terminal; None where nobody does, or nobody is to be asked."""
    if not wanted or output.as_json or not sys.stdin.isatty():
        return None
    lines = _Lines()

    async def ask(question: Question) -> Answer:
        output.err.print(f"[bold]{escape(question.group)}: {escape(question.words)}[/]")
        means, choices = _MEANS[question.about], question.choices
        output.err.print(f"[dim]until {question.until.astimezone(UTC):%H:%M} UTC; then {question.when_silent}[/]")
        said: Said | None = None
        while said is None:
            output.err.print("  ".join(f"[bold]{choice}[/] = {means[choice]}" for choice in choices), end=" > ")
            typed = (await lines.next()).strip().lower()
            fitting: list[Said] = [choice for choice in choices if typed and choice.startswith(typed)]
            said = fitting[0] if len(fitting) == 1 else None
        output.err.print(f"Your name [dim]({escape(by)})[/]", end=" > ")
        name = (await lines.next()).strip() or by
        output.err.print("A note, if you like", end=" > ")
        return Answer(said=said, by=name, at=now(), note=(await lines.next()).strip(), how="terminal")

    return ask


class _Lines:
    """What is typed, line by line, without standing in anybody's way: leases are renewed meanwhile."""

    def __init__(self) -> None:
        self._kept = b""

    async def next(self) -> str:
        """The next line. Once the terminal is gone nobody answers here any more."""
        try:
            terminal = sys.stdin.fileno()
        except (OSError, ValueError):  # no file behind it
            line = sys.stdin.readline()
        else:
            line = await self._typed(terminal)
        if not line:
            await asyncio.Event().wait()
        return line

    async def _typed(self, terminal: int) -> str:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(terminal, ready.set)
        try:
            while b"\n" not in self._kept:
                await ready.wait()
                ready.clear()
                piece = os.read(terminal, 4096)
                if not piece:
                    return ""
                self._kept += piece
        finally:
            loop.remove_reader(terminal)
        line, _, self._kept = self._kept.partition(b"\n")
        return line.decode(errors="replace") + "\n"
