"""Every command with its options, as `--help` has them."""

from __future__ import annotations

from typing import Any

import click

from backup_to_image.cli import main
from backup_to_image.cli.options import common_options
from deployments.reference.page import code, list_of, paragraphs, table

__all__ = ["commands_page"]

_HEAD = ("option", "default", "meaning")


def commands_page() -> str:
    """All commands, in the order of `b2i --help`."""
    ctx = click.Context(main, info_name="b2i")
    found = [(name, main.get_command(ctx, name)) for name in main.list_commands(ctx)]
    shared = frozenset(option.name for option in _common())
    parts = [
        "# Commands and options",
        (
            "Every command with its arguments, options and defaults. What they do, their JSON, and examples: "
            "[commands](../cli.md). The same stands in `b2i COMMAND --help`."
        ),
        "## Options of every command",
        "They may stand before or after the command's name.",
        _options(_common()),
        *(text for name, one in found if one for text in _command(one, name, shared, "##")),
    ]
    return "\n\n".join(parts)


def _common() -> list[click.Option]:
    @click.command()
    @common_options
    def example() -> None: ...

    return [one for one in example.params if isinstance(one, click.Option)]


def _command(command: click.Command, name: str, shared: frozenset[str | None], mark: str) -> list[str]:
    options = [one for one in command.params if isinstance(one, click.Option) and one.name not in shared]
    pieces = [piece for piece in command.collect_usage_pieces(click.Context(command, info_name=name)) if piece != "[OPTIONS]"]
    if isinstance(command, click.Group):
        usage = f"{code(f'b2i {name}')} and one of those below."
    else:
        usage = code(" ".join(["b2i", name, *pieces, "[OPTIONS]"]))
    parts = [
        f"{mark} {name}",
        usage,
        paragraphs(command.help or ""),
    ]
    if options:
        parts.append(_options(options))
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            parts += _command(one, f"{name} {below}", shared, mark + "#")
    return parts


def _options(options: list[click.Option]) -> str:
    return table(_HEAD, [(_spelled(one), _default(one), one.help or "") for one in options])


def _spelled(option: click.Option) -> str:
    words = [*option.opts, *option.secondary_opts]
    if option.is_flag or option.count:
        return list_of(words)
    value = f" {option.make_metavar(click.Context(main))}"
    return list_of([*words[:-1], words[-1] + value]) + (", may be repeated" if option.multiple else "")


def _default(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    told: Any = option.to_info_dict().get("default")
    return code(told) if told not in (None, "", (), []) else ""
