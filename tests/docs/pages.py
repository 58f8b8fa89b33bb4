"""What the pages for people are made of: blocks of code, links, headings, words. Runs nothing."""

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
"""Languages of blocks that say what the block before them prints."""


@dataclass(frozen=True)
class Block:
    """One block of code. `name` is the second word after its fence, as in ```python blur.py: the file that it is.
    `shown` tells whether the next block is what it prints.
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
    """The page as Markdown has it, what stands within paragraphs included."""
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        found += [token, *(token.children or ())]
    return found


def blocks(page: Path) -> list[Block]:
    """In their order. What is indented is meant for a shell."""
    found = [token for token in tokens(page) if token.type in {"fence", "code_block"}]
    following = [token.info in PRINTED for token in found[1:]]
    return [_block(page, token, shown) for token, shown in zip(found, [*following, False], strict=False)]


def _block(page: Path, token: Token, shown: bool) -> Block:
    language, _, name = token.info.partition(" ") if token.type == "fence" else ("sh", "", "")
    assert token.map is not None
    return Block(page, token.map[0] + 1, language, name, token.content, shown)


def code_spans(page: Path) -> list[str]:
    """The code that stands within sentences."""
    return [token.content for token in tokens(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Where links lead and pictures are, in their order."""
    found = [token.attrGet(name) for token in tokens(page) for name in ("href", "src")]
    return [str(target) for target in found if target]


def anchors(page: Path) -> set[str]:
    """The names of the headings, as links to them have it."""
    return {_slug(text) for _, text in headings(page)}


def headings(page: Path) -> Iterator[tuple[str, str]]:
    """The level (h1, h2, ...) and the text of each."""
    found = tokens(page)
    for opening, inline in pairwise(found):
        if opening.type == "heading_open":
            yield opening.tag, inline.content


def prose(page: Path) -> str:
    """All words that are no code."""
    return "\n".join(token.content for token in tokens(page) if token.type == "text")


def _slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
