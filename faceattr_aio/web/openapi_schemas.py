"""What is answered, as OpenAPI has it: the schema of a pipeline's answers from the model of its result, and every
failure of `errors` by its status. Knows no settings and no paths.
"""

from typing import Any

from pydantic import BaseModel

from faceattr_aio import errors
from faceattr_aio.errors import FaceattrError, ReloadFailed, RetryableError, Unauthorized, UnknownJob

Node = dict[str, Any]
REQUEST_ID: Node = {"X-Request-ID": {"$ref": "#/components/headers/RequestId"}}
BINARY: Node = {"schema": {"type": "string", "format": "binary"}}
_SCHEMAS = "#/components/schemas/"
_PROBLEM = "application/problem+json"
_ID, _CACHED = "d77e264f87ca45f3aab6c8a5a6905749", {"cached": False}


def answer_schema(name: str, result: type[BaseModel] | None, schemas: Node) -> Node:
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
    schema = model_schema(result, schemas)
    example = schema.pop("example", {})
    schemas[result.__name__] = schema
    return _ref(result.__name__), example


def model_schema(model: type[BaseModel], schemas: Node) -> Node:
    """The model as it is written out; what it is made of joins `schemas`."""
    schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}", mode="serialization")
    schemas |= schema.pop("$defs", {})
    return schema


def _ref(name: str) -> Node:
    return {"$ref": _SCHEMAS + name}


def _members(*required: str, **properties: Node) -> Node:
    return {"type": "object", "required": list(required), "properties": properties}


def failure_responses(*, locked: bool) -> Node:
    """By status, all that can go wrong; 401 only where keys are asked for."""
    kinds = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, FaceattrError)]
    named = [one for one in kinds if one not in (FaceattrError, RetryableError, ReloadFailed, UnknownJob)]
    possible = [one for one in named if locked or one is not Unauthorized]
    by_status: dict[int, list[type[FaceattrError]]] = {}
    for one in possible:
        by_status.setdefault(one.status, []).append(one)
    return {str(status): failure(status, by_status[status]) for status in sorted(by_status)}


def failure(status: int, kinds: list[type[FaceattrError]]) -> Node:
    """The response that tells one of these."""
    named = {"properties": {"type": {"enum": [_type(kind) for kind in kinds]}, "status": {"const": status}}}
    return {
        "description": "; ".join(kind.title for kind in kinds) + ".",
        "headers": REQUEST_ID | _headers(kinds[0]),
        "content": {
            _PROBLEM: {
                "schema": {"allOf": [_ref("Problem"), named]},
                "examples": {kind.kind: {"value": _example(kind)} for kind in kinds},
            }
        },
    }


def _headers(kind: type[FaceattrError]) -> Node:
    if issubclass(kind, RetryableError):
        return {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}
    return {"WWW-Authenticate": {"$ref": "#/components/headers/Authenticate"}} if kind is Unauthorized else {}


def _type(kind: type[FaceattrError]) -> str:
    return f"urn:faceattr:{kind.kind}"


def _example(kind: type[FaceattrError]) -> Node:
    detail = kind.title if kind.default_detail == FaceattrError.default_detail else kind.default_detail
    return {"type": _type(kind), "title": kind.title, "status": kind.status, "detail": detail, "instance": _ID}
