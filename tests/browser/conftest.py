"""Fixtures: a real Chromium, servers, and pages that may send requests to their own server only."""

import io
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytest_asyncio
from PIL import Image
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from faceattr_aio.pipelines.imaging import Pixels
from tests.support.gate import Gate
from tests.support.process import TRICK, Server, start_server

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
CONFIG = """
[cache]
backend = "none"
[inference]
workers = 1
limit = 2
[upload]
max_bytes = 1000000
[image]
max_pixels = 4000000
[pipelines.faces]
"""
LOCKED = """
[inference]
workers = 1
[auth]
keys = ["a-key-for-the-page"]
[clients]
requests_per_minute = 1
[pipelines.faces]
"""
SEVERE = {"serious", "critical"}
RECTS = """(all) => all.filter((one) => !one.hidden).map((one) => {
  const { x, y, width, height } = one.getBoundingClientRect();
  return [x, y, width, height];
})"""

Visit = Callable[..., Any]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="package")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    gate = Gate(tmp_path_factory.mktemp("held") / "gate")
    yield gate
    gate.close()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Server]:
    """A server with the pipelines faces and trick, a limit of two, and a gate that holds trick."""
    server = start_server(tmp_path_factory.mktemp("server"), f'{CONFIG}{TRICK}gate = "{gate.folder}"\n', {})
    yield server
    server.kill()


@pytest.fixture(scope="package")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that requires a key and accepts one request per minute."""
    server = start_server(tmp_path_factory.mktemp("locked"), LOCKED, {})
    yield server
    server.kill()


class Watch:
    """Records requests to other origins, errors and warnings of a page."""

    def __init__(self, page: Page, origin: str) -> None:
        self.foreign: list[str] = []
        self.wrong: list[str] = []
        self._origin = origin
        page.on("request", self._request)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._console)
        page.on("response", self._response)

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self._origin}/", f"blob:{self._origin}/")):
            self.foreign.append(request.url)

    def _response(self, response: Response) -> None:
        if response.status == 404:
            self.wrong.append(f"{response.url} is missing")

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.wrong.append(message.text)


@pytest.fixture(scope="package")
def visit(browser: Browser) -> Visit:
    """Opens a page in a new browser context. At the end it fails when the page sent a request to another server, or the
    browser logged an error or a warning, for example about the Content-Security-Policy.
    """

    @asynccontextmanager
    async def open_page(url: str, **visitor: Any) -> AsyncIterator[Page]:
        context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}, "locale": "en"} | visitor))
        page = await context.new_page()
        watch = Watch(page, "/".join(url.split("/")[:3]))
        await page.goto(url)
        await expect(page.locator("#language")).not_to_be_empty()
        yield page
        await context.close()
        assert (watch.foreign, watch.wrong) == ([], [])

    return open_page


@pytest.fixture(scope="session")
def group(astronaut: Pixels) -> tuple[bytes, list[tuple[float, float]]]:
    """A picture of nine faces, and the centres of the faces in pixels."""
    side, face = 240, astronaut[:200, 125:325]
    canvas, middles = np.full((540, 1240, 3), (168, 160, 150), np.uint8), []
    for top, number in ((20, 5), (280, 4)):
        for k in range(number):
            left = int((k + 0.5) * 1240 / number - side / 2)
            canvas[top : top + side, left : left + side] = cv2.resize(face, (side, side))
            middles.append((left + (226 - 125) * side / 200, top + 121 * side / 200))
    return cv2.imencode(".jpg", canvas)[1].tobytes(), middles


@pytest.fixture(scope="session")
def blank() -> bytes:
    """A grey picture."""
    return cv2.imencode(".jpg", np.full((300, 400, 3), 127, np.uint8))[1].tobytes()


def picture(data: bytes, name: str = "astronaut.jpg") -> Any:
    """A file for `set_input_files` of Playwright."""
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


async def rects(page: Page, selector: str) -> Any:
    """X, y, width and height of the visible elements."""
    return np.array(await page.locator(selector).evaluate_all(RECTS))


async def shoot(page: Page, name: str, *, whole: bool = True) -> None:
    """Saves a screenshot of the page, or of its visible part, in the folder FACEATTR_SCREENSHOTS if that is set."""
    if folder := os.environ.get("FACEATTR_SCREENSHOTS"):
        shot = Image.open(io.BytesIO(await page.screenshot(full_page=whole, animations="disabled")))
        Path(folder).mkdir(parents=True, exist_ok=True)
        shot.convert("RGB").quantize(256).save(Path(folder) / f"{name}.png", optimize=True)


async def axe(page: Page) -> list[str]:
    """The serious and critical violations that axe-core finds."""
    script = (files("axe_playwright_python") / "axe.min.js").read_text()
    await page.evaluate(script + ";0")
    found = json.loads(await page.evaluate("axe.run().then((found) => JSON.stringify(found.violations))"))
    return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in SEVERE]
