"""Checks the pages of the documentation: links, names of settings, both languages. tests/docs runs their code."""

import re
from collections import Counter
from pathlib import Path

import pytest

import faceattr_aio
from faceattr_aio.config.load import leaves
from faceattr_aio.config.schema import Config
from tests.docs.pages import PAGES, anchors, blocks, code_spans, headings, links, prose
from tests.support.process import ROOT

README, CHINESE = ROOT / "README.md", ROOT / "README.zh.md"
OF_EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@OF_EACH_PAGE
def test_every_link_has_a_target(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue  # an address outside of the project
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors(file), f"{page.name} links to {link}"


@OF_EACH_PAGE
def test_every_named_setting_exists(page: Path) -> None:
    known = {key for key, _ in leaves(Config().model_dump(mode="json"))}
    sections = "|".join(section for section in Config.model_fields if section != "pipelines")
    named = {found[0] for span in code_spans(page) if (found := re.match(rf"({sections})\.[a-z_]+(?= =|$)", span))}
    assert named <= known


def test_readme_links_to_every_page_and_is_short() -> None:
    pages = {str(page.relative_to(ROOT)) for page in PAGES if page.parent.name == "docs"}
    assert pages <= {link.partition("#")[0] for link in links(README)}
    assert len(README.read_text().splitlines()) < 200


def test_the_chinese_readme_has_the_same_code_links_and_numbers() -> None:
    assert [block.text for block in blocks(CHINESE)] == [block.text for block in blocks(README)]
    assert Counter(code_spans(CHINESE)) == Counter(code_spans(README))
    assert [level for level, _ in headings(CHINESE)] == [level for level, _ in headings(README)]
    assert links(CHINESE)[0] == README.name
    assert links(README)[0] == CHINESE.name
    assert Counter(links(CHINESE)[1:]) == Counter(links(README)[1:])
    assert _numbers(CHINESE) == _numbers(README)


def _numbers(page: Path) -> Counter[str]:
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", prose(page)))


def test_every_problem_type_is_documented() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for error in vars(faceattr_aio.errors).values():
        if isinstance(error, type) and issubclass(error, faceattr_aio.FaceattrError):
            assert f"`{error.kind}`" in text
