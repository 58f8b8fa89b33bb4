"""The components of the OpenAPI document that its paths share: headers, parameters, the schemas of bodies from their
pydantic models, and the responses for failures from the error classes.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from faceattr_aio import errors
from faceattr_aio.errors import FaceattrError, ReloadFailed, RetryableError, Unauthorized, UnknownJob
from faceattr_aio.pipeline import JSON, Options
from faceattr_aio.schemas import Problem, problem_body

Node = dict[str, Any]
REQUEST_ID, JOB_ID = "d77e264f87ca45f3aab6c8a5a6905749", "p4mXv0nTq8Wb2sLrYc6ZeA"
"""Identifiers for examples."""
STRING: Node = {"type": "string"}
_TEMPLATE = "#/components/schemas/{model}"
_PROBLEM = "application/problem+json"
_NOT_OF_PIPELINES = FaceattrError, RetryableError, ReloadFailed, UnknownJob


def filled(**members: Any) -> Node:
    """Return the members that are not empty."""
    return {name: value for name, value in members.items() if value}


def ref(kind: str, name: str) -> Node:
    return {"$ref": f"#/components/{kind}/{name}"}


def parameter(name: str, location: str, description: str, example: str = "", schema: Node = STRING) -> Node:
    known: Node = {"name": name, "in": location, "description": description, "schema": schema}
    return known | filled(example=example, required=location == "path")


def response(description: str, content: Node | None = None, *headers: str) -> Node:
    """A response with X-Request-ID and `headers`."""
    named = {name: ref("headers", name) for name in ("X-Request-ID", *headers)}
    return filled(description=description, headers=named, content=content)


def _header(description: str, example: str, *, required: bool = True, **schema: Any) -> Node:
    return filled(description=description, schema=STRING | schema, example=example, required=required)


def _object(**members: Node) -> Node:
    return {"type": "object", "required": list(members), "properties": members}


_HEADERS = {
    "X-Request-ID": _header("The id of the request, as in the log.", REQUEST_ID),
    "Server-Timing": _header("Milliseconds of each stage (W3C Server Timing).", "upload;dur=1.21, detect;dur=9.13"),
    "Cache-Status": _header("Whether a result is from the cache (RFC 9211).", "faceattr_aio; hit", required=False),
    "Cache-Control": _header("The value of the setting `cache.control`.", "no-store"),
    "Retry-After": _header("Whole seconds until the request may succeed.", "1", pattern="^[1-9][0-9]*$"),
    "WWW-Authenticate": _header("The scheme for sending an API key.", "Bearer", const="Bearer"),
    "ETag": _header("The version of the content, for If-None-Match.", '"6f1ed002ab5595859014ebf0951522d9"'),
    "Location": _header("The path of the job.", f"/jobs/{JOB_ID}"),
    "Preference-Applied": _header("The preferences that were applied.", "respond-async", required=False),
}
_REQUEST_HEADERS = {
    "Prefer": "`wait=SECONDS` sets a deadline, counted from the first line of the request: 503 at once when it cannot "
    "be met, 504 when it passes. `respond-async` asks for a job instead of the result (202).",
    "X-Request-ID": "An id of your choice: 1 to 128 letters, digits or any of ._:+/=@-. An invalid id is replaced.",
    "Cache-Control": "`no-cache` or `no-store`: compute the result and do not cache it.",
    "Content-Digest": "The SHA-256 of a raw body as `sha-256=:…:`, with base64 between the colons (RFC 9530). A cached "
    "result is returned before the body is read; a body with another digest is refused with 400.",
}
_PARAMETERS = {name: parameter(name, "header", text) for name, text in _REQUEST_HEADERS.items()}
"""The headers of a request with pictures."""


class _Titleless(GenerateJsonSchema):
    """Leaves out the titles of fields, which repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # the signature of the base class
        return False


class Schemas:
    """The schemas of `models`. `refs` maps each model to its reference, `definitions` has all schemas by name."""

    def __init__(self, models: Iterable[Any]) -> None:
        mode: JsonSchemaMode = "serialization"
        adapters = [(model, mode, TypeAdapter(model)) for model in dict.fromkeys([Problem, *models])]
        refs, document = TypeAdapter.json_schemas(adapters, ref_template=_TEMPLATE, schema_generator=_Titleless)
        self.refs: dict[Any, Node] = {model: one for (model, _), one in refs.items()}
        self.definitions: Node = document["$defs"]
        names = {model: one["$ref"].rpartition("/")[2] for model, one in self.refs.items()}
        self._examples = {model: self.definitions[name].pop("example", {}) for model, name in names.items()}

    def body(self, model: Any) -> Node:
        """The content of a response with this model."""
        return {_PROBLEM if model is Problem else JSON: {"schema": self.refs[model]}}

    def answer(self, name: str, result: type[BaseModel] | None) -> Node:
        """The answer of a pipeline to one picture or several, with an example of the former."""
        document, example = (self.refs[result], self._examples[result]) if result else ({"type": "object"}, {})
        picture, one, several = (f"{name.capitalize()}{part}" for part in ("Picture", "Answer", "Answers"))
        either = {"oneOf": [ref("schemas", picture), _object(error=self.refs[Problem])]}
        self.definitions |= {
            picture: {"allOf": [document, _object(cached={"type": "boolean"})]},
            one: {"allOf": [ref("schemas", picture), _object(id=STRING)]},
            several: _object(id=STRING, results={"type": "array", "items": either}),
        }
        schema = {"oneOf": [ref("schemas", one), ref("schemas", several)]}
        return filled(schema=schema, example=example and {"id": REQUEST_ID, **example, "cached": False})

    def parameters(self, options: type[Options]) -> list[Node]:
        """One parameter of the query for each option, and the headers of a request with pictures."""
        schema = options.model_json_schema(ref_template=_TEMPLATE, mode="serialization", schema_generator=_Titleless)
        self.definitions |= schema.pop("$defs", {})
        query = [_option(name, **one) for name, one in schema.get("properties", {}).items()]
        return query + [ref("parameters", name) for name in _PARAMETERS]

    def components(self, failures: Node, schemes: Node) -> Node:
        """The components of the document."""
        shared = filled(headers=_HEADERS, parameters=_PARAMETERS, schemas=self.definitions, securitySchemes=schemes)
        return shared | {"responses": failures}

    def failures(self, *, locked: bool) -> Node:
        """The failures of a pipeline by status; 401 only where keys are required."""
        excluded = _NOT_OF_PIPELINES if locked else (*_NOT_OF_PIPELINES, Unauthorized)
        by_status: dict[int, list[type[FaceattrError]]] = {}
        for kind in vars(errors).values():
            if isinstance(kind, type) and issubclass(kind, FaceattrError) and kind not in excluded:
                by_status.setdefault(kind.status, []).append(kind)
        return {str(status): self.failure(*kinds) for status, kinds in sorted(by_status.items())}

    def failure(self, *kinds: type[FaceattrError]) -> Node:
        """The response for one of `kinds`, which have the same status."""
        first, types = kinds[0], {"enum": [f"urn:faceattr:{kind.kind}" for kind in kinds]}
        schema = {"allOf": [self.refs[Problem], {"properties": {"type": types, "status": {"const": first.status}}}]}
        examples = {kind.kind: {"value": problem_body(kind(), REQUEST_ID)} for kind in kinds}
        titles = "; ".join(kind.title for kind in kinds)
        retry = ["Retry-After"] if issubclass(first, RetryableError) else []
        scheme = ["WWW-Authenticate"] if first is Unauthorized else []
        return response(f"{titles}.", {_PROBLEM: {"schema": schema, "examples": examples}}, *retry, *scheme)


def _option(name: str, description: str = "", **schema: Any) -> Node:
    listed = {"style": "form", "explode": False} if schema.get("type") == "array" else {}
    return parameter(name, "query", description, schema=schema) | listed
