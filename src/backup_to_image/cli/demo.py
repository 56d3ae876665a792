"""`b2i demo`: the whole job in front of the user's eyes, against the emulated cloud, from the wheel alone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click
import yaml

from backup_to_image.cli.options import Options, common_options

if TYPE_CHECKING:
    from backup_to_image.cli.output import Output

__all__ = ["command", "next_commands", "write_files"]

CLOUD = "b2i-demo"
_EPILOG = """\b
Examples:
  b2i demo
  b2i demo --speed 5        slower, to watch it
"""


@click.command("demo", epilog=_EPILOG)
@click.option("--speed", type=float, default=20.0, show_default=True, help="So many times as fast as the real cloud.")
@common_options
@click.pass_obj
def command(options: Options, speed: float) -> int:
    """Start the emulated cloud, make one backup into an image, share it, launch a server from it and reach it.

    Contacts nothing but loopback. In a terminal it then keeps the emulated cloud up, for the commands that it names.
    """
    from backup_to_image.cli.create import BLANK
    from backup_to_image.cli.session import perform

    async def work(output: Output) -> int:
        folder = Path(tempfile.mkdtemp(prefix="b2i-demo-"))
        try:
            return await _demo(options, output, folder, speed)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return perform(options, work, blank=BLANK)


async def _demo(options: Options, output: Output, folder: Path, speed: float) -> int:
    from backup_to_image.cli.output import delivery_json, delivery_lines
    from backup_to_image.cli.session import connected
    from backup_to_image.emulator import Emulator
    from backup_to_image.emulator.serve import serve
    from backup_to_image.steps.pipeline import image_from_backup

    emulator = Emulator(speed=speed, first_port=0)
    started: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
    cloud = asyncio.create_task(serve(emulator, ready=started.set_result))
    try:
        await asyncio.wait({cloud, started}, return_when=asyncio.FIRST_COMPLETED)
        if cloud.done():
            cloud.result()
        account = started.result()
        output.say(f"the emulated cloud listens on {account['auth_url']}, {speed:g} times as fast as a real one")
        files = write_files(account, folder)
        here = Options(cloud=CLOUD, config=str(files["settings"]), json=options.json, quiet=options.quiet)
        with _clouds_file(files["clouds"]):
            async with connected(here, output) as ctx:
                delivery = await image_from_backup(demo_order(account, files["launch"]), ctx)
        output.result(delivery_json(delivery))
        output.show(*delivery_lines(delivery))
        if sys.stdin.isatty() and not options.json:
            output.show(
                "",
                "The emulated cloud stays up. Try, in another terminal:",
                *next_commands(files, delivery),
                "",
                "Ctrl-C ends it.",
            )
            await cloud
        else:
            output.show("", "Started from a terminal, it keeps the emulated cloud up and names three commands to try next.")
        return 5 if delivery.outcome == "partly" else 0
    finally:
        cloud.cancel()
        await asyncio.gather(cloud, return_exceptions=True)


def demo_order(account: dict[str, Any], launch: Path) -> Any:
    """The order of the demo: the account's first good backup, shared with the second project, launched and probed."""
    from backup_to_image.model import ImageOrder, LaunchOrder
    from backup_to_image.yamlfile import load_file

    order = load_file(launch, LaunchOrder, "launch order")
    return ImageOrder(backup_id=account["backups"]["available"][0], share_with=("dr",), launch=order)


def write_files(account: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Everything a person needs to work with the emulated cloud: clouds.yaml, b2i.yaml, a launch order, a journal's folder."""
    launch_folder = folder / "launch"
    launch_folder.mkdir(parents=True, exist_ok=True)
    files = {"clouds": folder / "clouds.yaml", "settings": folder / "b2i.yaml", "launch": launch_folder / "restored.yaml"}
    auth = {
        "auth_url": account["auth_url"],
        "username": account["user"],
        "password": account["password"],
        "user_domain_name": account["domain_name"],
        "project_name": account["project_name"],
    }
    _write(files["clouds"], {"clouds": {CLOUD: {"auth": auth, "region_name": account["region"]}}})
    settings = {
        "projects": {"dr": account["second_project"]},
        "journal": str(folder / "journal"),
        "directories": {"launch": str(launch_folder)},
    }
    _write(files["settings"], settings)
    _write(
        files["launch"],
        {
            "name": "shop-web-01-restored",
            "network": {"vpc": account["vpc"], "subnet": account["subnet"], "security_groups": [account["security_group"]]},
            "login": {"key_pair": account["keypair"]},
            "tags": {"purpose": "demo"},
            "probes": [{"tcp": 2222}, {"http": {"port": 8080, "path": "/health"}}, {"console": "login:"}],
        },
    )
    return files


def next_commands(files: dict[str, Path], delivery: Any) -> tuple[str, ...]:
    """Three commands worth trying next."""
    clouds, settings = quote(str(files["clouds"])), quote(str(files["settings"]))
    environment = f"OS_CLIENT_CONFIG_FILE={clouds} OS_CLOUD={CLOUD} B2I_CONFIG={settings}"
    launch = f"b2i teardown {delivery.launch.launch_id}" if delivery.launch else "b2i doctor"
    return (
        f"  export {environment}",
        "  b2i backups                            what could become an image, and why not",
        f"  b2i create {delivery.backup_id}   again: it adopts",
        f"  {launch:<38} remove the server, prove that nothing is left",
    )


def _write(path: Path, content: dict[str, Any]) -> None:
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


@contextlib.contextmanager
def _clouds_file(path: Path) -> Generator[None]:
    """OS_CLIENT_CONFIG_FILE for a while, and none of the person's own OS_* in between."""
    own = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OS_")}
    os.environ["OS_CLIENT_CONFIG_FILE"] = str(path)
    try:
        yield
    finally:
        del os.environ["OS_CLIENT_CONFIG_FILE"]
        os.environ.update(own)
