"""Where settings come from: defaults < file < environment < flags, checked together, each value with its origin.
Knows no argv and no section by name.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError, TomlConfigSettingsSource

from faceattr_aio.config.schema import DELIMITER, HIDDEN, PREFIX, Config
from faceattr_aio.errors import StartError

DEFAULT = "default"
DEFAULT_FILE = Path("conf/faceattr.toml")

Origins = Mapping[str, str]
"""For every key as `section.key`: default, environment, flag, or the file's name."""


def load_config(flags: Mapping[str, Any] | None = None, file: Path | None = None) -> tuple[Config, Origins]:
    """The effective configuration and where each value came from.

    The file is `file`, else FACEATTR_CONFIG, else conf/faceattr.toml if it is there. Raises StartError for a file
    that is missing or no TOML, and for a key that is unknown or out of range, with key, value and allowed range.
    """
    chosen = _choose_file(file)
    sources: list[tuple[str, dict[str, Any]]] = [
        (str(chosen), _read_file(chosen) if chosen else {}),
        ("environment", _read_environment()),
        ("flag", dict(flags or {})),
    ]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, values in sources:
        merged = _merge(merged, values)
        higher = dict.fromkeys((key for key, _ in leaves(values)), origin)
        origins = higher | {key: lower for key, lower in origins.items() if key not in higher}
    try:
        config = Config(**merged)
    except ValidationError as error:
        raise StartError("; ".join(_sentences(error, origins))) from error
    return config, origins


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The keys as `section.key`, with their values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def origin_of(key: str, origins: Origins) -> str:
    """Where a key, or something in a section, came from."""
    for known, origin in origins.items():
        if _overlap(known, key):
            return origin
    return DEFAULT


def _overlap(one: str, other: str) -> bool:
    """Whether one of the keys is the other, or something in it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _choose_file(file: Path | None) -> Path | None:
    named = file or (Path(os.environ[PREFIX + "CONFIG"]) if os.environ.get(PREFIX + "CONFIG") else None)
    if named is not None and not named.is_file():
        raise StartError(f"The configuration file {named} does not exist.")
    return named or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return TomlConfigSettingsSource(Config, path)()
    except (ValueError, OSError) as error:
        raise StartError(f"The configuration file {path} cannot be read: {error}.") from error


def _read_environment() -> dict[str, Any]:
    for name in os.environ:
        section, delimiter, _ = name.removeprefix(PREFIX).partition(DELIMITER)
        if name.startswith(PREFIX) and delimiter and section.lower() not in Config.model_fields:
            known = ", ".join(Config.model_fields)
            raise StartError(f"The environment variable {name} names no section; there are {known}.")
    try:
        return EnvSettingsSource(Config)()
    except SettingsError as error:
        raise StartError(f"The environment cannot be read: {error}.") from error


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        lower = merged.get(key)
        merged[key] = _merge(lower, value) if isinstance(lower, dict) and isinstance(value, dict) else value
    return merged


def _sentences(error: ValidationError, origins: Origins, prefix: tuple[str | int, ...] = ()) -> Iterator[str]:
    """One sentence for each wrong key: the key, its value, where it came from, what is allowed. A value stays unsaid
    where it is a secret, or may be one under a misspelt key.
    """
    for wrong in error.errors():
        path = prefix + wrong["loc"]
        cause = wrong.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            yield from _sentences(cause, origins, path)
            continue
        key = ".".join(str(part) for part in path)
        origin = origin_of(key, origins)
        place = "" if origin == DEFAULT else f", from {origin}"
        unknown = wrong["type"] == "extra_forbidden"
        said = "there is no such key" if unknown else wrong["msg"]
        unsaid = unknown or isinstance(wrong["input"], dict) or any(_overlap(key, hidden) for hidden in HIDDEN)
        value = "" if unsaid else f" = {wrong['input']!r}"
        yield f"{key}{value}{place}: {said}"
