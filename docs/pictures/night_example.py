"""Draw the picture of an invented night as night-example.svg beside this file, for the page that explains it.

    python -m docs.pictures.night_example

Nothing in it was measured: it shows what the picture of a real night looks like.
"""
# ruff: noqa: INP001 - a script beside its picture, no package

from pathlib import Path
from zoneinfo import ZoneInfo

from backup_to_image.night_pages import timeline_svg
from tests.support.nights import invented_night

__all__ = ["PICTURE", "example"]

PICTURE = Path(__file__).parent / "night-example.svg"


def example() -> str:
    """A night of sixty servers in which something of everything happened."""
    return timeline_svg(invented_night(60, seed=207, at_once=12), ZoneInfo("Europe/Berlin"))


if __name__ == "__main__":
    PICTURE.write_text(example(), encoding="utf-8")
