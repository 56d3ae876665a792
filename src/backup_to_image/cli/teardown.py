"""`b2i teardown`: remove a launch and prove that nothing is left."""

from __future__ import annotations

import sys
from typing import Any

import click

from backup_to_image.cli.options import Options, common_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  b2i teardown 3f9a1c22b7d0
  b2i teardown 3f9a1c22b7d0 --yes-i-mean shop-db-01-restored
"""


@click.command("teardown", epilog=_EPILOG)
@click.argument("launch_id")
@click.option("--yes-i-mean", metavar="NAME", help="The server's name, where nobody can be asked.")
@common_options
@click.pass_obj
def command(options: Options, launch_id: str, yes_i_mean: str | None) -> int:
    """Remove the servers of LAUNCH_ID with their disks and addresses; asks for the server's name unless it is a drill's.

    Only what carries the launch's mark in this project is touched. Safe to repeat: what is gone counts as done.
    """
    from backup_to_image.cli.output import Output, pairs
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.errors import UsageError
        from backup_to_image.steps.teardown import find_launch, tear_down

        async with connected(options, output) as ctx:
            found = await find_launch(launch_id, ctx)
            if found.servers and not found.drill:
                said = yes_i_mean
                if said is None and sys.stdin.isatty() and not options.json:
                    said = click.prompt(
                        f"This deletes {', '.join(one.name for one in found.servers)} and its disks. Its name", err=True
                    )
                if said != found.name:
                    wrong = f"{said!r} is not its name" if said else "this is no drill server, so its name is asked for"
                    raise UsageError(
                        f"Nothing was deleted: {wrong}.", action=f"Add --yes-i-mean with the server's name ({found.name})."
                    )
            done = await tear_down(found, ctx)
            outcome = "partly" if done.left_behind else "made" if done.servers else "adopted"
            output.result({"outcome": outcome, **done.model_dump(mode="json")})
            if not (done.servers or done.disks or done.public_ips):
                output.show(f"Nothing carries the mark of launch {launch_id}: nothing to do.")
                return 0
            rows = [
                ("servers", ", ".join(done.servers)),
                ("disks", ", ".join(done.disks)),
                ("addresses", ", ".join(done.public_ips)),
                ("left behind", ", ".join(done.left_behind)),
            ]
            output.show(
                pairs(f"Launch {launch_id} is gone" if not done.left_behind else f"Launch {launch_id}: something is left", rows)
            )
            return 5 if done.left_behind else 0

    blank: dict[str, Any] = {
        "outcome": None,
        "launch_id": launch_id,
        "servers": [],
        "disks": [],
        "public_ips": [],
        "left_behind": [],
        "error": None,
    }
    return perform(options, work, blank=blank)
