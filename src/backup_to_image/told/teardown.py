"""How the end of a launch is told."""

from __future__ import annotations

from backup_to_image.model import Teardown
from backup_to_image.told.told import Grid, Told

__all__ = ["told_teardown"]


def told_teardown(done: Teardown) -> Told:
    """What is gone, and what is left."""
    left, mark = done.left_behind, done.launch_id
    if not (done.servers or done.disks or done.public_ips):
        title = f"Nothing carries the mark of launch {mark}: nothing to do"
        return Told(exit_code=0, outcome="adopted", title=title, content=done.model_dump(mode="json"), notes=(f"{title}.",))
    title = f"Launch {mark}: something is left" if left else f"Launch {mark} is gone"
    pairs = (
        ("servers", ", ".join(done.servers)),
        ("disks", ", ".join(done.disks)),
        ("addresses", ", ".join(done.public_ips)),
        ("left behind", ", ".join(left)),
    )
    return Told(
        exit_code=5 if left else 0,
        outcome="partly" if left else "made" if done.servers else "adopted",
        title=title,
        content=done.model_dump(mode="json"),
        grids=(Grid.of(title, pairs),),
    )
