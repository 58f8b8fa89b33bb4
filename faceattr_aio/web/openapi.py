"""The interface as an OpenAPI 3.1 document: what is the same everywhere is in openapi.json, pipelines are added from
their declarations. Knows no pipeline by name and no HTTP library.
"""

import json
from collections.abc import Iterable
from importlib import metadata
from importlib.resources import files

from faceattr_aio.config.schema import Config, PipelineEntry
from faceattr_aio.pipeline import JSON, NDJSON, Options
from faceattr_aio.web.openapi_jobs import CALLBACK, accepted, job_paths
from faceattr_aio.web.openapi_schemas import BINARY, REQUEST_ID, Node, answer_schema, failure_responses, model_schema

_HEADERS = {
    "Server-Timing": {"$ref": "#/components/headers/ServerTiming"},
    "Cache-Status": {"$ref": "#/components/headers/CacheStatus"},
    "Cache-Control": {"$ref": "#/components/headers/CacheControl"},
}
_SENT = "Prefer", "RequestId", "CacheControl", "ContentDigest"
_PEOPLE = ("/", "/docs")
_LINES: Node = {
    "schema": {
        "type": "string",
        "description": "A line for each picture of the form, of which there may be any number, as soon as it is known: "
        "what is answered to it alone and its `number` from 0, or `id`, `number` and `error`. A last line without a "
        "`number` says why there are no more.",
    }
}


def describe(config: Config) -> Node:
    """The document for the pipelines and limits of these settings."""
    document: Node = json.loads((files("faceattr_aio.web") / "openapi.json").read_text("utf-8"))
    document["info"]["version"] = metadata.version("faceattr-aio")
    paths, schemas = document["paths"], document["components"]["schemas"]
    failures = failure_responses(locked=config.auth.required)
    document["components"]["responses"] |= failures
    for name, entry in config.pipelines.items():
        paths.setdefault(entry.path, {})["post"] = _operation(name, entry, config, schemas, failures)
    if able := _able(config):
        body, parameters = _body(config, config.jobs.max_batch), _references("parameters", "RequestId", "CacheControl")
        parameters += [CALLBACK] if config.jobs.callbacks else []
        paths |= job_paths(able, body, parameters, schemas, _failures(failures), locked=config.auth.required)
    for path in _absent(config):
        del paths[path]["get"]
    if not config.auth.required:
        del document["components"]["securitySchemes"]
    document["paths"] = {path: methods for path, methods in paths.items() if methods}
    return document


def _able(config: Config) -> list[str]:
    """The pipelines that can have jobs."""
    if config.jobs.backend == "none":
        return []
    return [name for name, entry in config.pipelines.items() if JSON in entry.declaration.media_types]


def _absent(config: Config) -> list[str]:
    """What these settings leave out, or put elsewhere."""
    return [*([] if config.server.page else _PEOPLE), *(["/metrics"] if config.server.metrics_port is not None else [])]


def _operation(name: str, entry: PipelineEntry, config: Config, schemas: Node, failures: Iterable[str]) -> Node:
    declaration, locked = entry.declaration, config.auth.required
    answer = answer_schema(name, declaration.result, schemas) if JSON in declaration.media_types else {}
    return {
        "operationId": name,
        "tags": ["pictures"],
        "summary": f"Pictures for the pipeline {name}.",
        "description": _limits(config),
        "parameters": [*_parameters(declaration.options, schemas), *_references("parameters", *_SENT)],
        "requestBody": _body(config, config.upload.max_batch),
        "responses": {
            "200": _success(declaration.media_types, answer),
            **({"202": accepted(schemas)} if name in _able(config) else {}),
            **_failures(failures),
        },
        **({"security": [{"bearer": []}, {"header": []}]} if locked else {}),
        "x-pipeline": name,
        "x-limits": {
            "formats": config.image.formats,
            "max_bytes": config.upload.max_part_bytes or config.upload.max_bytes,
        },
    }


def _failures(names: Iterable[str]) -> Node:
    """By status, each where all pipelines have it."""
    return {name: {"$ref": f"#/components/responses/{name}"} for name in names}


def _references(kind: str, *names: str) -> list[Node]:
    return [{"$ref": f"#/components/{kind}/{name}"} for name in names]


def _limits(config: Config) -> str:
    formats = ", ".join(name.upper() for name in config.image.formats)
    return (
        f"{formats}, told by content; at most {config.upload.max_bytes / 2**20:.3g} MiB in a request, "
        f"{config.image.max_pixels / 1e6:.3g} megapixels in a picture and {config.upload.max_batch} pictures in a "
        "form, as parts named `image` or `file`. A form with one picture is answered like the picture alone."
    )


def _parameters(options: type[Options], schemas: Node) -> list[Node]:
    """One for each option, in the query."""
    properties: Node = model_schema(options, schemas).get("properties", {})
    return [_parameter(name, dict(schema)) for name, schema in properties.items()]


def _parameter(name: str, schema: Node) -> Node:
    schema.pop("title", None)
    described = {"description": schema.pop("description")} if "description" in schema else {}
    listed = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return {"name": name, "in": "query", **described, **listed, "schema": schema}


def _body(config: Config, most: int) -> Node:
    """A form of so many pictures, or one as it is."""
    pictures = {"type": "array", "items": BINARY["schema"], "minItems": 1}
    form = {
        "type": "object",
        "properties": {"image": pictures | {"maxItems": most}},
        "additionalProperties": {"type": "string"},
        "maxProperties": config.upload.max_parts + max(0, most - config.upload.max_batch),
    }
    raw = [*(f"image/{name}" for name in config.image.formats), "application/octet-stream"]
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {**form, "required": ["image"]}},
            **dict.fromkeys(raw, BINARY),
        },
    }


def _success(media_types: tuple[str, ...], answer: Node) -> Node:
    content = {kind: answer if kind == JSON else BINARY for kind in media_types}
    return {
        "description": "The answer; a picture is drawn on where Accept asks for one.",
        "headers": REQUEST_ID | _HEADERS,
        "content": content | ({NDJSON: _LINES} if JSON in media_types else {}),
    }
