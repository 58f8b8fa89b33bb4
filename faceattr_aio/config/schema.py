"""The settings by section, with types, ranges and defaults. Meanings and units are in conf/faceattr.toml; `load` reads
the file and the environment.
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
    NonNegativeInt,
    SecretStr,
    model_validator,
)
from pydantic_settings import NoDecode

from faceattr_aio.pipeline import Declaration, PipelineSettings, resolve, split_words

BUILT_IN: Mapping[str, Mapping[str, str]] = {
    "faces": {"factory": "faceattr_aio.faces:FaceAttributes", "path": "/analyze"},
    "holistic": {"factory": "faceattr_aio.holistic:Holistic", "path": "/predict"},
    "anime": {"factory": "faceattr_aio.anime:Anime", "path": "/api/convert"},
}
"""Default `factory` and `path` of the pipelines in the package, by name."""

AtLeastOne = Annotated[int, Field(ge=1)]
MIB = 1 << 20
MIN_KEY_LENGTH = 16


def validate_api_key(key: str) -> str:
    """Return `key` if it is long enough and fits into a header. Raises ValueError, without the key in its text."""
    if len(key) < MIN_KEY_LENGTH or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"an API key is at least {MIN_KEY_LENGTH} printable ASCII characters without spaces")
    return key


def _validate_secret(secret: SecretStr) -> SecretStr:
    validate_api_key(secret.get_secret_value())
    return secret


def _split_keys(value: object) -> object:
    """Reject an empty string: more likely a variable that lost its value than a server meant to be open."""
    words = split_words(value)
    if isinstance(value, str) and not words:
        raise ValueError("it contains no key; remove the setting if no keys are required")
    return words


ApiKeys = Annotated[
    tuple[Annotated[SecretStr, AfterValidator(_validate_secret)], ...], NoDecode, BeforeValidator(_split_keys)
]
Networks = Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(split_words)]
Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_words)]
Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff", "avif"]
Formats = Annotated[tuple[Format, ...], NoDecode, BeforeValidator(split_words), Field(min_length=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
WorkerRange = Annotated[int, Field(ge=0, le=1024)]


class ConfigSection(BaseModel):
    """Base of the sections: immutable, without unknown keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)


class ServerConfig(ConfigSection):
    host: str = "127.0.0.1"
    port: Port = 5000
    processes: Annotated[int, Field(ge=1, le=256)] = 1
    metrics_port: Port | None = None
    drain_s: Seconds = 20.0
    keepalive_s: Seconds = 75.0
    page: bool = True


class InferenceConfig(ConfigSection):
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    limit: AtLeastOne | None = None
    pool: Literal["auto", "process", "thread"] = "auto"
    timeout_s: Seconds = 10.0
    deadline_s: Seconds | None = None
    nice: Annotated[int, Field(ge=0, le=19)] = 10
    workers_min: WorkerRange = 0
    workers_max: WorkerRange = 0
    recycle_after: NonNegativeInt = 0
    recycle_bytes: NonNegativeInt = 0

    @model_validator(mode="after")
    def _check_workers(self) -> Self:
        if not self.workers_min and not self.workers_max:
            return self
        if not 1 <= self.workers_min <= self.workers_max:
            raise ValueError("set workers_min and workers_max together, with 1 <= workers_min <= workers_max")
        if self.workers:
            raise ValueError("workers is a fixed number, workers_min and workers_max are a range: set only one of them")
        return self

    @property
    def worker_count(self) -> int:
        """Workers at the start: as configured, by default one for each core that this process may use."""
        return self.workers_min or self.workers or len(os.sched_getaffinity(0))

    @property
    def max_workers(self) -> int:
        """The largest number of workers that autoscaling can start."""
        return self.workers_max or self.worker_count

    @property
    def limit_count(self) -> int:
        """The limit of requests in flight at the start."""
        return self.limit_of(self.worker_count)

    def limit_of(self, workers: int) -> int:
        """The limit for a number of workers: as configured, by default four for each worker."""
        return self.limit or 4 * workers


class UploadConfig(ConfigSection):
    dir: Path | None = None
    max_bytes: AtLeastOne = 20 * MIB
    max_part_bytes: AtLeastOne | None = None
    max_parts: AtLeastOne = 16
    max_batch: AtLeastOne = 8
    max_header_bytes: AtLeastOne = 4096
    timeout_s: Seconds = 30.0
    min_rate: AtLeastOne = 4096
    max_in_progress: AtLeastOne = 256
    max_spool_bytes: AtLeastOne = 1024 * MIB
    max_streams: AtLeastOne = 64
    stream_window: AtLeastOne | None = None

    @model_validator(mode="after")
    def _check_spool_size(self) -> Self:
        if self.max_spool_bytes < self.max_bytes:
            raise ValueError(f"max_spool_bytes must be at least max_bytes, which is {self.max_bytes}")
        return self


class ImageConfig(ConfigSection):
    formats: Formats = ("jpeg", "png", "webp")
    max_pixels: Annotated[int, Field(ge=1, le=1 << 30)] = 50_000_000
    max_scans: AtLeastOne = 100
    max_scan_megapixels: AtLeastOne = 600
    working_side: Annotated[int, Field(ge=64, le=16_384)] = 1024


class ModelsConfig(ConfigSection):
    dir: Path | None = None


class AuthConfig(ConfigSection):
    keys: ApiKeys = ()
    keys_file: Path | None = None
    admin_keys: ApiKeys = ()
    admin_keys_file: Path | None = None
    shared_keys: bool = False

    @property
    def required(self) -> bool:
        """True if requests need an API key."""
        return bool(self.keys) or self.keys_file is not None or self.shared_keys


class ClientsConfig(ConfigSection):
    fair: bool = False
    requests_per_minute: AtLeastOne | None = None
    trusted_proxies: Networks = ()


class CacheConfig(ConfigSection):
    backend: Literal["memory", "redis", "none"] = "memory"
    entries: AtLeastOne = 1000
    ttl_s: Seconds = 600.0
    url: str = "redis://127.0.0.1:6379/0"
    timeout_s: Seconds = 0.02
    control: str = "no-store"


class SharedConfig(ConfigSection):
    url: str | None = None
    timeout_s: Seconds = 0.02
    keys_period_s: Seconds = 5.0


class JobsConfig(ConfigSection):
    backend: Literal["memory", "celery", "none"] = "memory"
    waiting: AtLeastOne = 100
    max_batch: AtLeastOne = 16
    keep_s: Seconds = 3600.0
    kept: AtLeastOne = 10_000
    callbacks: Words = ()
    url: str = "redis://127.0.0.1:6379/1"
    visibility_s: Annotated[float, Field(ge=1, le=3600)] = 10.0


class StatsConfig(ConfigSection):
    window: Annotated[int, Field(ge=1, le=100_000)] = 1000
    alert_s: Seconds = 1.0
    alert_waiting: Annotated[float, Field(ge=0)] = 20.0
    alert_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.05


class LoggingConfig(ConfigSection):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    requests: bool = True
    traces: bool = False
    file: Path | None = None
    max_bytes: Annotated[int, Field(ge=1 << 16)] = 10 * MIB
    backup_count: Annotated[int, Field(ge=1, le=1000)] = 5


class PipelineEntry(BaseModel):
    """`[pipelines.NAME]`: the factory, the path of its route, and the pipeline's own keys."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow", frozen=True)

    factory: str
    path: Annotated[str, Field(pattern=r"^/[\w./-]*$")]
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    _declaration: Declaration
    _settings: PipelineSettings

    @model_validator(mode="after")
    def _resolve(self) -> Self:
        try:
            declaration = resolve(self.factory)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"the factory {self.factory!r} cannot be imported: {error}") from error
        if not isinstance(declaration, Declaration):
            raise ValueError(f"the factory {self.factory!r} is not a pipeline declaration")  # noqa: TRY004  # an invalid value
        self._settings = declaration.settings.model_validate(self.model_extra)
        self._declaration = declaration.with_settings(self._settings)
        return self

    @property
    def declaration(self) -> Declaration:
        return self._declaration

    @property
    def settings(self) -> PipelineSettings:
        return self._settings


class Config(BaseModel):
    """All settings. The constructor uses its arguments only; `load_config` also reads the file and the environment."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # an input may be an API key
    )

    server: ServerConfig = ServerConfig()
    inference: InferenceConfig = InferenceConfig()
    upload: UploadConfig = UploadConfig()
    image: ImageConfig = ImageConfig()
    models: ModelsConfig = ModelsConfig()
    auth: AuthConfig = AuthConfig()
    clients: ClientsConfig = ClientsConfig()
    cache: CacheConfig = CacheConfig()
    shared: SharedConfig = SharedConfig()
    jobs: JobsConfig = JobsConfig()
    stats: StatsConfig = StatsConfig()
    logging: LoggingConfig = LoggingConfig()
    pipelines: dict[str, PipelineEntry] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _add_built_in_defaults(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Complete the entries of built-in pipelines. The default is `faces` alone."""
        entries = values.get("pipelines", {"faces": {}})
        if not isinstance(entries, dict):
            return values  # the field's own validation reports it
        complete = {
            name: {**BUILT_IN.get(name, {}), **entry} if isinstance(entry, dict) else entry
            for name, entry in entries.items()
        }
        return {**values, "pipelines": complete}

    @model_validator(mode="after")
    def _check_sections(self) -> Self:
        paths = [entry.path for entry in self.pipelines.values()]
        if len(set(paths)) < len(paths):
            raise ValueError(f"two pipelines have the same path: {', '.join(sorted(paths))}")
        if self.auth.shared_keys and self.shared.url is None:
            raise ValueError("auth.shared_keys needs shared.url, the Redis that stores the keys")
        return self

    def with_auto_pool(self, kind: Literal["process", "thread"]) -> Self:
        """Return the settings with `inference.pool` set to `kind` if it is "auto"."""
        return self.with_values({"inference": {"pool": kind}}) if self.inference.pool == "auto" else self

    def with_values(self, sections: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the settings with other values for some keys, which are not validated."""
        changed = {name: getattr(self, name).model_copy(update=values) for name, values in sections.items()}
        return self.model_copy(update=changed)
