"""What the files in the worker's directories ask to be deployed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from backup_to_image.blocks import DEFAULT_BLOCK

__all__ = ["FromFiles", "block_of"]


@dataclass
class FromFiles:
    """What the files of a directory ask to be deployed, and what stands against some of them."""

    declared: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """In the words of prefect.yaml; `block` names the credentials block and `cloud` its entry of clouds.yaml."""
    refused: dict[str, str] = field(default_factory=dict[str, str])
    """Why, by file name."""


def block_of(cloud: str | None) -> str:
    """The credentials block for a file's cloud; Prefect takes small letters, digits and dashes."""
    if cloud is None:
        return DEFAULT_BLOCK
    return "".join(char if char.isalnum() and char.isascii() else "-" for char in cloud.lower())
