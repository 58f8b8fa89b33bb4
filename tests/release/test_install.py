"""Builds sdist and wheel and installs the wheel in an empty environment: it contains all files of the package, pulls
its models, serves, can be embedded, and has types.
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
from concurrent.futures import Future, ThreadPoolExecutor
from configparser import ConfigParser
from importlib import metadata
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

ALIASES = {
    "faceattr_aio.anime": ("faceattr_aio.pipelines.anime", "Anime"),
    "faceattr_aio.faces": ("faceattr_aio.pipelines.faces", "FaceAttributes"),
    "faceattr_aio.holistic": ("faceattr_aio.pipelines.holistic", "Holistic"),
    "faceattr_aio.imaging": ("faceattr_aio.pipelines.imaging", "read"),
}
"""The modules of settings and documentation; each is another name of a module in pipelines, with this attribute."""

PRINT_ALIASES = f"""
from importlib import import_module
for alias, (module, name) in {ALIASES!r}.items():
    assert import_module(alias) is import_module(module)
    print(getattr(import_module(alias), name) is getattr(import_module(module), name))
"""

PUBLIC = ("anime", "client", "config", "errors", "faces", "holistic", "imaging", "pipeline", "schemas")
"""Modules that users import from. Other modules may have types of extras that are not installed."""

PIP = ["-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """The folder `bin` of an environment with the wheel and its dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    command: list[str | Path] = [folder / "venv" / "bin" / "python", *PIP, "install", wheel]
    subprocess.run(command, check=True, env=environment(folder), cwd=folder)
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """The home of a user who has pulled the models."""
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


def test_models_are_pulled_to_the_data_folder_of_the_user(home: Path) -> None:
    folder = home / ".local" / "share" / "faceattr_aio" / "models"
    assert sorted(path.suffix for path in folder.iterdir()) == [".onnx", ".onnx", ".tflite"]


@pytest.fixture(scope="module")
def url(home: Path, installed: Path) -> Iterator[str]:
    """The URL of a server, started by the installed program."""
    command = [str(installed / "faceattr-aio"), "serve", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=home, env=environment(home))
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    assert found
    yield found[0]
    process.terminate()
    assert process.wait(PATIENCE_S) == 0
    process.stdout.close()


def test_the_installed_server_answers_a_picture(url: str, png: bytes) -> None:
    request = urllib.request.Request(f"{url}/analyze", png, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        assert len(json.loads(response.read())["faces"]) == 1


@pytest.mark.parametrize("path", ["/", "/docs", "/page/app.js", "/openapi.json"])
def test_the_installed_server_serves_its_pages(url: str, path: str) -> None:
    with urllib.request.urlopen(url + path, timeout=PATIENCE_S) as response:
        assert response.status == 200


def test_the_installed_package_can_be_embedded(home: Path, installed: Path, png_file: Path) -> None:
    ended = run(home, installed / "python", "-c", EMBEDDED, png_file)
    assert ended.stdout.split() == ["1", "True"], ended.stderr


def test_without_models_the_server_names_the_command_that_pulls_them(tmp_path: Path, installed: Path) -> None:
    ended = run(tmp_path, installed / "faceattr-aio", "serve", "--port", "0")
    assert ended.returncode == 2
    assert "run 'faceattr-aio models pull'" in ended.stderr


def files(wheel: Path) -> set[str]:
    """Return the names in the wheel, without RECORD, which differs between installations."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("RECORD")}


def test_the_sdist_installs_what_the_wheel_does(built: Path, wheel: Path, tmp_path: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    command: list[str | Path] = [
        sys.executable,
        *PIP,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        tmp_path,
        sdist,
    ]
    subprocess.run(command, check=True)
    for name in files(wheel):
        assert (tmp_path / name).read_bytes() == zipfile.ZipFile(wheel).read(name), name


def test_the_wheel_contains_every_file_of_the_package(wheel: Path) -> None:
    packaged = {name for name in files(wheel) if name.startswith("faceattr_aio/")}
    sources = (path for path in (ROOT / "faceattr_aio").rglob("*") if path.is_file())
    assert packaged == {str(path.relative_to(ROOT)) for path in sources if "__pycache__" not in path.parts}
    assert {
        "faceattr_aio/py.typed",
        "faceattr_aio/inference/manifest.toml",
        "faceattr_aio/pipelines/faces/age-v1.toml",
        "faceattr_aio/pipelines/faces/self-test.jpg",
        "faceattr_aio/pipelines/holistic/self-test.jpg",
        "faceattr_aio/web/page/index.html",
    } <= packaged


def test_the_wheel_has_the_program_and_no_other_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith("/entry_points.txt")]
        parser = ConfigParser()
        parser.read_string(file.read(name).decode())
    assert {section: dict(parser[section]) for section in parser.sections()} == {
        "console_scripts": {"faceattr-aio": "faceattr_aio.cli:main"}
    }
    assert {name.partition("/")[0].partition("-")[0] for name in files(wheel)} == {"faceattr_aio"}


def test_the_program_and_the_module_print_the_version(tmp_path: Path, installed: Path) -> None:
    for command in ([installed / "faceattr-aio"], [installed / "python", "-m", "faceattr_aio"]):
        ended = run(tmp_path, *command, "--version")
        assert metadata.version("faceattr-aio") in ended.stdout, ended.stderr


def test_the_aliases_are_the_modules_of_the_pipelines(tmp_path: Path, installed: Path) -> None:
    ended = run(tmp_path, installed / "python", "-c", PRINT_ALIASES)
    assert ended.stdout.split() == ["True"] * len(ALIASES), ended.stderr


def test_settings_can_name_a_pipeline_by_its_alias(tmp_path: Path, home: Path, installed: Path) -> None:
    settings = tmp_path / "faceattr.toml"
    settings.write_text("[pipelines.mine]\nfactory = 'faceattr_aio.faces:FaceAttributes'\npath = '/mine'\n")
    ended = run(home, installed / "faceattr-aio", "config", "check", "--config", settings)
    assert ended.returncode == 0, ended.stderr


def test_every_public_name_is_in_the_consumer() -> None:
    assert [name for name in faceattr_aio.__all__ if not hasattr(consumer, name)] == []


Checks = dict[str, Future["subprocess.CompletedProcess[str]"]]


@pytest.fixture(scope="module")
def type_checks(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Iterator[Checks]:
    """Mypy and pyright, which run at the same time."""
    folder = tmp_path_factory.mktemp("types")
    program = Path(shutil.copy(consumer.__file__, folder))
    options = ["--strict", "--no-incremental", "--config-file=", f"--python-executable={installed / 'python'}"]
    path = f"PATH={installed}:{os.environ['PATH']}"  # pyright reads the packages of the first python in PATH
    pyright = Path(sys.executable).with_name("basedpyright")
    arguments = ["--verifytypes", "faceattr_aio", "--ignoreexternal", "--outputjson"]
    with ThreadPoolExecutor(2) as threads:
        yield {
            "mypy": threads.submit(run, folder, sys.executable, "-m", "mypy", *options, program),
            "pyright": threads.submit(run, folder, "env", path, pyright, *arguments),
        }


def test_a_program_that_uses_the_types_passes_mypy(type_checks: Checks) -> None:
    ended = type_checks["mypy"].result()
    assert ended.returncode == 0, ended.stdout


def test_every_public_name_has_a_type(type_checks: Checks) -> None:
    ended = type_checks["pyright"].result()
    symbols = json.loads(ended.stdout)["typeCompleteness"]["symbols"]
    known = {symbol["name"] for symbol in symbols if symbol["isTypeKnown"]}
    assert {f"faceattr_aio.{name}" for name in faceattr_aio.__all__} <= known
    inferred = {symbol["name"] for symbol in symbols if symbol["isTypeAmbiguous"]}  # from the value, as `status = 400`
    missing = {symbol["name"] for symbol in symbols} - known - inferred
    assert {name for name in missing if name.split(".")[1] in PUBLIC} == set()
