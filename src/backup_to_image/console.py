"""Links into the cloud's own console, built in this one place. Nothing here asks the console for anything.

What the links look like: the page "Querying Cloud Services, Resources, and Regions Supported by RMS" of the Resource Management
Service names `ecm`, `#/ecs/manager/vmList` and `#/ecs/manager/ecsDetail?instanceId={id}`. No public page names such an address
for one image, backup or vault, so those lead to the list of their kind, in the right region, and the id stands beside the link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from backup_to_image.pages.words import short

__all__ = ["Console", "Kind"]

Kind = Literal["backup", "image", "server", "vault"]

_PAGES: dict[Kind, tuple[str, str]] = {
    "server": ("ecm", "#/ecs/manager/ecsDetail?instanceId={id}"),
    "image": ("ecm", "#/ims/manager/imageList/selfImage"),
    "backup": ("console", "#/cbr/manager/csbs/vaultList"),
    "vault": ("console", "#/cbr/manager/csbs/vaultList"),
}
_LISTS = {
    "images": _PAGES["image"],
    "servers": ("ecm", "#/ecs/manager/vmList"),
    "backups and vaults": _PAGES["vault"],
}
_MARKUP = re.compile(r"[\\`*_\[\]<>~&@]|:(?=//)|(?<=www)\.", re.IGNORECASE)
_LONGEST = 128


@dataclass(frozen=True, slots=True)
class Console:
    """The console at an address, in a region. Without either there are no links, and names and ids stand alone."""

    address: str | None = None
    region: str | None = None

    def page(self, kind: Kind, ident: str) -> str | None:
        """Where the console shows it, or the list that it is in; None: there is no console.

        >>> Console("https://console.example.com", "eu-de").page("server", "57bb c0a7")
        'https://console.example.com/ecm/?region=eu-de#/ecs/manager/ecsDetail?instanceId=57bb%20c0a7'
        >>> Console("https://console.example.com", "eu-de").page("image", "57bbc0a7")
        'https://console.example.com/ecm/?region=eu-de#/ims/manager/imageList/selfImage'
        >>> Console(None, "eu-de").page("image", "57bbc0a7")
        """
        part, place = _PAGES[kind]
        return self._at(part, place.replace("{id}", quote(ident, safe="")))

    def link(self, kind: Kind, ident: str, name: str = "") -> str:
        """A thing in Markdown: its name as a link, its id beside it.

        >>> Console("https://console.example.com", "eu-de").link("server", "57bbc0a7", "shop-web-01")
        '[shop-web-01](https://console.example.com/ecm/?region=eu-de#/ecs/manager/ecsDetail?instanceId=57bbc0a7) `57bbc0a7`'
        >>> Console().link("server", "57bbc0a7", "shop|web")
        'shop&#124;web `57bbc0a7`'
        """
        shown = f"`{short(ident, _LONGEST).replace('`', ' ').replace('|', ' ')}`" if ident else ""
        words = _MARKUP.sub(r"\\\g<0>", short(name, _LONGEST)).replace("|", "&#124;")  # as no table takes for its own
        page = self.page(kind, ident)
        if page:
            words = f"[{words or kind}]({page})"
        return f"{words} {shown}".strip()

    @property
    def lists(self) -> str:
        """Where the lists are, in Markdown; empty: there is no console.

        >>> Console("https://console.example.com", "eu-de").lists[:72]
        'In the console: [images](https://console.example.com/ecm/?region=eu-de#/'
        >>> Console().lists
        ''
        """
        found = {words: self._at(*place) for words, place in _LISTS.items()}
        told = ", ".join(f"[{words}]({page})" for words, page in found.items() if page)
        return f"In the console: {told}." if told else ""

    def _at(self, part: str, place: str) -> str | None:
        if not self.address or not self.region:
            return None
        return f"{self.address.rstrip('/')}/{part}/?region={quote(self.region, safe='')}{place}"
