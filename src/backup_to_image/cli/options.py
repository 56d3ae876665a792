"""Options that every command takes, before or after its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from backup_to_image.clock import Clock
    from backup_to_image.forms import ActionForm
    from backup_to_image.otc import Cloud
    from backup_to_image.told.told import Told

__all__ = ["Options", "common_options"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Options:
    """What was said before or after the command's name; the later word counts."""

    cloud: str | None = None
    region: str | None = None
    config: str | None = None
    json: bool = False
    prefect: bool = False
    block: str = "b2i"
    trace: str | None = None
    verbose: int = 0
    quiet: bool = False
    words: tuple[str, ...] = ()
    """The command as it was typed, without `b2i`: what to go on with is told in its own words."""
    connect: Callable[..., AbstractAsyncContextManager[Cloud]] | None = None
    """Whoever runs a command inside his own process may say how its cloud is reached; else `Cloud.connect`, over the network."""
    clock: Clock | None = None
    """The same of the time, where no cloud tells it."""
    order: Callable[[ActionForm, dict[str, str | None], Callable[[str], None]], Awaitable[Told]] | None = None
    """The same of `--prefect`: who does what a form orders, with these blocks. Else the form's deployment."""


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    said = ctx.get_parameter_source(param.name or "")
    if said is not None and said.name != "DEFAULT" and param.name:
        setattr(ctx.ensure_object(Options), param.name, value)
    return value


_OPTIONS = (
    click.option("--cloud", metavar="NAME", help="Entry of clouds.yaml; OS_CLOUD and OS_* count otherwise."),
    click.option("--region", metavar="REGION", help="Region, where the entry has several."),
    click.option("--config", metavar="FILE", help="Our settings; else B2I_CONFIG, ./b2i.yaml, ~/.config/b2i/b2i.yaml."),
    click.option("--json", is_flag=True, help="One JSON object on standard output, everything else on standard error."),
    click.option("--prefect/--no-prefect", default=False, help="Let the deployment at PREFECT_API_URL do it, and follow it."),
    click.option("--block", metavar="NAME", default="b2i", help="Credentials block for --prefect.", show_default=True),
    click.option("--trace", metavar="FILE", help="Write every exchange with the cloud, without secrets, one JSON a line."),
    click.option("-v", "--verbose", count=True, help="Say more; -vv shows every request."),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing but the result."),
)


def common_options(command: F) -> F:
    """Add the common options to a command; they are kept in the context's `Options`, not passed as arguments."""
    for option in reversed(_OPTIONS):
        command = option(command)
    for parameter in getattr(command, "__click_params__", []):
        if parameter.name in Options.__dataclass_fields__ and parameter.callback is None:
            parameter.callback = _keep
            parameter.expose_value = False
            parameter.is_eager = False
    return command
