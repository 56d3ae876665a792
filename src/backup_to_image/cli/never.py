"""What full-ECS images do not take, said where people ask for it: export and replication (BEHAVIOUR.md 8)."""

from __future__ import annotations

from typing import Any

import click

from backup_to_image.cli.options import Options, common_options

__all__ = ["refusing_command"]

BLANK: dict[str, Any] = {"outcome": None, "image_id": None, "report": None, "error": None}

_INSTEAD = (
    "To have the server in another region, copy its backup there with CBR replication (it takes a replication vault), and make "
    "an image of the copy: `b2i create BACKUP`. To have it in another project of the same region, share the image: "
    "`b2i share IMAGE PROJECT`."
)


def refusing_command(verb: str, done: str, code: str) -> click.Command:
    """The command of that name: it asks the cloud for nothing and refuses, whatever else was said, as a check would."""

    @click.command(verb, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
    @click.argument("image", required=False)
    @common_options
    @click.pass_obj
    def command(options: Options, image: str | None) -> int:
        from backup_to_image.cli.output import Output
        from backup_to_image.cli.session import perform
        from backup_to_image.errors import Refused
        from backup_to_image.model import Check, Report

        async def work(output: Output) -> int:
            output.words = ()
            check = Check(
                rule=verb,
                verdict="refused",
                why=f"a full-ECS image cannot be {done}, and there is no way around it",
                action=_INSTEAD,
                code=code,
                page="IMS umn/source/creating_a_private_image/creating_a_full-ecs_image_from_a_cbr_backup.rst",
            )
            raise Refused(Report(subject=image or "a full-ECS image", checks=(check,)))

        return perform(options, work, blank=BLANK | {"image_id": image})

    command.help = f"Refused: a full-ECS image cannot be {done}. Says what to do instead: copy the backup, or share the image."
    return command
