"""The pages by keyboard and screen reader, in two languages, at a small weight, and in a mounted app."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web
from playwright.async_api import Error, FileChooser, Page, expect

from faceattr_aio import Config, make_app
from tests.browser.conftest import Visit, axe, picture, shoot
from tests.support.process import Server

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOST_BYTES = 100_000


async def focused(page: Page) -> str:
    name: str = await page.evaluate(
        "(document.activeElement.getAttribute('aria-label') || document.activeElement.textContent).trim()"
    )
    return name


async def press_until(page: Page, key: str, name: str) -> None:
    for _ in range(30):
        await page.keyboard.press(key)
        if (await focused(page)).startswith(name):
            return
    raise AssertionError(f"{key} does not reach {name}")


async def choose(page: Page) -> FileChooser:
    """The file chooser that the focused button opens. A browser that has just started may miss the first key."""
    for _ in range(5):
        with suppress(Error):
            async with page.expect_file_chooser(timeout=5000) as chooser:
                await page.keyboard.press("Enter")
            return await chooser.value
    pytest.fail("the button does not open a file chooser")


async def test_everything_works_by_keyboard(visit: Visit, server: Server, group: tuple[bytes, object]) -> None:
    async with visit(f"{server.url}/") as page:
        await press_until(page, "Tab", "Skip to choosing")
        await press_until(page, "Tab", "Choose pictures")
        chooser = await choose(page)
        await chooser.set_files(picture(group[0], "group.jpg"))
        await expect(page.locator(".summary")).to_have_text("9 faces")
        await expect(page.locator("#said")).to_have_text("group.jpg: 9 faces")
        await press_until(page, "Tab", "Face 1: Female")
        await expect(page.locator("tbody tr").first).to_have_class("on")
        await page.keyboard.press("ArrowRight")
        assert (await focused(page)).startswith("Face 2: ")
        await page.keyboard.press("End")
        assert (await focused(page)).startswith("Face 9: ")
        await expect(page.locator("tbody tr").nth(8)).to_have_class("on")
        await press_until(page, "Tab", "Download with boxes")
        await press_until(page, "Tab", "JSON")
        await page.keyboard.press("Enter")
        await expect(page.locator("pre")).to_be_visible()
        await press_until(page, "Shift+Tab", "Remove group.jpg")
        await page.keyboard.press("Enter")
        await expect(page.locator(".card")).to_have_count(0)
        assert await focused(page) == "Choose pictures"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_serious_problem(visit: Visit, server: Server, jpeg: bytes, scheme: str) -> None:
    async with visit(f"{server.url}/", color_scheme=scheme) as page:
        assert await axe(page) == []
        await page.set_input_files("#files", [picture(jpeg), picture(b"no picture", "text.jpg")])
        await expect(page.locator(".summary")).to_have_text("1 face")
        await expect(page.locator(".notice h4")).to_have_count(1)
        await page.get_by_text("JSON").click()
        await page.get_by_text("Options").click()
        assert await axe(page) == []
        await page.evaluate("document.getElementById('key-dialog').showModal()")
        assert await axe(page) == []


async def test_the_language_is_that_of_the_browser_and_can_be_switched(
    visit: Visit, server: Server, jpeg: bytes
) -> None:
    async with visit(f"{server.url}/", locale="zh-CN", viewport={"width": 390, "height": 780}) as page:
        await page.set_input_files("#files", [picture(jpeg), picture(b"no picture", "text.jpg")])
        await expect(page.locator(".summary")).to_have_text("1 张人脸")
        await expect(page.locator(".notice h4")).to_have_text("不接受这种文件类型")
        await expect(page.locator("thead")).to_have_text("人脸性别年龄范围可信度")
        assert await page.evaluate("document.documentElement.lang") == "zh-CN"
        await shoot(page, "chinese-phone")
        await page.get_by_role("button", name="English").click()
        await expect(page.locator(".summary")).to_have_text("1 face")
        await expect(page.locator(".notice h4")).to_have_text("This file type is not accepted")
        assert await page.evaluate("document.documentElement.lang") == "en"


async def test_both_languages_have_the_same_texts(visit: Visit, server: Server) -> None:
    async with visit(f"{server.url}/") as page:
        english, chinese = await page.evaluate("import('./page/strings.js').then((all) => all.keys())")
        assert english == chinese


async def test_the_page_weighs_less_than_its_limit(visit: Visit, server: Server) -> None:
    async with visit(f"{server.url}/") as page:
        sizes = await page.evaluate(
            "['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
            ".map((one) => one.encodedBodySize)"
        )
        assert len(sizes) > 8
        assert all(sizes)
        assert sum(sizes) < MOST_BYTES


@asynccontextmanager
async def mounted() -> AsyncIterator[str]:
    """The URL of an app that is mounted below a prefix."""
    app = web.Application()
    app.add_subapp("/vision", make_app(Config.model_validate({"inference": {"workers": 1}})))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/vision"
    await runner.cleanup()


async def test_the_pages_work_in_a_mounted_app(visit: Visit, jpeg: bytes) -> None:
    async with mounted() as url, visit(url) as page:
        assert page.url == f"{url}/"
        await page.set_input_files("#files", picture(jpeg))
        await expect(page.locator(".summary")).to_have_text("1 face")
        await page.get_by_role("link", name="API").click()
        await expect(page.locator("#faces h3")).to_contain_text("/analyze")


async def test_the_documentation_lists_every_operation_and_sends_requests(
    visit: Visit, server: Server, jpeg: bytes
) -> None:
    async with visit(f"{server.url}/docs") as page:
        document = await page.evaluate("fetch('openapi.json').then((response) => response.json())")
        names = [one["operationId"] for methods in document["paths"].values() for one in methods.values()]
        ids = await page.locator(".operation[id]").evaluate_all("(all) => all.map((one) => one.id)")
        assert sorted(ids) == sorted(names)
        faces = page.locator("#faces")
        await expect(faces.locator("h3")).to_contain_text("/analyze")
        await expect(faces).to_contain_text("too-many-pixels")
        await shoot(page, "docs", whole=False)
        await faces.locator("input[type=file]").set_input_files(picture(jpeg))
        await faces.get_by_label("max_faces").fill("1")
        await faces.get_by_role("button", name="Send").click()
        await expect(faces.locator(".output")).to_contain_text('"confidence"')
        await faces.get_by_label("Accept").select_option("image/png")
        await faces.get_by_role("button", name="Send").click()
        await expect(faces.locator(".output img")).to_be_visible()
        await faces.get_by_label("Accept").select_option("application/x-ndjson")
        await faces.get_by_role("button", name="Send").click()
        await expect(faces.locator(".output")).to_contain_text('"number"')
        await page.locator("#readyz summary").click()
        await page.locator("#readyz").get_by_role("button", name="Send").click()
        await expect(page.locator("#readyz .output")).to_contain_text('"status": "ok"')
        assert await axe(page) == []
        await page.get_by_role("button", name="中文").click()
        await expect(page.locator("#faces")).to_contain_text("参数")
