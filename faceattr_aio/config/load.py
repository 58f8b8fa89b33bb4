"""Loads the settings: defaults < file < environment < flags, validated together, each value with its origin. Also
loads the modules that need an optional dependency.
"""

import os
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from faceattr_aio.config.schema import Config
from faceattr_aio.errors import StartError

PREFIX, DELIMITER = "FACEATTR_", "__"
DEFAULT = "default"
DEFAULT_FILE = Path("conf/faceattr.toml")
SECRETS = "auth.keys", "auth.admin_keys"
"""Settings with values that never appear in a message."""

Origins = Mapping[str, str]
"""The origin of each key that is set, as `section.key`: environment, flag, or the name of the file."""


def load_config(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> tuple[Config, Origins]:
    """Return the effective configuration and the origin of each value.

    The file is `file`, else FACEATTR_CONFIG, else conf/faceattr.toml if it exists. Raises StartError for a file that
    is missing or not valid TOML, and for a key that is unknown or out of range, with key, value and allowed range.
    """
    path = _find_file(file)
    merged, origins = dict[str, Any](), dict[str, str]()
    file_values = _read_file(path) if path else {}
    for origin, values in (str(path), file_values), ("environment", _read_environment()), ("flag", flags or {}):
        merged = _merge(merged, values)
        higher = dict.fromkeys((key for key, _ in leaves(values)), origin)
        origins = higher | {key: lower for key, lower in origins.items() if key not in higher}
    try:
        config = Config(**merged)
    except ValidationError as error:
        raise StartError("; ".join(_messages(error, origins))) from error
    return config, origins


def load_extra(module: str, extra: str) -> ModuleType:
    """Import a module of this package that needs the libraries of an extra.

    Raises StartError with the command that installs them.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise StartError(
            f"{error}: run pip install 'faceattr-aio[{extra}]', or change the setting that needs it."
        ) from error


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each key as `section.key`, with its value."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def origin_of(key: str, origins: Origins) -> str:
    """Return the origin of a key or section."""
    return next((origin for known, origin in origins.items() if _overlap(known, key)), DEFAULT)


def _overlap(one: str, other: str) -> bool:
    """Return whether the keys are equal or one contains the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _find_file(file: Path | None) -> Path | None:
    named = file or os.environ.get(f"{PREFIX}CONFIG")
    if named and not Path(named).is_file():
        raise StartError(f"The configuration file {named} does not exist.")
    return Path(named) if named else DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise StartError(f"The configuration file {path} cannot be read: {error}.") from error


class _Environment(BaseSettings, Config):
    """The settings with the options for parsing environment variables."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=DELIMITER, extra="forbid"
    )


def _read_environment() -> dict[str, Any]:
    for name in os.environ:
        section, delimiter, _ = name.removeprefix(PREFIX).partition(DELIMITER)
        if name.startswith(PREFIX) and delimiter and section.lower() not in Config.model_fields:
            known = ", ".join(Config.model_fields)
            raise StartError(f"The environment variable {name} does not name a section; the sections are {known}.")
    try:
        return EnvSettingsSource(_Environment)()
    except SettingsError as error:
        raise StartError(f"The environment variables cannot be parsed: {error}.") from error


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def _messages(error: ValidationError, origins: Origins, prefix: tuple[str | int, ...] = ()) -> Iterator[str]:
    """Yield a message for each invalid key: the key, its value, its origin, and the allowed values.

    The value is left out if it is a secret, or if it may be one under a misspelt key.
    """
    for fault in error.errors():
        path = prefix + fault["loc"]
        cause = fault.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            yield from _messages(cause, origins, path)
            continue
        key = ".".join(map(str, path))
        origin = origin_of(key, origins)
        source = "" if origin == DEFAULT else f", from {origin}"
        is_unknown = fault["type"] == "extra_forbidden"
        reason = "there is no such key" if is_unknown else fault["msg"]
        hidden = is_unknown or isinstance(fault["input"], dict) or any(_overlap(key, secret) for secret in SECRETS)
        value = "" if hidden else f" = {fault['input']!r}"
        yield f"{key}{value}{source}: {reason}"
