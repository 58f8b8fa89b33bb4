"""The servers that are compared, their commands, and the form in which each takes a picture. Refers to them by name
only, because they may not be installed.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.load.overload import PICTURE, SETTINGS, TYPE

_BOUNDARY = "a-boundary-that-no-picture-has"
Command = Callable[[int, Path], list[str]]
"""Returns the command that starts the server on a port; it may write into the folder."""


@dataclass(frozen=True)
class Upload:
    """A request body with its type."""

    name: str
    body: bytes
    content_type: str


RAW = Upload("body", PICTURE.read_bytes(), TYPE)
FORM = Upload(
    "form",
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="{PICTURE.name}"\r\n'
    f"Content-Type: {TYPE}\r\n\r\n".encode()
    + PICTURE.read_bytes()
    + f"\r\n--{_BOUNDARY}--\r\n".encode(),
    f"multipart/form-data; boundary={_BOUNDARY}",
)


@dataclass(frozen=True)
class Peer:
    """A server to measure; `packages` are the distributions that it needs."""

    name: str
    packages: tuple[str, ...]
    upload: Upload
    command: Command

    def missing(self) -> list[str]:
        return [package for package in self.packages if installed(package) is None]

    def versions(self) -> str:
        return ", ".join(f"{package} {installed(package)}" for package in self.packages)


def installed(package: str) -> str | None:
    """The version of a distribution; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _ours(port: int, folder: Path, settings: str = SETTINGS) -> list[str]:
    file = folder / "faceattr.toml"
    file.write_text(settings)
    return [sys.executable, "-m", "faceattr_aio", "serve", "--port", str(port), "--config", str(file)]


def _module(name: str) -> Command:
    return lambda port, _: [sys.executable, "-m", f"bench.peers.{name}", str(port)]


def _bentoml(port: int, _: Path) -> list[str]:
    service = "bench.peers.with_bentoml:Faces"
    return [sys.executable, "-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


PEERS = (
    Peer("faceattr-aio", ("faceattr-aio",), FORM, _ours),
    Peer("faceattr-aio-thread", ("faceattr-aio",), FORM, partial(_ours, settings=f"{SETTINGS}pool = 'thread'\n")),
    Peer("flask", ("flask", "waitress"), FORM, _module("with_flask")),
    Peer("fastapi", ("fastapi", "uvicorn"), FORM, _module("with_fastapi")),
    Peer("litserve", ("litserve",), FORM, _module("with_litserve")),
    Peer("bentoml", ("bentoml",), FORM, _bentoml),
    Peer("aiohttp", ("aiohttp",), RAW, _module("with_aiohttp")),
)
