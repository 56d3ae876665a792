"""`b2i`: arguments, output, exit codes. The rules are in `steps`; Prefect is loaded for `--prefect` alone.

Exit codes: 0 done (also nothing to do, or adopted); 1 the cloud failed it or cannot be reached; 2 usage, configuration, log-in
refused; 3 refused by validation; 4 still running in the cloud, the same command resumes; 5 partly done; 130 and 143 interrupted.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import click

from backup_to_image import __version__
from backup_to_image.cli.options import Options, common_options

__all__ = ["main", "run"]

# name: (module, what --help says). The modules are imported only when their command is called, so that help is quick.
_COMMANDS = {
    "doctor": ("doctor", "Can I log in, which rights, quotas and vaults are there, what is missing."),
    "backups": ("backups", "List the backups that could become an image, and why the others cannot."),
    "validate": ("validate", "Check a backup and an order by every rule; nothing is made."),
    "create": ("create", "Make the full-ECS image of a backup; share it and launch a server if told to."),
    "share": ("share", "Share an image with projects, or list whom it is shared with."),
    "unshare": ("unshare", "Take an image back from projects."),
    "accept": ("accept", "Take an image that another project has shared with this one, or list what is offered."),
    "reject": ("reject", "Turn down an image that another project has shared with this one."),
    "hand-over": ("hand_over", "Share an image and accept it there, with the log-ins of both sides."),
    "launch": ("launch", "Launch a server from a full-ECS image and ask whether it lives."),
    "teardown": ("teardown", "Remove a launch: servers, disks, addresses; prove that nothing is left."),
    "change-os": ("change_os", "Replace a server's system disk by an image's; data disks stay as they are."),
    "nightly": ("nightly", "Give every server of a policy its image of tonight."),
    "runbook": ("runbook", "Bring a set of servers back, in order: whether it would work, as a drill, for real."),
    "retention": ("retention", "Show which images of a policy stay and which go, by which rule; delete those with --apply."),
    "reconcile": ("reconcile", "Finish what killed or impatient runs left; tell what was never begun."),
    "board": ("board", "The fleet in the morning: newest images, their age, what is late or failing."),
    "sweep": ("sweep", "Find dead images, drills that stayed, shares that are over; remove them with --apply."),
    "export": ("export", "Not possible with a full-ECS image: says why, and what to do instead."),
    "replicate": ("replicate", "Not possible with a full-ECS image: says why, and what to do instead."),
    "emulator": ("emulator", "Run the emulated cloud on loopback ports."),
    "demo": ("demo", "See the whole job in a minute, against the emulated cloud."),
}

_EPILOG = """\b
Try first:
  b2i demo                                   the whole job, nothing needed
  b2i doctor                                 can I log in, what may I do
  b2i backups --usable                       what could become an image
  b2i validate BACKUP                        every check, no side effect
  b2i create BACKUP --share-with dr          the job itself; run it again at any time

Exit codes: 0 done or adopted, 1 the cloud failed it, 2 usage or log-in, 3 refused by a check,
4 still running (the same command resumes), 5 partly done, 130/143 interrupted.
"""


class _Commands(click.Group):
    """Commands by name, each imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"backup_to_image.cli.{_COMMANDS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="b2i")
@common_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Turn a CBR backup of a server into a full-ECS image on Open Telekom Cloud: never twice, never lost."""
    ctx.ensure_object(Options)


def run(arguments: list[str] | None = None, *, options: Options | None = None) -> None:
    """The console script: bad arguments end with 2 and, with --json, as an object like every other error.

    `options` are where the command's own words are added to; given by whoever runs it inside another process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    options = options or Options()
    options.words = tuple(given)
    try:
        result: Any = main.main(args=given, prog_name="b2i", obj=options, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.ctx.get_help() if asked.ctx else "")
        sys.exit(2)
    except click.ClickException as wrong:
        if "--json" in given:
            error = {"code": "b2i.usage", "message": wrong.format_message(), "action": "See --help.", "retryable": False}
            click.echo(json.dumps({"error": error}))
        else:
            wrong.show()
        sys.exit(2)
    except click.Abort:
        sys.exit(130)
    sys.exit(result if isinstance(result, int) else 0)
