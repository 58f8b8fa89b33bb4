"""The interface as an OpenAPI 3.1 document: what is the same everywhere is in openapi.json, pipelines are added from
their declarations and failures from `errors`. Knows no pipeline by name and no HTTP library.
"""

import json
from importlib import metadata
from importlib.resources import files
from typing import Any

from pydantic import BaseModel

from faceattr_aio import errors
from faceattr_aio.config import Config, PipelineEntry
from faceattr_aio.errors import FaceattrError, NotNow, Unauthorized
from faceattr_aio.pipeline import JSON, Options

Node = dict[str, Any]
_SCHEMAS = "#/components/schemas/"
_PROBLEM = "application/problem+json"
_REQUEST_ID = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
_TIMING = {"Server-Timing": {"$ref": "#/components/headers/ServerTiming"}}
_ID, _CACHED = "d77e264f87ca45f3aab6c8a5a6905749", {"cached": False}
_PEOPLE = ("/", "/docs")


def describe(config: Config) -> Node:
    """The document for the pipelines and limits of these settings."""
    document: Node = json.loads((files("faceattr_aio") / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = metadata.version("faceattr-aio")
    paths, schemas = document["paths"], document["components"]["schemas"]
    for name, entry in config.pipelines.items():
        paths.setdefault(entry.path, {})["post"] = _operation(name, entry, config, schemas)
    for path in _absent(config):
        del paths[path]["get"]
    if not config.auth.required:
        del document["components"]["securitySchemes"]
    document["paths"] = {path: methods for path, methods in paths.items() if methods}
    return document


def _absent(config: Config) -> list[str]:
    """What these settings leave out, or put elsewhere."""
    return [*([] if config.server.page else _PEOPLE), *(["/metrics"] if config.server.metrics_port is not None else [])]


def _operation(name: str, entry: PipelineEntry, config: Config, schemas: Node) -> Node:
    declaration = entry.declaration
    answer = _answer(name, declaration.result, schemas)
    return {
        "operationId": name,
        "tags": ["pictures"],
        "summary": f"Pictures for the pipeline {name}.",
        "description": _limits(config),
        "parameters": [*_parameters(declaration.options), *_references("parameters", "Prefer", "RequestId")],
        "requestBody": _body(config),
        "responses": {"200": _success(declaration.media_types, answer), **_failures(config)},
        **({"security": [{"bearer": []}, {"header": []}]} if config.auth.required else {}),
        "x-pipeline": name,
        "x-limits": {"formats": config.image.formats, "max_bytes": config.upload.max_part_bytes or config.upload.max_bytes},
    }


def _references(kind: str, *names: str) -> list[Node]:
    return [{"$ref": f"#/components/{kind}/{name}"} for name in names]


def _limits(config: Config) -> str:
    formats = ", ".join(name.upper() for name in config.image.formats)
    return (
        f"{formats}, told by content; at most {config.upload.max_bytes / 2**20:.3g} MiB in a request, "
        f"{config.image.max_pixels / 1e6:.3g} megapixels in a picture and {config.upload.max_batch} pictures in a form, "
        "as parts named `image` or `file`. A form with one picture is answered like the picture alone."
    )


def _parameters(options: type[Options]) -> list[Node]:
    """One for each option, in the query."""
    properties: Node = options.model_json_schema()["properties"]
    return [_parameter(name, dict(schema)) for name, schema in properties.items()]


def _parameter(name: str, schema: Node) -> Node:
    schema.pop("title", None)
    described = {"description": schema.pop("description")} if "description" in schema else {}
    listed = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"name": name, "in": "query", **described, **listed, "schema": schema}


def _body(config: Config) -> Node:
    """A form, or one picture as it is."""
    pictures = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    form = {"type": "object", "properties": {"image": pictures | {"maxItems": config.upload.max_batch}}}
    raw = [*(f"image/{name}" for name in config.image.formats), "application/octet-stream"]
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {**form, "required": ["image"]}},
            **dict.fromkeys(raw, binary),
        },
    }


def _answer(name: str, result: type[BaseModel] | None, schemas: Node) -> Node:
    """The schema of what is answered to one picture or several, with an example of the former."""
    document, example = _result(result, schemas)
    picture, title = {"allOf": [document, _members("cached", cached={"type": "boolean"})]}, name.capitalize()
    schemas[f"{title}Picture"] = picture
    schemas[f"{title}Answer"] = {"allOf": [_ref(f"{title}Picture"), _members("id", id={"type": "string"})]}
    fault = _members("error", error=_ref("Problem"))
    each = {"type": "array", "items": {"oneOf": [_ref(f"{title}Picture"), fault]}}
    schemas[f"{title}Answers"] = _members("id", "results", id={"type": "string"}, results=each)
    schema = {"oneOf": [_ref(f"{title}Answer"), _ref(f"{title}Answers")]}
    return {"schema": schema, **({"example": {"id": _ID} | example | _CACHED} if example else {})}


def _result(result: type[BaseModel] | None, schemas: Node) -> tuple[Node, Node]:
    if result is None:
        return {"type": "object"}, {}
    schema = result.model_json_schema(ref_template=_SCHEMAS + "{model}", mode="serialization")
    schemas |= schema.pop("$defs", {})
    example = schema.pop("example", {})
    schemas[result.__name__] = schema
    return _ref(result.__name__), example


def _ref(name: str) -> Node:
    return {"$ref": _SCHEMAS + name}


def _members(*required: str, **properties: Node) -> Node:
    return {"type": "object", "required": list(required), "properties": properties}


def _success(media_types: tuple[str, ...], answer: Node) -> Node:
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {
        "description": "The answer; a picture is drawn on where Accept asks for one.",
        "headers": _REQUEST_ID | _TIMING,
        "content": {kind: answer if kind == JSON else binary for kind in media_types},
    }


def _failures(config: Config) -> Node:
    """By status, all that can go wrong."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)]
    named = [one for one in kinds if one not in (FaceattrError, NotNow)]
    possible = [one for one in named if config.auth.required or one is not Unauthorized]
    by_status: dict[int, list[type[FaceattrError]]] = {}
    for one in possible:
        by_status.setdefault(one.status, []).append(one)
    return {str(status): _failure(status, by_status[status]) for status in sorted(by_status)}


def _failure(status: int, kinds: list[type[FaceattrError]]) -> Node:
    named = {"properties": {"type": {"enum": [_type(kind) for kind in kinds]}, "status": {"const": status}}}
    return {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "headers": _REQUEST_ID | _headers(kinds[0]),
        "content": {
            _PROBLEM: {
                "schema": {"allOf": [_ref("Problem"), named]},
                "examples": {kind.kind: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _headers(kind: type[FaceattrError]) -> Node:
    if issubclass(kind, NotNow):
        return {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return {"WWW-Authenticate": {"$ref": "#/components/headers/Authenticate"}} if kind is Unauthorized else {}


def _type(kind: type[FaceattrError]) -> str:
    return f"urn:faceattr:{kind.kind}"


def _example(kind: type[FaceattrError]) -> Node:
    detail = kind.title if kind.sentence == FaceattrError.sentence else kind.sentence
    return {"type": _type(kind), "title": kind.title, "status": kind.status, "detail": detail, "instance": _ID}
