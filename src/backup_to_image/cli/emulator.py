"""`b2i emulator`: the emulated cloud on loopback ports."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from backup_to_image.cli.options import Options, common_options

__all__ = ["command"]

_EPILOG = """\b
Examples:
  b2i emulator                                    seven ports from 8774, the company of the demo
  b2i emulator --port 0 --speed 20 --json         free ports, everything 20 times as fast
  b2i emulator --state cloud.db --seed mine.yaml  state that survives a restart, a company of your own
"""


@click.command("emulator", epilog=_EPILOG)
@click.option("--port", type=int, default=8774, show_default=True, help="IAM's port; the other six follow. 0: free ones.")
@click.option("--state", metavar="FILE", default=":memory:", help="Keep the state in this file; absent: in memory.")
@click.option("--speed", type=float, default=1.0, show_default=True, help="So many times as fast as the real one.")
@click.option("--seed", metavar="NAME|FILE", default="demo", show_default=True, help="The company to start with.")
@common_options
@click.pass_obj
def command(options: Options, port: int, state: str, speed: float, seed: str) -> int:
    """Run the emulated cloud until Ctrl-C. All it takes to use it stands at /_emulator/account on the first port."""
    from backup_to_image.emulator import SeedError
    from backup_to_image.emulator.serve import PortsTaken, run

    def ready(account: dict[str, Any]) -> None:
        if options.json:
            click.echo(json.dumps(account))
        elif not options.quiet:
            click.echo(_how_to_use(account))
        sys.stdout.flush()

    try:
        run(port=port, state=state, speed=speed, seed=seed, ready=ready)
    except (SeedError, PortsTaken, ValueError) as error:
        if options.json:
            wrong = {"code": "b2i.usage", "message": str(error), "action": "Correct it and start again.", "retryable": False}
            click.echo(json.dumps({"error": wrong}))
        else:
            click.echo(f"The emulated cloud did not start: {error}", err=True)
        return 2
    return 0


def _how_to_use(account: dict[str, Any]) -> str:
    usable = account["backups"]["available"][0]
    return "\n".join(
        (
            f"The emulated cloud listens on {account['auth_url']}, speed {account['speed']:g}. Ctrl-C ends it.",
            "",
            "In another terminal:",
            f"  export OS_AUTH_URL={account['auth_url']} OS_REGION_NAME={account['region']}",
            f"  export OS_USERNAME={account['user']} OS_PASSWORD={account['password']}",
            f"  export OS_USER_DOMAIN_NAME={account['domain_name']} OS_PROJECT_NAME={account['project_name']}",
            "  b2i backups --usable",
            f"  b2i create {usable}",
        )
    )
