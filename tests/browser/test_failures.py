"""The messages of the page when a request fails, and its retries."""

import re
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

import cv2
import numpy as np
import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import Visit, picture, shoot
from tests.support.gate import Gate
from tests.support.process import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")


def ask(url: str, body: bytes) -> int:
    with urlopen(Request(url, body, {"Content-Type": "image/jpeg"}), timeout=60) as answer:
        return int(answer.status)


async def test_the_page_waits_for_a_busy_server_and_then_shows_the_result(
    visit: Visit, server: Server, gate: Gate, jpeg: bytes
) -> None:
    with ThreadPoolExecutor(2) as others:
        held = [others.submit(ask, f"{server.url}/trick", jpeg) for _ in range(2)]
        gate.wait_for(1)
        async with visit(f"{server.url}/") as page:
            await expect(page.locator("#in-flight")).to_have_text("2 / 2")
            await page.set_input_files("#files", picture(jpeg))
            await expect(page.locator(".notice h4")).to_have_text("The server is busy")
            await expect(page.locator(".notice")).to_contain_text("2 of 2 slots are in use.")
            await expect(page.locator(".count")).to_have_text(re.compile(r"Trying again in \d+ s"))
            await shoot(page, "full")
            await page.get_by_role("button", name="Stop trying").click()
            await expect(page.locator(".notice")).to_contain_text("2 requests are in flight and 2 is the limit")
            await page.get_by_role("button", name="Try again").click()
            await expect(page.locator(".count")).to_have_text(re.compile(r"Trying again in \d+ s"))
            gate.open()
            await expect(page.locator(".summary")).to_have_text("1 face", timeout=20_000)
            await expect(page.locator("#refused")).not_to_have_text("0 (0/s)")
        assert [one.result() for one in held] == [200, 200]


NOISE = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (700, 700, 3), np.uint8))[1].tobytes()
WIDE = cv2.imencode(".png", np.zeros((2001, 2000), np.uint8))[1].tobytes()


async def test_each_kind_of_invalid_picture_has_its_own_message(visit: Visit, server: Server, jpeg: bytes) -> None:
    files = {
        "This file type is not accepted": (b"no picture", "is not accepted|JPEG"),
        "The picture is too large": (NOISE, "1000000|1,000,000"),
        "The picture is damaged": (jpeg[: len(jpeg) // 2], "cut short|broken"),
        "The picture has too many pixels": (WIDE, "4000000|4,000,000|megapixels"),
        "The file is empty": (b"", "empty"),
    }
    async with visit(f"{server.url}/") as page:
        await page.set_input_files("#files", [picture(data) for data, _ in files.values()])
        await expect(page.locator(".notice.error h4")).to_have_text(list(files))
        for card, (_, detail) in zip(await page.locator(".notice").all(), files.values(), strict=True):
            await expect(card).to_contain_text("Message from the server")
            await expect(card).to_contain_text(re.compile(detail))
        await shoot(page, "unreadable", whole=False)


async def test_an_unreachable_server_is_reported(visit: Visit, server: Server, jpeg: bytes) -> None:
    async with visit(f"{server.url}/") as page:
        await page.context.set_offline(True)
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".notice h4")).to_have_text("The server cannot be reached")
        await page.context.set_offline(False)
        await page.get_by_role("button", name="Try again").click()
        await expect(page.locator(".summary")).to_have_text("1 face")


async def test_the_page_asks_for_a_key_and_then_respects_the_rate_limit(
    visit: Visit, locked: Server, jpeg: bytes
) -> None:
    async with visit(f"{locked.url}/", color_scheme="dark", viewport={"width": 390, "height": 780}) as page:
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.get_by_role("dialog")).to_contain_text("API key required")
        await shoot(page, "key-phone-dark", whole=False)
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.locator(".notice h4")).to_have_text("API key required")
        await page.get_by_role("button", name="Try again").click()
        await show_key(page, "a-wrong-key")
        await expect(page.get_by_text("This key is not valid.")).to_be_visible()
        await show_key(page, "a-key-for-the-page")
        await expect(page.locator(".summary")).to_have_text("1 face")
        await page.set_input_files("#files", picture(jpeg, "second.jpg"))
        await expect(page.locator(".notice h4")).to_have_text("Too many requests")
        await expect(page.locator(".count")).to_have_text(re.compile(r"Trying again in \d+ s"))
        kept = await page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")
        assert "a-key" not in kept


async def show_key(page: Page, key: str) -> None:
    await expect(page.get_by_role("dialog")).to_be_visible()
    await page.get_by_role("textbox", name="API key").fill(key)
    await page.keyboard.press("Enter")
