"""Parses the pages of the documentation: blocks of code, links, headings and text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.support.process import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "models/*.md", "bench/**/*.md")
    for path in ROOT.glob(pattern)
    if "reports" not in path.parts
)

PRINTED = {"json", "text"}
"""Languages of blocks that show the output of the block before them."""


@dataclass(frozen=True)
class Block:
    """One block of code. `name` is the file name after its language, as in ```python blur.py. `shown` is whether the
    next block shows its output.
    """

    page: Path
    line: int
    language: str
    name: str
    text: str
    shown: bool

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def tokens(page: Path) -> list[Token]:
    """Return all tokens of a page, including those within paragraphs."""
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        found += [token, *(token.children or ())]
    return found


def blocks(page: Path) -> list[Block]:
    """Return the blocks in order. The language of an indented block is `sh`."""
    found = [token for token in tokens(page) if token.type in {"fence", "code_block"}]
    following = [token.info in PRINTED for token in found[1:]]
    return [_block(page, token, shown) for token, shown in zip(found, [*following, False], strict=False)]


def _block(page: Path, token: Token, shown: bool) -> Block:
    language, _, name = token.info.partition(" ") if token.type == "fence" else ("sh", "", "")
    assert token.map is not None
    return Block(page, token.map[0] + 1, language, name, token.content, shown)


def code_spans(page: Path) -> list[str]:
    """Return the code within sentences."""
    return [token.content for token in tokens(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Return the targets of links and pictures in order."""
    found = [token.attrGet(name) for token in tokens(page) for name in ("href", "src")]
    return [str(target) for target in found if target]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as in links."""
    return {_slug(text) for _, text in headings(page)}


def headings(page: Path) -> Iterator[tuple[str, str]]:
    """Yield level (h1, h2, ...) and text of each heading."""
    found = tokens(page)
    for opening, inline in pairwise(found):
        if opening.type == "heading_open":
            yield opening.tag, inline.content


def prose(page: Path) -> str:
    """Return the text of a page without code."""
    return "\n".join(token.content for token in tokens(page) if token.type == "text")


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
