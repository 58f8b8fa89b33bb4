import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

import faceattr_aio
from faceattr_aio import Config, make_app
from tests.conftest import Serve

FOLDER = Path(faceattr_aio.__file__).parent / "web" / "page"
MOST_BYTES = 100_000
TRICK = {"factory": "tests.support.pipelines:Trick", "path": "/trick"}


def app(**server: Any) -> web.Application:
    return make_app(
        Config.model_validate({"server": server, "inference": {"workers": 1}, "pipelines": {"trick": TRICK}})
    )


@pytest.mark.parametrize("path", ["/", "/docs", "/page/app.js", "/openapi.json"])
async def test_a_page_may_load_only_its_own_files(serve: Serve, client: ClientSession, path: str) -> None:
    url = await serve(app())
    async with client.get(url + path) as response:
        assert response.status == 200
        policy = dict(part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";"))
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in " ".join(policy.values())


async def test_a_matching_etag_is_answered_with_304(serve: Serve, client: ClientSession) -> None:
    url = await serve(app())
    async with client.get(f"{url}/") as response:
        etag = response.headers["ETag"]
    async with client.get(f"{url}/", headers={"If-None-Match": f'"other", {etag}'}) as response:
        assert (response.status, await response.read()) == (304, b"")
        assert response.headers["ETag"] == etag
    async with client.get(f"{url}/", headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200


async def test_clients_that_accept_gzip_get_it_with_another_etag(serve: Serve, client: ClientSession) -> None:
    url, answers = await serve(app()), []
    for encoding in ("gzip, deflate", "identity"):
        async with client.get(f"{url}/openapi.json", headers={"Accept-Encoding": encoding}) as response:
            length = int(response.headers["Content-Length"])
            answers.append((length, response.headers["ETag"], await response.json()))
            assert response.headers.get("Content-Encoding", "identity") in encoding
            assert response.headers["Vary"] == "Accept-Encoding"
    (packed, one, first), (whole, other, second) = answers
    assert first == second
    assert one != other
    assert packed < whole / 3


async def test_every_file_is_served_with_its_content_type(serve: Serve, client: ClientSession) -> None:
    url = await serve(app())
    types = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for file in FOLDER.iterdir():
        async with client.get(f"{url}/page/{file.name}") as response:
            assert (response.content_type, await response.read()) == (types[file.suffix], file.read_bytes())


async def test_the_pages_can_be_switched_off(serve: Serve, client: ClientSession) -> None:
    url = await serve(app(page=False))
    for path, status in {"/": 404, "/docs": 404, "/page/app.js": 404, "/openapi.json": 200}.items():
        async with client.get(url + path) as response:
            assert response.status == status


async def test_a_mounted_page_redirects_to_its_folder(serve: Serve, client: ClientSession) -> None:
    host = web.Application()
    host.add_subapp("/deep/vision", app())
    url = await serve(host)
    async with client.get(f"{url}/deep/vision", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "vision/")
    async with client.get(f"{url}/deep/vision") as response:
        assert (response.status, response.content_type) == (200, "text/html")


def test_all_files_together_are_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < MOST_BYTES


@pytest.mark.parametrize("file", sorted(FOLDER.iterdir()), ids=lambda file: file.name)
def test_a_file_has_no_foreign_url_and_no_inline_code(file: Path) -> None:
    text = file.read_text()
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"(?:src|href)=\"/|from \"/|<style|style=\"|<script>|\son\w+=\"|innerHTML|\beval\(", text)
