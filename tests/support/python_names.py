"""Read the Python interface: public names with their signatures, settings, built-in pipelines, errors."""

import inspect
import re
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

import faceattr_aio
from faceattr_aio import client, errors
from faceattr_aio.config import Config
from faceattr_aio.config.load import DELIMITER, PREFIX
from tests.support.schemas import Tree, meaning

IMPORTED = {
    "faceattr_aio.anime": ("Anime", "AnimeOptions", "AnimeSettings"),
    "faceattr_aio.cli": ("main",),
    "faceattr_aio.config": ("Config",),
    "faceattr_aio.errors": ("DeadlineExceeded", "FaceattrError", "InternalError", "NotNow", "StartError"),
    "faceattr_aio.faces": ("FaceAttributes", "FaceOptions", "FaceSettings"),
    "faceattr_aio.holistic": ("Holistic", "HolisticOptions", "HolisticSettings"),
    "faceattr_aio.imaging": ("Picture", "decode", "encode", "read", "shrink"),
    "faceattr_aio.pipeline": (
        *("JSON", "NDJSON", "Clock", "Declaration", "ModelFile", "Options", "Pipeline", "PipelineSettings", "Plan"),
        *("Reply", "Task", "resolve", "split_words"),
    ),
}
"""Modules and names that the documentation, the settings and third-party pipelines use."""

METHODS = {
    "faceattr_aio:Executor": ("check", "close", "declarations", "reload", "run", "start"),
    "faceattr_aio.client:Client": (
        *("analyze", "analyze_batch", "annotate", "ask", "result", "stream", "submit", "__aenter__", "__aexit__"),
    ),
    "faceattr_aio.pipeline:Clock": ("lap",),
    "faceattr_aio.pipeline:Declaration": ("with_settings",),
    "faceattr_aio.pipeline:Pipeline": ("close", "encode", "models", "predict"),
}
"""Methods and properties that the documentation names."""

BUILT_IN = ("faces", "holistic", "anime")
_ARRAY = re.compile(r"ndarray\[.*?dtype\[(\w+)\]\]")
_MODULES = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])")


def public_names() -> Tree:
    """Return every public name with its signature, by module."""
    found = {
        "faceattr_aio": _names(faceattr_aio, faceattr_aio.__all__),
        "faceattr_aio.client": _names(client, client.__all__),
    }
    return found | {module: _names(import_module(module), names) for module, names in IMPORTED.items()}


def methods() -> Tree:
    """Return the signatures of public methods, and the type of each public property."""
    found = {}
    for place, names in METHODS.items():
        module, _, owner = place.partition(":")
        kind = getattr(import_module(module), owner)
        found[place] = {name: _text(getattr(kind, name)) for name in names}
    return found


def answers() -> Tree:
    """Return the schemas of the objects that methods of the client return."""
    kinds = {name: get_type_hints(getattr(client.Client, name))["return"] for name in ("analyze", "submit")}
    return {name: _schema(kind) | {"more": _properties(kind)} for name, kind in kinds.items()}


def settings() -> Tree:
    """Return each setting with its type, range and default, and the form of the environment variables."""
    schema, defaults = _schema(Config), Config().model_dump(mode="json")
    entry = schema["properties"].pop("pipelines")["additionalProperties"]
    keys = {"pipelines.NAME." + name: one for name, one in entry["properties"].items()}
    for section, node in schema["properties"].items():
        for name, one in node["properties"].items():
            keys[f"{section}.{name}"] = one | {"default": defaults[section][name]}
    return {
        "keys": keys,
        "sections refuse unknown keys": [name for name, node in schema["properties"].items() if _is_closed(node)],
        "pipelines without any in the settings": list(Config().pipelines),
        "environment": f"{PREFIX}SECTION{DELIMITER}KEY",
    }


def pipelines() -> Tree:
    """Return the settings, the options and the kinds of answer of each built-in pipeline."""
    config = Config.model_validate({"pipelines": {name: {} for name in BUILT_IN}})
    found: Tree = {}
    for name, entry in config.pipelines.items():
        declaration = entry.declaration
        found[name] = {
            "factory": entry.factory,
            "path": entry.path,
            "share": entry.share,
            "settings": _schema(declaration.settings),
            "options": _schema(declaration.options),
            "media types": list(declaration.media_types),
            "counts": sorted(declaration.counts),
            "repeatable": declaration.repeatable,
            "models": list(declaration.models(entry.settings)),
        }
    return found


def problems() -> Tree:
    """Return status and class of each problem type, and whether the client may retry."""
    found: Tree = {}
    for name, kind in (vars(errors) | vars(client)).items():
        if isinstance(kind, type) and issubclass(kind, faceattr_aio.FaceattrError) and "kind" in vars(kind):
            classes = sorted({*found.get(kind.kind, {}).get("classes", ()), name})
            found[kind.kind] = {"status": kind.status, "classes": classes, "retry": issubclass(kind, errors.NotNow)}
    return found


def _names(module: ModuleType, names: Iterable[str]) -> Tree:
    return {name: _text(getattr(module, name)) for name in names}


def _text(thing: Any) -> str:
    """Return kind and signature, without the modules of annotations."""
    if isinstance(thing, property):
        return f"property -> {_plain(inspect.formatannotation(get_type_hints(thing.fget)['return']))}"
    if isinstance(thing, type):
        return _class_text(thing)
    if inspect.isfunction(thing):
        return f"{'async def' if inspect.iscoroutinefunction(thing) else 'def'} {_plain(str(inspect.signature(thing)))}"
    return _plain(repr(thing)) if isinstance(thing, str) or get_args(thing) else type(thing).__name__


def _class_text(thing: type) -> str:
    if issubclass(thing, BaseModel):
        return "model"
    kind = "exception" if issubclass(thing, Exception) else "class"
    has_none = getattr(thing, "_is_protocol", False) or thing.__init__ in {object.__init__, Exception.__init__}
    return kind if has_none else f"{kind} {_plain(str(inspect.signature(thing)))}"


def _plain(text: str) -> str:
    """Leave out the modules of names; an array is called the same with every version of numpy."""
    return _ARRAY.sub(r"array of \1", _MODULES.sub("", text))


def _schema(model: type[BaseModel]) -> Tree:
    schema = model.model_json_schema()
    found: Tree = meaning(schema, schema)
    found.pop("$defs", None)
    return found


def _properties(model: type[BaseModel]) -> list[str]:
    return sorted(name for name, one in vars(model).items() if isinstance(one, property) and not name.startswith("_"))


def _is_closed(node: Tree) -> bool:
    return node.get("additionalProperties") is False
