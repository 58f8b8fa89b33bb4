"""What README shows is what happens."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, FormData, web

import faceattr_aio
from tests.conftest import Serve
from tests.process import ROOT

pytestmark = pytest.mark.pixels

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run(code: str) -> web.Application:
    """The `app` that a block of code makes."""
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102  # our own README
    app: web.Application = names["app"]
    return app


def rough(value: object) -> object:
    """Numbers as far as two versions of OpenCV agree on them."""
    if isinstance(value, dict):
        return {key: rough(one) for key, one in value.items() if key != "id"}
    if isinstance(value, list):
        return [rough(one) for one in value]
    return (
        pytest.approx(value, abs=1.01 if isinstance(value, int) else 0.5) if isinstance(value, int | float) else value
    )


async def ask(url: str, client: ClientSession, png: Path) -> Any:
    form = FormData()
    form.add_field("image", png.read_bytes(), filename=png.name)
    async with client.post(url, data=form) as response:
        assert response.status == 200
        return await response.json()


async def test_the_answer_that_is_shown_is_the_answer(serve: Serve, client: ClientSession) -> None:
    (shown,) = blocks("json")
    (picture,) = re.findall(r"curl -F image=@(\S+)", README)
    url = await serve(faceattr_aio.make_app())
    answer = await ask(f"{url}/analyze", client, ROOT / picture)
    answer.pop("id")
    assert answer == rough(json.loads(shown))


async def test_the_mounted_app_serves(serve: Serve, client: ClientSession) -> None:
    url = await serve(run(blocks("python")[0]))
    assert len((await ask(f"{url}/vision/analyze", client, ROOT / "docs" / "astronaut.jpg"))["faces"]) == 1


async def test_the_handler_of_ones_own_serves(
    serve: Serve, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    url = await serve(run(blocks("python")[1]))
    async with client.get(f"{url}/count") as response:
        assert await response.json() == {"faces": 1}


def test_every_file_that_is_linked_is_there() -> None:
    for page in (ROOT / "README.md", ROOT / "models" / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_interface_is_documented_to_its_last_failure() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    for failure in vars(faceattr_aio.errors).values():
        if isinstance(failure, type) and issubclass(failure, faceattr_aio.FaceattrError):
            assert f"`{failure.kind}`" in text
