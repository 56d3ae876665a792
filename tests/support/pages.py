"""What a browser makes of a page, and names that would like to be more than names."""

from html.parser import HTMLParser

__all__ = ["NASTY", "Page"]

NASTY = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[click](https://evil.example/)",
    "![p](https://evil.example/p.png)",
    "a | b `c` **d** <https://evil.example> </style></title></svg>",
    "www.evil.example me@evil.example https://evil.example",
]


class Page(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data
