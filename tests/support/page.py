"""A page as a browser would take it apart, to see what it loads, runs and shows."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """The elements of a page.

    Args:
        text: The HTML.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: set[str] = set()  # every address in an attribute
        self.handlers: set[str] = set()  # attributes that run script
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect an element and its attributes."""
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data", "xlink:href", "style"):
                self.links.add(value or "")
            if name.startswith("on"):
                self.handlers.add(name)

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.words.append(data)

    @property
    def text(self) -> str:
        """What the page shows."""
        return "".join(self.words)
