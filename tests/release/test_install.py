"""A wheel of ours in an empty folder: it pulls its models, serves, can be embedded, and has types for others to check
with; and the sdist that it was made of.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import faceattr_aio
from tests.release import consumer
from tests.support.process import PATIENCE_S, ROOT

EMBEDDED = """
import asyncio, sys
from aiohttp import web
import faceattr_aio
from pathlib import Path

async def main():
    app = web.Application()
    executor = faceattr_aio.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    reply = await executor.run("faces", faceattr_aio.Task(Path(sys.argv[1])))
    print(len(reply.result["faces"]), Path(faceattr_aio.__file__).is_relative_to(sys.prefix))
    await runner.cleanup()

asyncio.run(main())
"""


PUBLIC = ("answers", "client", "config", "errors", "faces", "imaging", "pipeline")
"""Modules that others import from; the types of what is behind them may be those of extras that are not installed."""
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The `bin` of an environment with our wheel and what it says it needs, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    subprocess.run([folder / "venv" / "bin" / "python", *PIP[1:], "install", wheel], check=True)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """A user's home, with the models pulled into it."""
    home = tmp_path_factory.mktemp("home")
    pulled = run(home, installed / "faceattr-aio", "models", "pull")
    assert pulled.returncode == 0, pulled.stderr
    return home


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FACEATTR_", "XDG_", "PYTHON"))}
    return kept | {"HOME": str(home)}


def run(home: Path, *command: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=environment(home),
        timeout=PATIENCE_S,
    )


def test_models_go_to_the_users_data_folder(home: Path) -> None:
    folder = home / ".local" / "share" / "faceattr_aio" / "models"
    assert sorted(path.suffix for path in folder.iterdir()) == [".onnx", ".onnx", ".tflite"]


@pytest.fixture
def url(home: Path, installed: Path) -> Iterator[str]:
    """A server from the installed program."""
    command = [str(installed / "faceattr-aio"), "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home, env=environment(home))
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()


def test_it_serves(url: str, png: bytes) -> None:
    request = urllib.request.Request(f"{url}/analyze", png, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        assert len(json.loads(response.read())["faces"]) == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/page/app.js", "/openapi.json"])
def test_its_page_came_with_it(url: str, path: str) -> None:
    with urllib.request.urlopen(url + path, timeout=PATIENCE_S) as response:
        assert response.status == 200


def test_it_can_be_embedded(home: Path, installed: Path, png_file: Path) -> None:
    ended = run(home, installed / "python", "-c", EMBEDDED, png_file)
    assert ended.stdout.split() == ["1", "True"], ended.stderr


def test_without_its_models_it_says_what_to_run(tmp_path: Path, installed: Path) -> None:
    ended = run(tmp_path, installed / "faceattr-aio", "serve", "--port", "0")
    assert ended.returncode == 2
    assert "run 'faceattr-aio models pull'" in ended.stderr


def files(wheel: Path) -> set[str]:
    """What is in it, but for what says who installed it."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("RECORD")}


def test_the_sdist_installs_what_the_wheel_does(built: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    subprocess.run([*PIP, "install", "--no-deps", "--target", tmp_path, sdist], check=True)
    for name in files(wheel):
        assert (tmp_path / name).read_bytes() == zipfile.ZipFile(wheel).read(name), name
    assert {
        "faceattr_aio/py.typed",
        "faceattr_aio/inference/manifest.toml",
        "faceattr_aio/web/page/index.html",
    } <= files(wheel)


def test_every_public_name_is_in_the_consumer() -> None:
    assert [name for name in faceattr_aio.__all__ if not hasattr(consumer, name)] == []


def test_a_program_with_our_types_passes_mypy(installed: Path, tmp_path: Path) -> None:
    program = Path(shutil.copy(consumer.__file__, tmp_path))
    options = ["--strict", "--no-incremental", "--config-file=", f"--python-executable={installed / 'python'}"]
    ended = run(tmp_path, sys.executable, "-m", "mypy", *options, program)
    assert ended.returncode == 0, ended.stdout


def test_every_public_name_has_a_type(installed: Path, tmp_path: Path) -> None:
    found_first = f"PATH={installed}:{os.environ['PATH']}"  # the environment whose packages are looked at
    pyright = Path(sys.executable).with_name("basedpyright")
    ended = run(
        tmp_path, "env", found_first, pyright, "--verifytypes", "faceattr_aio", "--ignoreexternal", "--outputjson"
    )
    symbols = json.loads(ended.stdout)["typeCompleteness"]["symbols"]
    known = {symbol["name"] for symbol in symbols if symbol["isTypeKnown"]}
    assert {f"faceattr_aio.{name}" for name in faceattr_aio.__all__} <= known
    guessed = {symbol["name"] for symbol in symbols if symbol["isTypeAmbiguous"]}  # by its value, as `status = 400`
    lacking = {symbol["name"] for symbol in symbols} - known - guessed
    assert {name for name in lacking if name.split(".")[1] in PUBLIC} == set()
