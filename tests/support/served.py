"""Read responses, metrics, log and exit status of a real server."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import skimage.data
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.commands import run
from tests.support.process import PATIENCE_S, start_server
from tests.support.schemas import Tree, shape

KEY, ADMIN = "a-key-of-a-client", "a-key-of-an-admin"
SETTINGS = f"""
[inference]
workers = 1
[upload]
max_bytes = 1000000
[auth]
keys = ["{KEY}"]
admin_keys = ["{ADMIN}"]
[shared]
url = "redis://127.0.0.1:1/0"
[stats]
alert_s = 86400
alert_waiting = 1000000
alert_error_rate = 1
[logging]
format = "json"
"""
"""Nothing listens at shared.url: the server serves without Redis and counts the failures."""

OURS, THEIRS = {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {ADMIN}"}
PNG = {"Content-Type": "image/png"}
ID = "an-id-of-a-client"
VARY = {"content-length", "date", "etag", "retry-after", "server", "x-request-id"}
"""Headers with values that differ between runs or versions."""
LABELS = {"outcome", "pipeline", "reason", "stage"}
"""Labels with few values, the same in each run."""


@dataclass(frozen=True)
class Readings:
    """The sections that one run of a server gives."""

    responses: Tree
    metrics: Tree
    log: Tree
    exits: dict[str, int | str]


@cache
def picture() -> bytes:
    """Return a picture of one face as PNG."""
    pixels: Any = skimage.data.astronaut()  # type: ignore[no-untyped-call]  # scikit-image has no types
    return cv2.imencode(".png", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


@cache
def readings() -> Readings:
    """Start a server, send all requests, and stop it."""
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w+") as log:
        server = start_server(Path(folder), SETTINGS, {}, log=log)
        try:
            with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
                responses = Requests(client).responses
                metrics = _metrics(client.get("/metrics").text)
            ready = run(["health", server.url], {})[0]
            exits: dict[str, int | str] = {
                "health of a server that is ready": ready,
                "serve, ended by SIGTERM": server.stop(),
            }
        finally:
            server.kill()
        log.seek(0)
        return Readings(responses, metrics, _log(log.read()), exits)


class Requests:
    """Sends one request of each kind and describes the responses."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.responses: Tree = {}
        self._send_pictures()
        self._send_bad_requests()
        self._send_jobs()
        self._send_operations()

    def _send_pictures(self) -> None:
        one, two = {"image": picture()}, [("image", ("a", picture())), ("image", ("b", b"no picture"))]
        self._post("picture", files=one, headers={"X-Request-ID": ID})
        self._post("picture with a cached result", content=picture(), headers=PNG)
        self._post("picture with annotations", files=one, headers={"Accept": "image/jpeg"})
        self._post("several pictures", files=two)
        self._post("several pictures as lines", files=two, headers={"Accept": "application/x-ndjson"})

    def _send_bad_requests(self) -> None:
        self._post("deadline out of reach", content=picture(), headers=PNG | {"Prefer": "wait=0.0001"})
        self._post("form without a picture", files={"other": picture()})
        self._post("unknown option", "/analyze?colour=red", content=picture(), headers=PNG)
        self._send("missing key", "POST", "/analyze", content=picture(), headers=PNG)
        self._post("unknown path", "/nowhere", content=picture())
        self._send("wrong method", "PUT", "/analyze", content=b"")
        self._post("unknown form of answer", content=picture(), headers=PNG | {"Accept": "text/html"})
        self._post("too large", content=b"x" * 1_000_001, headers=PNG)
        self._post("unsupported content type", content=b"{}", headers={"Content-Type": "application/json"})
        self._post("unsupported picture", content=b"no picture", headers=PNG)
        self._post("unknown expectation", content=picture(), headers=PNG | {"Expect": "magic"})
        self._post("damaged picture", content=picture()[:2000], headers=PNG)

    def _send_jobs(self) -> None:
        preferred = PNG | {"Prefer": "respond-async"}
        self._post("job by respond-async", content=picture(), headers=preferred)
        taken = self._post("job", "/jobs", content=picture(), headers=PNG)
        path = taken.headers["Location"]
        done = self._get("job, done", path, OURS | {"Prefer": "wait=30"})
        self._get("job, not modified", path, OURS | {"If-None-Match": done.headers["ETag"]})
        self._get("result of a job", path.replace("jobs", "result"), OURS)
        self._get("job without a key", path, {})
        self._send("job, deleted", "DELETE", path, headers=OURS)
        self._get("unknown job", path, OURS)

    def _send_operations(self) -> None:
        self._get("liveness", "/livez", {})
        self._get("readiness", "/readyz", {})
        self._get("readiness, verbose", "/readyz?verbose", {})
        self._get("statistics", "/stats", {})
        self._get("statistics of one request", f"/stats/{ID}", {})
        self._get("unknown request", "/stats/nothing", {})
        self._get("metrics", "/metrics", {})
        self._get("metrics for OpenMetrics", "/metrics", {"Accept": "application/openmetrics-text"})
        self._get("OpenAPI document", "/openapi.json", {})
        self._get("page", "/", {})
        self._get("page with the OpenAPI document", "/docs", {})
        self._send("reload without a key", "POST", "/admin/reload")
        self._send("reload", "POST", "/admin/reload", headers=THEIRS)

    def _post(self, name: str, path: str = "/analyze", **request: Any) -> httpx.Response:
        return self._send(name, "POST", path, **request | {"headers": OURS | request.get("headers", {})})

    def _get(self, name: str, path: str, headers: Mapping[str, str]) -> httpx.Response:
        return self._send(name, "GET", path, headers=headers)

    def _send(self, name: str, method: str, path: str, **request: Any) -> httpx.Response:
        response = self._client.request(method, path, **request)
        self.responses[name] = {
            "request": f"{method} {path}" if not path.startswith(("/jobs/", "/result/")) else method,
            "status": response.status_code,
            "headers": {name: _value(name, value) for name, value in sorted(response.headers.items())},
            "body": _body(response),
        }
        return response


def _value(name: str, value: str) -> str:
    """Return the value of a header without the parts that differ between runs. The client's own id is kept."""
    return "..." if name in VARY and value != ID else re.sub(r";dur=[\d.]+|(?<=/jobs/)[\w-]+", "", value)


def _body(response: httpx.Response) -> Any:
    """Return the shape of a JSON document, and `bytes` or `nothing` for any other body."""
    kind = response.headers.get("Content-Type", "").partition(";")[0]
    if kind == "application/x-ndjson":
        return [shape(json.loads(line)) for line in response.text.splitlines()]
    if response.url.path == "/openapi.json" or not kind.endswith("json"):
        return "bytes" if response.content else "nothing"
    document = response.json()
    named = {"type": document["type"]} if kind == "application/problem+json" else {}
    return shape(document) | named


def _metrics(exposed: str) -> Tree:
    """Return type, labels and bucket bounds of each metric, and the values of LABELS."""
    families = text_string_to_metric_families(exposed)
    return {family.name: _metric(family) for family in families if not family.name.endswith("_created")}


def _metric(family: Metric) -> Tree:
    labels: dict[str, set[str]] = {}
    for sample in family.samples:
        for name, value in sample.labels.items():
            labels.setdefault(name, set()).add(value)
    bounds = sorted(labels.pop("le", ()), key=float)
    values = {name: sorted(labels[name]) for name in sorted(labels.keys() & LABELS)}
    samples = sorted({sample.name.removeprefix(family.name) for sample in family.samples} - {""})
    found = {"labels": sorted(labels), "values": values, "bounds": bounds, "samples": samples}
    return {"type": family.type} | {name: one for name, one in found.items() if one}


def _log(text: str) -> Tree:
    """Return the keys of the line about the first request."""
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    line: Tree = next((line for line in lines if line.get("request", {}).get("id") == ID), {})
    request = line.get("request", {})
    return {
        "line": sorted(line),
        "request": sorted(request),
        "stages": list(request.get("stages_ms", ())),
        "logger": line.get("logger"),
        "level": line.get("level"),
        "fields of the message": re.findall(r" (\w+)=", line.get("message", "")),
    }
