"""The HTTP interface as an OpenAPI 3.1 document, generated from the settings and the declarations of the pipelines."""

from importlib import metadata

from faceattr_aio.config.schema import Config, PipelineEntry
from faceattr_aio.errors import UnknownJob
from faceattr_aio.pipeline import JSON, NDJSON
from faceattr_aio.schemas import HealthReport, Job, Problem, ReloadReport, RequestReport, StatsReport
from faceattr_aio.web.openapi_components import JOB_ID, REQUEST_ID, STRING, Node, Schemas, parameter, ref, response

_TEXT: Node = {"schema": STRING}
_BINARY: Node = {"schema": STRING | {"format": "binary"}}
_INFO: Node = {
    "title": "faceattr_aio",
    "summary": "Faces with gender and age from uploaded pictures.",
    "description": "A request that cannot be served in time is refused at once: 429 and 503 carry `Retry-After`. Every "
    "failure is a problem document (RFC 9457) with a stable `type`.",
    "license": {"name": "MIT", "identifier": "MIT"},
}
_TAGS = {
    "pictures": "Process pictures and return the results.",
    "jobs": "Submit pictures as a job and fetch the result later.",
    "health": "Probes for load balancers and process managers.",
    "watching": "Statistics, metrics and administration.",
    "people": "Web pages, and this document.",
}
_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_WAIT = parameter("Prefer", "header", "Seconds to wait for the end of the job, at most 60.", "wait=30")
_JOB = parameter("id", "path", "The id of the job.", JOB_ID, STRING | {"pattern": "^[A-Za-z0-9_-]{1,64}$"})
_ID = STRING | {"pattern": "^[A-Za-z0-9._:+=@-]{1,128}$"}
_REQUEST = parameter("id", "path", "The X-Request-ID of the request.", REQUEST_ID, _ID)
_VERBOSE = parameter("verbose", "query", "Lists the checks in the answer; the value is ignored.", schema={})
_CALLBACK = parameter("callback", "query", "The URL to send the finished job to. The settings list the allowed ones.")
_LINES = STRING | {
    "description": "One line for each picture as soon as it is processed; the form may have any number of pictures. A "
    "line has the result and its `number` from 0, or `id`, `number` and `error`. A last line without a `number` gives "
    "the reason when the stream ends early.",
}
_UNCHANGED = {"304": response("If-None-Match has the current version.", None, "ETag")}


def describe(config: Config) -> Node:
    """Return the document for the pipelines and limits of `config`."""
    return _Interface(config).document()


class _Interface:
    """The paths of one configuration. `queued` lists the pipelines that accept jobs, `refusals` has the failures of a
    pipeline by status, and `security` the ways to send a key where one is required.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        declarations = {name: settings.declaration for name, settings in config.pipelines.items()}
        can_queue = [name for name, declaration in declarations.items() if JSON in declaration.media_types]
        self.queued = can_queue if config.jobs.backend != "none" else []
        models = [HealthReport, StatsReport, RequestReport, ReloadReport, *([Job] if self.queued else [])]
        self.schemas = Schemas([*models, *(one.result for one in declarations.values() if one.result)])
        self.failures = self.schemas.failures(locked=config.auth.required)
        self.refusals = {status: ref("responses", status) for status in self.failures}
        self.security: Node = {"security": [{name: []} for name in _SCHEMES]} if config.auth.required else {}

    def document(self) -> Node:
        paths = self.fixed_paths()
        for name, settings in self.config.pipelines.items():
            paths.setdefault(settings.path, {})["post"] = self.pipeline(name, settings)
        return {
            "openapi": "3.1.1",
            "info": _INFO | {"version": metadata.version("faceattr-aio")},
            "servers": [{"url": ".", "description": "The folder of this document."}],
            "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
            "paths": paths | (self.job_paths() if self.queued else {}),
            "components": self.schemas.components(self.failures, _SCHEMES if self.security else {}),
        }

    def fixed_paths(self) -> Node:
        """The paths that do not depend on the pipelines."""
        body = self.schemas.body
        problem = body(Problem)
        live = {"200": response("Healthy.", body(HealthReport))}
        ready = live | {"503": response("Starting, draining or unable to work.", body(HealthReport))}
        stats = {"200": response("The statistics of the process that answers.", body(StatsReport))}
        record = {
            "200": response("The record of the request.", body(RequestReport)),
            "404": response("The request is not, or no longer, among the last ones.", problem),
        }
        reload = {
            "200": response("All workers use the current files.", body(ReloadReport)),
            "401": response("The admin key is missing or invalid.", problem, "WWW-Authenticate"),
            "404": response("No admin keys are configured.", problem),
            "409": response("The previous models stay in use; `detail` has the reason.", problem),
        }
        types = dict.fromkeys(("text/plain", "application/openmetrics-text"), _TEXT)
        metrics = {"200": response("OpenMetrics where Accept asks for it.", types)}
        document = _static("OpenAPI 3.1.", {JSON: {"schema": {"type": "object"}}})
        page = _static("The page, which loads nothing from other servers.", {"text/html": _TEXT})
        restart = "Restart the workers with the current model files. Needs an admin key, sent like an API key."
        paths = {
            "/livez": _operation("livez", "health", "Whether the event loop runs, under any load.", live),
            "/healthz": _operation("healthz", "health", "The same as /livez.", live),
            "/readyz": _operation("readyz", "health", "Whether the server accepts work.", ready, _VERBOSE),
            "/stats": _operation("stats", "watching", "The current load, and statistics of the last requests.", stats),
            "/stats/{id}": _operation("story", "watching", "One of the last requests to a pipeline.", record, _REQUEST),
            "/openapi.json": _operation("openapi", "people", "This document.", document),
        }
        if self.config.server.metrics_port is None:
            paths["/metrics"] = _operation("metrics", "watching", "Metrics for Prometheus.", metrics)
        if self.config.server.page:
            paths["/"] = _operation("page", "people", "The page that shows the results for your pictures.", page)
            paths["/docs"] = _operation("docs", "people", "This document as a page with a form for each path.", page)
        reloading = {"/admin/reload": {"post": _operation("reload", "watching", restart, reload)}}
        return {path: {"get": operation} for path, operation in paths.items()} | reloading

    def pipeline(self, name: str, settings: PipelineEntry) -> Node:
        declaration, upload = settings.declaration, self.config.upload
        types = dict.fromkeys(declaration.media_types, _BINARY)
        if JSON in types:
            types |= {JSON: self.schemas.answer(name, declaration.result), NDJSON: {"schema": _LINES}}
        result = "The result; with an image type in Accept, the picture with the result drawn on it."
        success = {"200": response(result, types, "Server-Timing", "Cache-Status", "Cache-Control")}
        responses = success | (self.accepted() if name in self.queued else {}) | self.refusals
        parameters = self.schemas.parameters(declaration.options)
        return {
            **_operation(name, "pictures", f"Process pictures with the pipeline {name}.", responses, *parameters),
            "description": self.limits(),
            "requestBody": self.pictures(upload.max_batch),
            **self.security,
            "x-pipeline": name,
            "x-limits": {"formats": self.config.image.formats, "max_bytes": upload.max_part_bytes or upload.max_bytes},
        }

    def job_paths(self) -> Node:
        """The paths of jobs; /result/{id} is another name of /jobs/{id}."""
        refused = {"404": self.schemas.failure(UnknownJob)}
        refused |= {status: self.refusals[status] for status in ("401", "503") if status in self.refusals}
        text = "`result` is what the path of the pipeline answers."
        known = {"200": response(text, self.schemas.body(Job), "ETag", "Preference-Applied")} | _UNCHANGED | refused
        job, result = (_operation(one, "jobs", "The state of a job.", known, _JOB, _WAIT) for one in ("job", "result"))
        cancelled = {"204": response("The job is deleted."), **refused}
        cancel = _operation("cancel", "jobs", "Delete a job; its waiting pictures are not processed.", cancelled, _JOB)
        return {
            "/jobs": {"post": self.submit() | self.security},
            "/jobs/{id}": {"get": job | self.security, "delete": cancel | self.security},
            "/result/{id}": {"get": result | self.security},
        }

    def submit(self) -> Node:
        names = STRING | {"enum": self.queued, "default": self.queued[0]}
        parameters = [
            parameter("pipeline", "query", "The pipeline; its options may follow.", schema=names),
            *(ref("parameters", name) for name in ("X-Request-ID", "Cache-Control")),
            *([_CALLBACK] if self.config.jobs.callbacks else []),
        ]
        summary = "Submit pictures to be processed while no request needs the workers."
        operation = _operation("submit", "jobs", summary, self.accepted() | self.refusals, *parameters)
        return operation | {"requestBody": self.pictures(self.config.jobs.max_batch)}

    def accepted(self) -> Node:
        job = self.schemas.body(Job)
        return {"202": response("The job. Fetch its result later.", job, "Location", "Preference-Applied")}

    def limits(self) -> str:
        upload, image = self.config.upload, self.config.image
        formats = ", ".join(name.upper() for name in image.formats)
        return (
            f"{formats}, recognised by content; at most {upload.max_bytes / 2**20:.3g} MiB in a request, "
            f"{image.max_pixels / 1e6:.3g} megapixels in a picture and {upload.max_batch} pictures in a form, as parts "
            "named `image` or `file`. A form with one picture gets the same answer as the picture alone."
        )

    def pictures(self, limit: int) -> Node:
        """The body of a request: a form of up to `limit` pictures, or one picture alone."""
        upload = self.config.upload
        form = {
            "type": "object",
            "properties": {"image": {"type": "array", "items": _BINARY["schema"], "minItems": 1, "maxItems": limit}},
            "additionalProperties": STRING,
            "maxProperties": upload.max_parts + max(0, limit - upload.max_batch),
            "required": ["image"],
        }
        raw = [*(f"image/{name}" for name in self.config.image.formats), "application/octet-stream"]
        return {"required": True, "content": {"multipart/form-data": {"schema": form}, **dict.fromkeys(raw, _BINARY)}}


def _operation(name: str, tag: str, summary: str, responses: Node, *parameters: Node) -> Node:
    operation: Node = {"operationId": name, "tags": [tag], "summary": summary, "responses": responses}
    return operation | ({"parameters": [*parameters]} if parameters else {})


def _static(description: str, content: Node) -> Node:
    """The responses of a path that supports If-None-Match."""
    return {"200": response(description, content, "ETag")} | _UNCHANGED
