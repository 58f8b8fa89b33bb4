"""/jobs as OpenAPI has it. Knows no settings and no pipeline by name."""

from collections.abc import Iterable

from faceattr_aio.errors import UnknownJob
from faceattr_aio.schemas import Job
from faceattr_aio.web.openapi_schemas import REQUEST_ID, Node, failure, model_schema

_EXAMPLE_ID = "p4mXv0nTq8Wb2sLrYc6ZeA"
_HEADERS = REQUEST_ID | {"ETag": {"$ref": "#/components/headers/ETag"}}
_APPLIED = {"Preference-Applied": {"description": "What of Prefer was heeded.", "schema": {"type": "string"}}}
_LOCATION = {
    "Location": {
        "description": "Where the job can be asked for.",
        "required": True,
        "schema": {"type": "string"},
        "example": f"/jobs/{_EXAMPLE_ID}",
    }
}
CALLBACK = {
    "name": "callback",
    "in": "query",
    "description": "A URL that is sent the job once it is over; it must be on the server's list.",
    "schema": {"type": "string"},
}
"""Where there may be any."""
_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "As the job was given it.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
    "example": _EXAMPLE_ID,
}
_WAIT = {
    "name": "Prefer",
    "in": "header",
    "description": "Seconds to wait for the end of the job, at most 60: the answer comes as soon as it is over.",
    "schema": {"type": "string"},
    "example": "wait=30",
}


def accepted(schemas: Node) -> Node:
    """The 202, whose document joins `schemas`."""
    schemas.setdefault("Job", model_schema(Job, schemas))
    example = {"id": _EXAMPLE_ID, "status": "queued", "pipeline": "faces", "processing_s": 0.0}
    return {
        "description": "A job: the answer is to be fetched later.",
        "headers": REQUEST_ID | _LOCATION | _APPLIED,
        "content": _document(example | {"progress": {"done": 0, "of": 1}}),
    }


def job_paths(
    names: Iterable[str], body: Node, parameters: list[Node], schemas: Node, failures: Node, *, locked: bool
) -> Node:
    """All below /jobs, for the pipelines of these names; `failures` are those of a pipeline, by status."""
    names = list(names)
    pipeline = {
        "name": "pipeline",
        "in": "query",
        "description": "Whose options the others in the query are.",
        "schema": {"type": "string", "enum": names, "default": names[0]},
    }
    submit = {
        "operationId": "submit",
        "summary": "Pictures to be worked on when there is room, after all requests.",
        "parameters": [pipeline, *parameters],
        "requestBody": body,
        "responses": {"202": accepted(schemas), **failures},
    }
    read, alias = (_read(name, failures) for name in ("job", "result"))
    remove = {
        "operationId": "cancel",
        "summary": "Forgets a job; what of it was not begun never is.",
        "parameters": [_ID],
        "responses": {"204": {"description": "It is gone.", "headers": REQUEST_ID}, **_failures(failures)},
    }
    common = {"tags": ["jobs"], **({"security": [{"bearer": []}, {"header": []}]} if locked else {})}
    return {
        "/jobs": {"post": common | submit},
        "/jobs/{id}": {"get": common | read, "delete": common | remove},
        "/result/{id}": {"get": common | alias},
    }


def _read(name: str, failures: Node) -> Node:
    return {
        "operationId": name,
        "summary": "What is known of a job.",
        "parameters": [_ID, _WAIT],
        "responses": {
            "200": {
                "description": "`result` is what the pipeline's path would have answered.",
                "headers": _HEADERS | _APPLIED,
                "content": _document(None),
            },
            "304": {"$ref": "#/components/responses/NotModified"},
            **_failures(failures),
        },
    }


def _document(example: Node | None) -> Node:
    schema = {"schema": {"$ref": "#/components/schemas/Job"}}
    return {"application/json": schema | ({"example": example} if example else {})}


def _failures(failures: Node) -> Node:
    known: Node = {status: failures[status] for status in ("401", "503") if status in failures}
    return {"404": failure(404, [UnknownJob]), **known}
