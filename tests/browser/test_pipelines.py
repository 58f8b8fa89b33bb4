"""The page with the pipelines holistic and anime."""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from playwright.async_api import expect

from bench.support.generator import write_generator
from tests.browser.conftest import Visit, axe, picture, rects, shoot
from tests.support.process import Server, start_server

pytestmark = pytest.mark.asyncio(loop_scope="session")

CONFIG = """
[inference]
workers = 1
[pipelines.holistic]
"""
POINTS = """(path) => {
  const matrix = path.getScreenCTM();
  return path.getAttribute("d").slice(1).split("M").map((step) => {
    const [x, y] = step.replace("h0", "").split(" ").map(Number);
    const { x: left, y: top } = new DOMPoint(x, y).matrixTransform(matrix);
    return [left, top];
  });
}"""


@pytest.fixture(scope="module")
def anime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("anime")
    drawer = write_generator(folder / "drawer.onnx", 4)
    config = f'[inference]\nworkers = 1\n[pipelines.anime]\nstyles = []\nfiles = {{ mine = "{drawer}" }}\n'
    server = start_server(folder, config, {})
    yield server
    server.kill()


@pytest.fixture(scope="module")
def holistic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start_server(tmp_path_factory.mktemp("holistic"), CONFIG, {})
    yield server
    server.kill()


async def test_a_skeleton_is_drawn_where_the_person_is(visit: Visit, holistic: Server, jpeg: bytes) -> None:
    async with visit(f"{holistic.url}/") as page:
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".summary")).to_have_text("1 person")
        (shown,) = await rects(page, ".canvas img")
        pose = np.array(await page.locator(".joint[data-part=pose]").evaluate(POINTS))
        assert (pose[0] - shown[:2]) / shown[2:] == pytest.approx((0.438, 0.252), abs=0.03)
        assert len(await page.locator(".joint[data-part=face]").evaluate(POINTS)) == 468
        assert await page.locator(".limb[data-part=pose]").get_attribute("d")
        assert not await axe(page)
        await shoot(page, "person")


async def test_a_picture_without_a_person_is_reported(visit: Visit, holistic: Server, blank: bytes) -> None:
    async with visit(f"{holistic.url}/") as page:
        await page.set_input_files("#files", picture(blank))
        await expect(page.locator(".summary")).to_have_text("No person found")


async def test_the_slider_shows_the_converted_picture_over_the_original(
    visit: Visit, anime: Server, jpeg: bytes
) -> None:
    async with visit(f"{anime.url}/") as page:
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".summary")).to_have_text("Done")
        before, after = await rects(page, ".canvas img")
        assert (before == after).all()
        slider = page.get_by_role("slider", name="astronaut.jpg, before and after")
        for value, hidden in (("50", "50%"), ("0", "0%"), ("100", "100%")):
            await slider.fill(value)
            await expect(page.locator(".after")).to_have_css("clip-path", re.compile(rf"{hidden}\)$"))
        await slider.focus()
        await page.keyboard.press("ArrowLeft")
        await expect(slider).to_have_value("99")
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download the picture").click()
        drawn = await download.value
        assert drawn.suggested_filename == "astronaut.anime.jpg"
        with Image.open(await drawn.path()) as shown:
            assert shown.size == (512, 512)
        assert not await axe(page)
