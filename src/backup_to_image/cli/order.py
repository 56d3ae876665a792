"""The options that make an image order, shared by `create` and `validate`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

__all__ = ["LENGTH", "build_order", "launch_file", "order_options"]

F = TypeVar("F", bound=Callable[..., Any])


class _Length(click.ParamType[timedelta]):
    """A length of time: 90s, 2m, 1h, 1d."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        from pydantic import TypeAdapter, ValidationError

        from backup_to_image.model import Duration

        try:
            return TypeAdapter[timedelta](Duration).validate_python(str(value))
        except ValidationError as error:
            self.fail(error.errors()[0]["msg"].removeprefix("Value error, "), param, ctx)


LENGTH = _Length()

_OPTIONS = (
    click.option("--name", metavar="N", help="Image name; {server}, {backup_created:%Y%m%d}, {backup_short} are filled in."),
    click.option("--description", metavar="T", default="", help="Image description, at most 1024 characters."),
    click.option("--tag", "tags", metavar="K=V", multiple=True, help="Tag of the image; may be repeated, five at most."),
    click.option(
        "--share-with", metavar="P", multiple=True, help="Project id or alias of b2i.yaml; may be repeated, ten at most."
    ),
    click.option("--share-for", type=LENGTH, metavar="30d", help="End the sharing after so long, by `b2i sweep --apply`."),
    click.option("--launch", "launch_spec", metavar="SPEC.yaml", help="Launch order: a server from the image, probed."),
    click.option("--wait-backup", type=LENGTH, metavar="1h", help="Wait so long for a backup that is still being made."),
    click.option("--timeout", type=LENGTH, metavar="2h", default="2h", show_default=True, help="Wait so long for the image."),
)


def order_options(command: F) -> F:
    """Add the options of an image order to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def build_order(
    backup_id: str,
    *,
    name: str | None,
    description: str,
    tags: tuple[str, ...],
    share_with: tuple[str, ...],
    share_for: timedelta | None,
    launch_spec: str | None,
    wait_backup: timedelta | None,
    timeout: timedelta,
) -> Any:
    """An ImageOrder from options. Raises UsageError with every mistake of the options and of the launch file at once."""
    from backup_to_image.errors import UsageError
    from backup_to_image.model import ImageOrder

    problems: list[str] = []
    pairs: dict[str, str] = {}
    for tag in tags:
        key, separator, value = tag.partition("=")
        if not separator or not key:
            problems.append(f"--tag {tag!r}: write it as KEY=VALUE.")
        elif key in pairs:
            problems.append(f"--tag {key}: given twice.")
        pairs[key] = value
    if share_for is not None and not share_with:
        problems.append("--share-for says how long; --share-with says with whom, and is missing.")
    if share_for == timedelta(0):
        problems.append("--share-for: a share that ends at once is none; leave out --share-with.")
    launch = None
    if launch_spec:
        try:
            launch = launch_file(launch_spec)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(problems)
    return ImageOrder(
        backup_id=backup_id,
        name=name,
        description=description,
        tags=pairs,
        share_with=share_with,
        share_for=share_for,
        launch=launch,
        wait_backup=wait_backup,
        timeout=timeout,
    )


def launch_file(path: str) -> Any:
    """A launch order from its file. Raises UsageError with every mistake as file:line."""
    from backup_to_image.model import LaunchOrder
    from backup_to_image.yamlfile import load_file

    return load_file(Path(path), LaunchOrder, "launch order")
