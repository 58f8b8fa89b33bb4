"""Runs every block of code of README and docs, page by page from top to bottom."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docs.commands import NOT_RUN, commands, listed, look
from tests.docs.languages import attempt
from tests.docs.pages import PAGES, blocks, code_spans
from tests.docs.session import Session
from tests.support.process import ROOT

TRANSLATED = {ROOT / "README.zh.md"}
"""Pages with the same blocks as another one, as tests/test_docs.py checks."""
WITH_CODE = [page for page in PAGES if blocks(page) and page not in TRANSLATED]

WITH_PIXELS = {ROOT / "README.md", ROOT / "docs" / "pipelines.md"}


def _marked(page: Path) -> Any:
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=[pytest.mark.pixels] if page in WITH_PIXELS else [])


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    session = Session(tmp_path)
    yield session
    session.close()


@pytest.mark.parametrize("page", [_marked(page) for page in WITH_CODE])
def test_the_code_of_a_page_works(page: Path, session: Session) -> None:
    for block in blocks(page):
        try:
            attempt(session, block)
        except AssertionError as error:
            error.add_note(f"at {block.place}:\n{block.text}")
            raise


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_within_sentences_exist(page: Path) -> None:
    for span in code_spans(page):
        if span.startswith(("make ", "python -m bench.")) and "..." not in span:
            look(span)


def test_each_entry_of_not_run_matches_a_command() -> None:
    shells = [block.text for page in WITH_CODE for block in blocks(page) if block.language == "sh"]
    assert {listed(command) for text in shells for command in commands(text)} >= set(NOT_RUN)
