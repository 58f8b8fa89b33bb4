"""The contract between the server and what it serves. A pipeline has two halves: a `Declaration`, importable without
the vision library, and a class that only a worker sees. Knows neither HTTP nor pixels.
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
"""A line of JSON for each picture, as soon as it is known: any pipeline with results as JSON can be asked for it."""
Source = Literal["bypass", "miss", "collapsed", "hit"]
"""Of a result: computed, unlooked for; computed and kept; computed for somebody else at the same time; known before."""
R = TypeVar("R")


class Options(BaseModel):
    """What a client may ask of one request; the server answers 400 with names and ranges from the fields."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class PipelineSettings(BaseModel):
    """The keys of `[pipelines.NAME]` that are the pipeline's own."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


def split_words(value: object) -> object:
    """A text of words, with commas or spaces between, as a tuple, for options that take several; all else as it is."""
    return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value


class Clock:
    """Splits the time of one task into named stages, in milliseconds; laps of one name add up."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Ends a stage here."""
        now = time.perf_counter()
        self.laps[stage] = self.laps.get(stage, 0.0) + (now - self._last) * 1e3
        self._last = now


@dataclass(frozen=True)
class ModelFile:
    """A verified file of a model."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class LoadSpec:
    """All that a worker needs to load a pipeline; plain data, because it may cross to another process.

    `load` is the dotted name `module:Class`, called with the plan; `working_side` is the longest side, in pixels, of
    the picture that is worked on; `own_process` allows settings that hold for a whole process.
    """

    load: str
    settings: PipelineSettings
    files: Mapping[str, ModelFile]
    working_side: int
    own_process: bool = False


Plan = LoadSpec
"""The name in pipelines written for version 0.1."""


@dataclass(frozen=True)
class Task:
    """One picture and what is wanted of it. No `options` means the pipeline's defaults; with a `media_type` the
    reply has the encoded body of that type as well. `probed` tells that the picture's header was looked at already.
    """

    path: Path
    options: Options | None = None
    media_type: str | None = None
    probed: bool = False


@dataclass(frozen=True)
class Reply:
    """`result` is plain data, `body` the encoded answer when one was asked for, `laps` milliseconds by stage. `source`
    tells where it is from.
    """

    result: Any
    body: bytes | None = None
    laps: Mapping[str, float] = field(default_factory=dict)
    source: Source = "bypass"


Outcome = Reply | FaceattrError
"""The reply for one picture, or why there is none."""


class Pipeline(Protocol[R]):
    """The worker's half. `predict` and `encode` raise `FaceattrError`; whatever else they raise is a fault of ours.

    It is made from a plan, and as the last of that proves that what it loaded works: it predicts a picture of its own,
    and raises `StartError` when the result is not what it must be. A worker that could not do its work never gets any.
    """

    @property
    def models(self) -> Mapping[str, str]:
        """Name and SHA-256 of each model in use."""

    def predict(self, path: Path, options: Any, clock: Clock) -> R:
        """The result for one picture, as plain data without pixels."""

    def encode(self, result: R, media_type: str, path: Path) -> bytes:
        """The result drawn on the picture, in one of the declaration's media types."""

    def close(self) -> None:
        """Gives back what was loaded."""


@dataclass(frozen=True)
class Declaration:
    """The server's half: what can be asked, what can be answered, which models the settings need, whom to load; how to
    count, in a result, what metrics and logs tell of, by name; whether the same picture gives the same result again;
    what a result looks like, for those who read of it; and the options, where they depend on the settings.
    """

    load: str
    options: type[Options]
    settings: type[PipelineSettings]
    models: Callable[[Any], tuple[str, ...]]
    media_types: tuple[str, ...] = (JSON,)
    counts: Mapping[str, Callable[[Any], int]] = field(default_factory=dict)
    repeatable: bool = True
    result: type[BaseModel] | None = None
    options_for: Callable[[Any], type[Options]] | None = None

    def with_settings(self, settings: PipelineSettings) -> "Declaration":
        """The same, with the options that there are with these settings."""
        return replace(self, options=self.options_for(settings)) if self.options_for else self


def resolve(name: str) -> Any:
    """The object with the dotted name `module:attribute`.

    Raises ImportError or AttributeError when there is none, ValueError when the name has another form.
    """
    module, colon, attribute = name.partition(":")
    if not (module and colon and attribute):
        raise ValueError(f"{name!r} does not have the form 'package.module:name'")
    return getattr(import_module(module), attribute)
