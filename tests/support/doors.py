"""The ways in which people order an image. A promise holds through each of them."""

from typing import Any, Protocol

from tests.support.region import Ended, Region

__all__ = ["CommandLine", "Door"]


class Door(Protocol):
    """An order goes in; its exit code and the one JSON object come out, the same through every door."""

    region: Region

    def create(self, backup: str, **order: Any) -> Ended:
        """Order an image. `order`: name, description, tags {}, share_with [], launch (a file's name), wait_backup, timeout,
        after_failure, dry_run; as `b2i create` takes them."""
        ...


class CommandLine:
    """`b2i create ... --json`."""

    def __init__(self, region: Region) -> None:
        self.region = region

    def create(self, backup: str, **order: Any) -> Ended:
        return self.region.b2i("create", backup, *_words(order))


def _words(order: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in order.items():
        option = "--" + name.replace("_", "-")
        if name == "tags":
            words += [word for key, text in value.items() for word in ("--tag", f"{key}={text}")]
        elif name == "share_with":
            words += [word for project in value for word in (option, project)]
        elif isinstance(value, bool):
            words += [option] if value else []
        elif value is not None:
            words += [option, str(value)]
    return words
