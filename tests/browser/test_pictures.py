"""Pictures on the page: drop, paste, choose or take them, and see the results."""

import asyncio
import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.async_api import Request, expect

from tests.browser.conftest import Visit, picture, rects, shoot
from tests.support.process import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

DROP = """([name, data]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: "image/jpeg" }));
  const intake = document.getElementById("intake");
  for (const type of ["dragover", "drop"]) {
    intake.dispatchEvent(new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
}"""
PASTE = DROP[: DROP.index("  const intake")] + (
    'dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));\n}'
)


def encoded(name: str, data: bytes) -> list[str]:
    return [name, base64.b64encode(data).decode()]


async def test_a_dropped_picture_shows_a_box_at_its_face(visit: Visit, server: Server, jpeg: bytes) -> None:
    async with visit(f"{server.url}/") as page:
        await page.evaluate(DROP, encoded("astronaut.jpg", jpeg))
        await expect(page.locator(".summary")).to_have_text("1 face")
        await expect(page.locator(".box")).to_have_count(1)
        await expect(page.locator(".label")).to_contain_text("Female 3")
        (box,), (shown,) = await rects(page, ".box"), await rects(page, ".canvas img")
        scale = 512 / shown[2]
        assert (box[:2] - shown[:2]) * scale == pytest.approx((173, 68), abs=8)
        assert box[2:] * scale == pytest.approx((106, 106), abs=8)
        await expect(page.locator("tbody tr")).to_have_count(1)
        stages = await page.locator(".timeline li").all_inner_texts()
        assert [stage.split()[0] for stage in stages] == ["upload", "queue", "decode", "detect", "attributes"]
        await shoot(page, "one-face")


async def test_a_group_shows_every_face_and_no_label_covers_another(
    visit: Visit, server: Server, group: tuple[bytes, list[tuple[float, float]]]
) -> None:
    data, middles = group
    async with visit(f"{server.url}/", color_scheme="dark") as page:
        await page.set_input_files("#files", picture(data, "group.jpg"))
        await expect(page.locator(".summary")).to_have_text("9 faces")
        (shown,) = await rects(page, ".canvas img")
        boxes = await rects(page, ".box")
        found = (boxes[:, :2] + boxes[:, 2:] / 2 - shown[:2]) * 1240 / shown[2]
        for middle in middles:
            assert np.abs(found - middle).sum(axis=1).min() < 30
        labels = await rects(page, ".label")
        assert len(labels) == 9
        assert not overlaps(labels)
        gaps = np.maximum(boxes[:, :2] - labels[:, :2] - labels[:, 2:], labels[:, :2] - boxes[:, :2] - boxes[:, 2:])
        assert gaps.max() <= 3  # each beside its own box
        await page.locator(".box").nth(2).hover()
        await expect(page.locator("tbody tr").nth(2)).to_have_class("on")
        await expect(page.locator(".tip")).to_contain_text("3 · Female")
        await shoot(page, "group-dark")
        await page.locator("tbody tr").nth(5).hover()
        await expect(page.locator(".box.on")).to_have_count(1)
        await expect(page.locator(".box").nth(5)).to_have_class("box on")


def overlaps(labels: Any) -> list[tuple[int, int]]:
    """Pairs of rectangles that overlap."""
    starts, ends = labels[:, :2], labels[:, :2] + labels[:, 2:]
    return [
        (one, other)
        for one in range(len(labels))
        for other in range(one)
        if (starts[one] < ends[other]).all() and (starts[other] < ends[one]).all()
    ]


async def test_labels_become_numbers_where_space_is_short(
    visit: Visit, server: Server, group: tuple[bytes, list[tuple[float, float]]]
) -> None:
    """A phone has room for numbers only."""
    async with visit(f"{server.url}/", viewport={"width": 360, "height": 740}) as page:
        await page.set_input_files("#files", picture(group[0], "group.jpg"))
        await expect(page.locator(".summary")).to_have_text("9 faces")
        labels = await rects(page, ".label")
        assert not overlaps(labels)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        await shoot(page, "group-phone")


async def test_pictures_are_sent_two_at_a_time_and_each_has_its_card(visit: Visit, server: Server, jpeg: bytes) -> None:
    async with visit(f"{server.url}/") as page:
        under_way: set[Request] = set()
        numbers: list[int] = []

        def begin(request: Request) -> None:
            if request.method == "POST":
                under_way.add(request)
                numbers.append(len(under_way))

        def end(request: Request) -> None:
            under_way.discard(request)

        page.on("request", begin)
        page.on("requestfinished", end)
        await page.set_input_files("#files", [picture(jpeg, f"{number}.jpg") for number in range(5)])
        await expect(page.locator(".summary")).to_have_text(["1 face"] * 5)
        assert max(numbers) == 2
        assert await page.locator(".card h3").all_inner_texts() == [f"{number}.jpg" for number in range(5)]
        await page.get_by_role("button", name="Remove 3.jpg").click()
        assert await page.locator(".card h3").all_inner_texts() == ["0.jpg", "1.jpg", "2.jpg", "4.jpg"]


async def test_a_picture_can_be_pasted_and_its_result_copied_and_downloaded(
    visit: Visit, server: Server, jpeg: bytes
) -> None:
    async with visit(f"{server.url}/", permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.evaluate(PASTE, encoded("pasted.jpg", jpeg))
        await page.get_by_text("JSON").click()
        document = json.loads(await page.locator("pre").inner_text())
        assert len(document["faces"]) == 1
        await page.get_by_role("button", name="Copy").click()
        await expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert json.loads(await page.evaluate("navigator.clipboard.readText()")) == document
        async with page.expect_download() as download:
            await page.get_by_role("button", name="Download with boxes").click()
        drawn = await download.value
        assert drawn.suggested_filename == "pasted.faces.jpg"
        pixels = cv2.imread(str(await drawn.path()))
        assert pixels is not None
        assert pixels.shape == (512, 512, 3)
        await expect(page.locator(".summary")).to_have_text("1 face")


async def test_a_picture_can_be_taken_with_the_camera(visit: Visit, server: Server) -> None:
    """The simulated camera of the browser shows no face."""
    async with visit(f"{server.url}/", permissions=["camera"]) as page:
        await page.get_by_role("button", name="Take a picture").click()
        await expect(page.locator("#camera")).to_have_js_property("readyState", 4)
        await page.get_by_role("button", name="Capture").click()
        await expect(page.locator(".summary")).to_have_text("No faces found")
        assert await page.evaluate("document.getElementById('camera').srcObject.active") is False


async def test_the_page_offers_the_pipelines_and_options_of_the_server(
    visit: Visit, server: Server, jpeg: bytes
) -> None:
    async with visit(f"{server.url}/") as page:
        await expect(page.locator("#pipeline option")).to_have_text(["faces", "trick"])
        await page.get_by_text("Options").click()
        await page.get_by_label("gender").uncheck()
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".summary")).to_have_text("1 face")
        await expect(page.locator("tbody td").first).to_have_text("\u2013")
        await page.get_by_label("Pipeline").select_option("trick")
        await expect(page.get_by_label("times")).to_have_value("1")


async def test_the_current_load_is_updated_while_the_page_is_visible(visit: Visit, server: Server, jpeg: bytes) -> None:
    async with visit(f"{server.url}/") as page:
        await expect(page.locator("#in-flight")).to_have_text("0 / 2")
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".summary")).to_have_text("1 face")
        await expect(page.locator("#rate")).not_to_have_text("0")
        asked: list[str] = []
        page.on("request", lambda one: asked.append(one.url))
        await page.evaluate(
            "Object.defineProperty(document, 'visibilityState', { value: 'hidden', configurable: true })"
        )
        await asyncio.sleep(2.5)  # a poll is due every two seconds
        assert not asked
