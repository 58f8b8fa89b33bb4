"""The contract between the server and a pipeline.

A pipeline consists of a `Declaration`, which the server imports and which must not import the vision library, and of a
class with the methods of `Pipeline`, which only workers import.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from faceattr_aio.errors import FaceattrError

JSON = "application/json"
NDJSON = "application/x-ndjson"
"""One line of JSON for each picture, sent as soon as it is ready; available for every pipeline with results as JSON."""
Source = Literal["bypass", "miss", "collapsed", "hit"]
"""The origin of a result: computed without the cache; computed and stored; computed by a request at the same time;
read from the cache."""
R = TypeVar("R")


class Options(BaseModel):
    """Base of a pipeline's options for one request; the server answers 400 with the fields' ranges for invalid ones."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class PipelineSettings(BaseModel):
    """Base of a pipeline's own keys in `[pipelines.NAME]`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


def split_words(value: object) -> object:
    """Split a string at commas and spaces into a tuple, for options with several values; return others unchanged."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class Clock:
    """Measures the named stages of one task in milliseconds; stages of the same name add up. Not thread-safe."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End the stage that began at the previous lap, or when the clock was made."""
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now


@dataclass(frozen=True)
class ModelFile:
    """A file of a model with its verified hash."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class LoadSpec:
    """Everything that a worker needs to load a pipeline. Plain data, because it is sent to another process.

    `load` is the dotted name `module:Class` of the pipeline's class, which is called with this object. `working_side`
    is the longest side, in pixels, to which a picture is scaled down. `own_process` allows the pipeline to change
    settings of the whole process.
    """

    load: str
    settings: PipelineSettings
    files: Mapping[str, ModelFile]
    working_side: int
    own_process: bool = False


Plan = LoadSpec
"""The name of LoadSpec in pipelines written for version 0.1."""


@dataclass(frozen=True)
class Task:
    """One picture to predict.

    Without `options` the pipeline's defaults apply. With a `media_type` the reply also has the encoded body of that
    type. `probed` is True if the picture's header has been checked already.
    """

    path: Path
    options: Options | None = None
    media_type: str | None = None
    probed: bool = False


@dataclass(frozen=True)
class Reply:
    """The result of one task.

    `result` is plain data, `body` the encoded picture if the task has a media type, `laps` the milliseconds of each
    stage.
    """

    result: Any
    body: bytes | None = None
    laps: Mapping[str, float] = field(default_factory=dict)
    source: Source = "bypass"


Outcome = Reply | FaceattrError
"""The reply for one picture, or the error that occurred."""


class Pipeline(Protocol[R]):
    """The class of a pipeline in a worker. Instances need not be thread-safe: each worker has its own.

    It is constructed with a `LoadSpec`. The constructor should end with a self-test: predict a picture with a known
    result, and raise `StartError` if the result is wrong, so that a worker that cannot work is never used.
    `predict` and `encode` raise `FaceattrError` for failures to report to the client; any other exception is reported
    as an internal error.
    """

    @property
    def models(self) -> Mapping[str, str]:
        """Name and SHA-256 of each model in use."""

    def predict(self, path: Path, options: Any, clock: Clock) -> R:
        """Return the result for one picture as plain data, without pixels."""

    def encode(self, result: R, media_type: str, path: Path) -> bytes:
        """Return the picture with the result drawn on it, encoded as one of the declaration's media types."""

    def close(self) -> None:
        """Release everything that was loaded."""


@dataclass(frozen=True)
class Declaration:
    """The description of a pipeline for the server."""

    load: str
    """Dotted name `module:Class` of the class for workers."""
    options: type[Options]
    settings: type[PipelineSettings]
    models: Callable[[Any], tuple[str, ...]]
    """Returns the names of the models that the settings need."""
    media_types: tuple[str, ...] = (JSON,)
    """The types that a request can be answered with; the first one is the default."""
    counts: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)
    """Numbers to read from each result for metrics and logs, by name."""
    repeatable: bool = True
    """True if the same picture and options always give the same result, which may then be cached."""
    result: type[BaseModel] | None = None
    """A model of the result for the OpenAPI document."""
    options_for: Callable[[Any], type[Options]] | None = None
    """Returns the class of options for the settings, if it depends on them."""

    def with_settings(self, settings: PipelineSettings) -> "Declaration":
        """Return this declaration with the options for the given settings."""
        return replace(self, options=self.options_for(settings)) if self.options_for else self


def resolve(name: str) -> Any:
    """Import and return the object with the dotted name `module:attribute`.

    Raises ImportError or AttributeError if it does not exist, ValueError if the name has another form.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{name!r} does not have the form 'package.module:name'")
    return getattr(import_module(module), attribute)
