"""Draw the picture of an invented drill as run-example.svg beside this file, for the page that explains it.

    python -m docs.pictures.run_example

Nothing in it was measured: it shows what the picture of a real run looks like.
"""
# ruff: noqa: INP001 - a script beside its picture, no package

from pathlib import Path

from backup_to_image.evidence.timeline import timeline_svg
from tests.support.runs import drill

__all__ = ["PICTURE", "example"]

PICTURE = Path(__file__).parent / "run-example.svg"


def example() -> str:
    """A drill in which something of everything happened."""
    return timeline_svg(drill(rto_target_s=2400))


if __name__ == "__main__":
    PICTURE.write_text(example(), encoding="utf-8")
