"""The reference under docs/reference, made from the code that it describes: nothing in it is written by hand.

python -m deployments.reference             write the pages anew
python -m deployments.reference --check     only say which differ; exit 3 if one does
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from deployments.reference.codes import SERVICES, codes_page
from deployments.reference.commands import commands_page
from deployments.reference.emulated import emulator_page
from deployments.reference.events import events_page
from deployments.reference.files import KINDS, file_page

__all__ = ["FOLDER", "PAGES", "main", "text_of"]

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
MADE = "<!-- Made by `python -m deployments.reference`: what is changed here by hand is lost. -->"
PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    **{f"{kind.page}.md": lambda kind=kind: file_page(kind) for kind in KINDS},
    "events.md": events_page,
    "faults-and-switches.md": emulator_page,
    **{f"{service.page}.md": lambda service=service: codes_page(service) for service in SERVICES},
}
"""Each page with what makes it."""


def text_of(name: str) -> str:
    """The page as it lies in its file."""
    heading, _, rest = PAGES[name]().partition("\n")
    return f"{heading}\n\n{MADE}\n{rest.rstrip()}\n"


@click.command("reference", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Only say which differ; exit 3 if one does.")
def main(*, check: bool) -> None:
    """Write the reference anew from the code. A second time changes nothing."""
    stale = [name for name in PAGES if not _lies_there(name)]
    gone = sorted(path.name for path in FOLDER.glob("*.md") if path.name not in PAGES)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in stale:
        if not check:
            (FOLDER / name).write_text(text_of(name), encoding="utf-8")
        click.echo(f"{name} {'differs' if check else 'written'}")
    for name in gone:
        if not check:
            (FOLDER / name).unlink()
        click.echo(f"{name} {'is made by nothing' if check else 'removed'}")
    sys.exit(3 if check and (stale or gone) else 0)


def _lies_there(name: str) -> bool:
    path = FOLDER / name
    return path.is_file() and path.read_text(encoding="utf-8") == text_of(name)
