"""What every run of b2i would import and build anew: done once, in the process from which all of them are forked."""

import importlib
import pkgutil
from collections.abc import Iterator

from pydantic import BaseModel

import backup_to_image

_ASIDE = ("contract", "emulator", "blocks", "prefect_door", "submit")
"""What no such run imports: the cloud itself, and what needs Prefect."""
_LATE = (
    *("anyio._backends._asyncio", "certifi", "encodings.ascii", "encodings.idna", "h2.connection", "httpcore", "pwd"),
    "rich._emoji_codes",
)
"""What libraries import when they are first used."""


def _ours() -> Iterator[str]:
    for module in pkgutil.walk_packages(backup_to_image.__path__, f"{backup_to_image.__name__}."):
        if not set(module.name.split(".")) & set(_ASIDE):
            yield module.name


def _models(of: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in of.__subclasses__():
        yield model
        yield from _models(model)


for name in (*_LATE, *_ours()):
    importlib.import_module(name)
for one in _models():
    one.model_rebuild()
