"""The pipeline in a real server, with generators made by the test."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import ClientSession
from PIL import Image

from faceattr_aio.config.schema import Config
from faceattr_aio.web.app import make_app
from faceattr_aio.web.reload import merge, reload
from tests.conftest import Serve
from tests.pipelines.anime.conftest import BACKEND
from tests.support.process import PATIENCE_S, Server, environment, start_server

pytestmark = pytest.mark.pixels


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, drawer: Path, other_drawer: Path) -> Iterator[Server]:
    files = f'files = {{ mine = "{drawer}", other = "{other_drawer}" }}'
    config = f"[pipelines.anime]\nbackend = '{BACKEND}'\nstyles = []\n{files}\n"
    server = start_server(tmp_path_factory.mktemp("server"), f"[inference]\nworkers = 1\n{config}", {})
    yield server
    server.kill()


def post(server: Server, query: str = "", accept: str = "*/*", **request: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/api/convert{query}", headers={"Accept": accept}, timeout=PATIENCE_S, **request)


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["Content-Type"].startswith("application/problem+json")
    return response.status_code, response.json()["type"].removeprefix("urn:faceattr:")


@pytest.mark.parametrize(("accept", "format_"), [("*/*", "JPEG"), ("image/png", "PNG"), ("image/webp", "WEBP")])
def test_a_photo_is_answered_with_a_drawing(accept: str, format_: str, server: Server, png: bytes) -> None:
    response = post(server, accept=accept, files={"image": png})
    assert response.headers["Content-Type"] == f"image/{format_.lower()}"
    stages = [stage.partition(";")[0] for stage in response.headers["Server-Timing"].split(", ")]
    assert stages == ["upload", "queue", "decode", "convert", "encode"]
    with Image.open(io.BytesIO(response.content)) as picture:
        assert (picture.format, picture.size) == (format_, (512, 512))


def test_styles_differ_and_the_first_is_the_default(server: Server, png: bytes) -> None:
    queries = "", "?style=mine", "?style=other", ""
    usual, mine, other, again = (post(server, query, files={"image": png}).content for query in queries)
    assert usual == mine == again != other


def test_failures_have_the_documented_types(server: Server, png: bytes, jpeg: bytes) -> None:
    files = {"image": png}
    assert problem(post(server, accept="application/json", files=files)) == (406, "not-acceptable")
    unknown = post(server, "?style=hayao", files=files)
    assert problem(unknown) == (400, "bad-option")
    assert "'mine' or 'other'" in unknown.json()["detail"]
    assert problem(post(server, "?max_side=0", files=files)) == (400, "bad-option")
    assert problem(post(server, files={"image": jpeg[: len(jpeg) // 2]})) == (422, "unreadable-image")
    assert problem(post(server, files=[("image", png), ("image", png)])) == (406, "not-acceptable")


def test_a_missing_file_of_a_style_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "faceattr.toml"
    file.write_text(f'[pipelines.anime]\nfiles = {{ mine = "{tmp_path}/nothing" }}\nstyles = []\n')
    command = [sys.executable, "-m", "faceattr_aio", "serve", "--port", "0", "--config", str(file)]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert run.stderr.strip().endswith(f"The file {tmp_path}/nothing cannot be read: No such file or directory.")


async def test_a_reload_changes_the_accepted_styles(
    serve: Serve, client: ClientSession, drawer: Path, other_drawer: Path, png: bytes
) -> None:
    def config(**files: Path) -> Config:
        anime = {"styles": (), "files": files, "backend": BACKEND}
        return Config.model_validate({"inference": {"workers": 1}, "pipelines": {"anime": anime}})

    app = make_app(before := config(mine=drawer))
    url = f"{await serve(app)}/api/convert"
    changed, later = merge(before, config(other=other_drawer))
    assert later == []
    for style, statuses in {"mine": (200, 400), "other": (400, 200)}.items():
        found = []
        for settings in (before, changed):
            await reload(app, settings)
            async with client.post(f"{url}?style={style}", data=png, headers={"Content-Type": "image/png"}) as response:
                found.append(response.status)
        assert tuple(found) == statuses
