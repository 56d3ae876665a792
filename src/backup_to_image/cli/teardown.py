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
    from backup_to_image.cli.output import Output
    from backup_to_image.cli.session import connected, perform

    async def work(output: Output) -> int:
        from backup_to_image.forms import TeardownForm
        from backup_to_image.steps.launching.teardown import confirm, find_launch, tear_down
        from backup_to_image.told.teardown import told_teardown

        if options.prefect:
            from backup_to_image.cli.submit import submit_order

            return await submit_order(TeardownForm(launch_id=launch_id, name=yes_i_mean or ""), options, output)
        async with connected(options, output) as ctx:
            found = await find_launch(launch_id, ctx)
            if found.servers and not found.drill:
                said = yes_i_mean
                if said is None and sys.stdin.isatty() and not options.json:
                    said = click.prompt(
                        f"This deletes {', '.join(one.name for one in found.servers)} and its disks. Its name", err=True
                    )
                confirm(found, said, how="--yes-i-mean with")
            return output.told(told_teardown(await tear_down(found, ctx)))

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
