"""Fetches one file: a member of a wheel through pip, so that the user's own index settings hold, or a URL.
Knows no manifest and checks no hash.
"""

import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, ClassVar

from pydantic import BaseModel, ConfigDict

from faceattr_aio.errors import StartError

Advance = Callable[[int], object]
"""Called with the number of bytes that arrived since the last call."""

_CHUNK = 1 << 18
_TIMEOUT_S = 60
_SCHEMES = ("https://", "http://127.0.0.1:", "http://localhost:")


class Wheel(BaseModel):
    """A member of a wheel. With `python`, `abi` and `platform` it is the wheel of those tags, whatever runs here."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    package: str
    version: str
    member: str
    python: str | None = None
    abi: str | None = None
    platform: str | None = None

    def pip_arguments(self) -> list[str]:
        """What pip is asked: this wheel alone, nothing built, nothing installed."""
        tags = {"--python-version": self.python, "--abi": self.abi, "--platform": self.platform}
        chosen = [word for flag, tag in tags.items() if tag is not None for word in (flag, tag)]
        return ["download", "--no-deps", "--only-binary=:all:", *chosen, f"{self.package}=={self.version}"]


def from_wheel(wheel: Wheel, target: Path, advance: Advance) -> None:
    """Writes the member to `target`; the wheel stays in a folder beside it, for the next member.

    Raises StartError when pip fails or the wheel has no such member.
    """
    folder = target.parent / f"{wheel.package}-{wheel.version}-{wheel.python}-{wheel.abi}-{wheel.platform}"
    if not folder.is_dir():
        _download(wheel, folder)
    _extract(next(folder.glob("*.whl")), wheel.member, target, advance)


def _download(wheel: Wheel, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *wheel.pip_arguments()]
    run = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)  # noqa: S603  # our own arguments
    if run.returncode:
        reason = (run.stderr.strip() or "it did not say why").splitlines()[-1]
        raise StartError(f"pip could not download {wheel.package}=={wheel.version}: {reason}")


def _extract(archive: Path, member: str, target: Path, advance: Advance) -> None:
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
            _copy(source, target, advance)
    except (KeyError, zipfile.BadZipFile) as error:
        raise StartError(f"{archive.name} has no readable member {member}.") from error


def from_url(url: str, target: Path, size: int, advance: Advance) -> None:
    """Writes what the URL answers to `target`, no more than `size` bytes and one more. Raises StartError."""
    if not url.startswith(_SCHEMES):
        raise StartError(f"{url} is not fetched: only https is, and http from this machine.")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source:  # noqa: S310  # the scheme was checked
            _copy(source, target, advance, size + 1)
    except (urllib.error.URLError, OSError) as error:
        raise StartError(f"{url} cannot be fetched: {error}.") from error


def _copy(source: IO[bytes], target: Path, advance: Advance, most: int | None = None) -> None:
    with target.open("wb") as file:
        left = most
        while chunk := source.read(_CHUNK if left is None else min(_CHUNK, left)):
            file.write(chunk)
            advance(len(chunk))
            left = None if left is None else left - len(chunk)
