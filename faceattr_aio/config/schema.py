"""The settings by section, with types, ranges and defaults; meanings and units are in conf/faceattr.toml.
Reads nothing: `sources` does.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from faceattr_aio.pipeline import Declaration, PipelineSettings, resolve

PREFIX, DELIMITER = "FACEATTR_", "__"
BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "faces": {"factory": "faceattr_aio.faces:FaceAttributes", "path": "/analyze"},
    "holistic": {"factory": "faceattr_aio.holistic:Holistic", "path": "/predict"},
    "anime": {"factory": "faceattr_aio.anime:Anime", "path": "/api/convert"},
}
"""The pipelines whose entry may leave out `factory` and `path`."""
HIDDEN = "auth.keys", "auth.admin_keys"
"""The settings whose values are never shown."""

Natural = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Folder = Path | None
MIB = 1 << 20
SHORTEST_KEY = 16


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _words_if_any(value: object) -> object:
    """Fails closed: who sets a variable to nothing has lost the keys, rather than wants none."""
    words = _words(value)
    if isinstance(value, str) and not words:
        raise ValueError("there is no key in it; leave it out where no keys are wanted")
    return words


def sane_key(key: str) -> str:
    """An API key that nobody guesses and any header can carry. Raises ValueError, without the key."""
    if len(key) < SHORTEST_KEY or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"an API key is at least {SHORTEST_KEY} letters, digits or signs of ASCII, without spaces")
    return key


def _sane_secret(secret: SecretStr) -> SecretStr:
    sane_key(secret.get_secret_value())
    return secret


ApiKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_sane_secret)], ...], NoDecode, BeforeValidator(_words_if_any)
]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_words)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"]
Formats = Annotated[tuple[Format, ...], NoDecode, BeforeValidator(_words), Field(min_length=1)]


class Section(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class Server(Section):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 5000
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    drain_s: Seconds = 20.0
    keepalive_s: Seconds = 75.0
    page: bool = True


class Inference(Section):
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    limit: Natural | None = None
    pool: Literal["auto", "process", "thread"] = "auto"
    timeout_s: Seconds = 10.0
    deadline_s: Seconds | None = None
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    workers_min: Annotated[int, Field(ge=0, le=1024)] = 0
    workers_max: Annotated[int, Field(ge=0, le=1024)] = 0
    recycle_after: Count = 0
    recycle_bytes: Count = 0

    @model_validator(mode="after")
    def _workers_are_a_number_or_a_range(self) -> Self:
        if not self.workers_min and not self.workers_max:
            return self
        if not 1 <= self.workers_min <= self.workers_max:
            raise ValueError("workers_min and workers_max are set together, the one at least 1, the other no less")
        if self.workers:
            raise ValueError("workers is a fixed number, workers_min and workers_max are a range: set one of the two")
        return self

    @property
    def worker_count(self) -> int:
        """At the start: as configured, else one for each core that this process may use."""
        return self.workers_min or self.workers or len(os.sched_getaffinity(0))

    @property
    def most_workers(self) -> int:
        """As many as there may ever be."""
        return self.workers_max or self.worker_count

    @property
    def limit_count(self) -> int:
        """At the start."""
        return self.limit_of(self.worker_count)

    def limit_of(self, workers: int) -> int:
        """As configured, else four for each worker."""
        return self.limit or 4 * workers


class Upload(Section):
    dir: Folder = None
    max_bytes: Natural = 20 * MIB
    max_part_bytes: Natural | None = None
    max_parts: Natural = 16
    max_batch: Natural = 8
    max_header_bytes: Natural = 4096
    timeout_s: Seconds = 30.0
    min_rate: Natural = 4096
    max_in_progress: Natural = 256
    max_spool_bytes: Natural = 1024 * MIB
    max_streams: Natural = 64
    stream_window: Natural | None = None

    @model_validator(mode="after")
    def _one_request_fits(self) -> Self:
        if self.max_spool_bytes < self.max_bytes:
            raise ValueError(f"max_spool_bytes must be at least max_bytes, which is {self.max_bytes}")
        return self


class Image(Section):
    formats: Formats = ("jpeg", "png", "webp")
    max_pixels: Annotated[int, Field(ge=1, le=1 << 30)] = 50_000_000
    max_scans: Natural = 100
    max_scan_megapixels: Natural = 600
    working_side: Annotated[int, Field(ge=64, le=16_384)] = 1024


class Models(Section):
    dir: Folder = None


class Auth(Section):
    keys: ApiKeys = ()
    keys_file: Path | None = None
    admin_keys: ApiKeys = ()
    admin_keys_file: Path | None = None
    shared_keys: bool = False

    @property
    def required(self) -> bool:
        """Whether a request has to show a key."""
        return bool(self.keys) or self.keys_file is not None or self.shared_keys


class Clients(Section):
    fair: bool = False
    requests_per_minute: Natural | None = None
    trusted_proxies: Networks = ()


class Cache(Section):
    backend: Literal["memory", "redis", "none"] = "memory"
    entries: Natural = 1000
    ttl_s: Seconds = 600.0
    url: str = "redis://127.0.0.1:6379/0"
    timeout_s: Seconds = 0.02
    control: str = "no-store"


class Shared(Section):
    url: str | None = None
    timeout_s: Seconds = 0.02
    keys_period_s: Seconds = 5.0


class Jobs(Section):
    backend: Literal["memory", "celery", "none"] = "memory"
    waiting: Natural = 100
    max_batch: Natural = 16
    keep_s: Seconds = 3600.0
    kept: Natural = 10_000
    callbacks: Words = ()
    url: str = "redis://127.0.0.1:6379/1"
    visibility_s: Annotated[float, Field(ge=1, le=3600)] = 10.0


class Stats(Section):
    window: Annotated[int, Field(ge=1, le=100_000)] = 1000
    alert_s: Seconds = 1.0
    alert_waiting: Annotated[float, Field(ge=0)] = 20.0
    alert_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.05


class Logging(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    requests: bool = True
    traces: bool = False
    file: Path | None = None
    max_bytes: Annotated[int, Field(ge=1 << 16)] = 10 * MIB
    backup_count: Annotated[int, Field(ge=1, le=1000)] = 5


def _declaration(name: str) -> Declaration:
    found = resolve(name)
    if not isinstance(found, Declaration):
        raise ValueError("it is no pipeline declaration")  # noqa: TRY004  # a value, to those who configure
    return found


class PipelineEntry(BaseModel):
    """`[pipelines.NAME]`: whom to ask, under which path, and the pipeline's own keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    factory: str
    path: Annotated[str, Field(pattern=r"^/[\w./-]*$")]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    _declaration: Declaration = PrivateAttr()
    _settings: PipelineSettings = PrivateAttr()

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        try:
            declaration = _declaration(self.factory)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"the factory {self.factory!r} cannot be imported: {error}") from error
        self._settings = declaration.settings.model_validate(self.model_extra)
        self._declaration = declaration.with_settings(self._settings)
        return self

    @property
    def declaration(self) -> Declaration:
        return self._declaration

    @property
    def settings(self) -> PipelineSettings:
        return self._settings


class Config(BaseSettings):
    """All settings. Made in code it takes what it is given; `sources.load_config` reads file and environment too."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # it may be an API key
    )

    server: Server = Server()
    inference: Inference = Inference()
    upload: Upload = Upload()
    image: Image = Image()
    models: Models = Models()
    auth: Auth = Auth()
    clients: Clients = Clients()
    cache: Cache = Cache()
    shared: Shared = Shared()
    jobs: Jobs = Jobs()
    stats: Stats = Stats()
    logging: Logging = Logging()
    pipelines: dict[str, PipelineEntry] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _complete_built_in(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Without any pipelines there is `faces`."""
        entries = values.get("pipelines", {"faces": {}})
        if not isinstance(entries, dict):
            return values  # and be refused
        complete = {
            name: {**BUILT_IN.get(name, {}), **entry} if isinstance(entry, dict) else entry
            for name, entry in entries.items()
        }
        return {**values, "pipelines": complete}

    @model_validator(mode="after")
    def _paths_differ(self) -> Self:
        paths = [entry.path for entry in self.pipelines.values()]
        if len(set(paths)) < len(paths):
            raise ValueError(f"two pipelines have the same path: {', '.join(sorted(paths))}")
        return self

    @model_validator(mode="after")
    def _shared_keys_are_somewhere(self) -> Self:
        if self.auth.shared_keys and self.shared.url is None:
            raise ValueError("auth.shared_keys needs shared.url, the Redis that they are in")
        return self

    def with_auto_pool(self, kind: Literal["process", "thread"]) -> "Config":
        """The same settings, with `kind` where `inference.pool` is left open."""
        if self.inference.pool != "auto":
            return self
        return self.model_copy(update={"inference": self.inference.model_copy(update={"pool": kind})})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  # see below
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed in, alone: nothing is read behind an embedding program's back."""
        return (init_settings,)
