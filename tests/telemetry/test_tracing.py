"""Spans, in the exporter of the SDK and in a collector that a real server sends them to."""

import asyncio
import gzip

import pytest
from aiohttp import ClientSession, web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from faceattr_aio.telemetry.record import RequestRecord
from faceattr_aio.telemetry.tracing import Traces
from tests.conftest import Serve, StartServer
from tests.support.process import TRICK
from tests.support.serving import RAW

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def traces(exporter: InMemorySpanExporter) -> Traces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


def record_with(status: int = 200, kind: str = "", traceparent: str = TRACEPARENT) -> RequestRecord:
    record = RequestRecord(
        "mine", "POST", "/analyze", traceparent, pipeline="faces", route="/analyze", status=status, kind=kind
    )
    record.seconds, record.timings = 0.04, [{"upload": 5.0}, {"queue": 10.0, "decode": 20.0}]
    return record


def milliseconds(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e6


def test_a_request_joins_the_trace_of_its_client_with_stages_in_order(
    traces: Traces, exporter: InMemorySpanExporter
) -> None:
    traces.add(record_with())
    *stages, request = exporter.get_finished_spans()
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert (request.name, milliseconds(request)) == ("POST /analyze", 40)
    assert [(span.name, milliseconds(span)) for span in stages] == [("upload", 5), ("queue", 10), ("decode", 20)]
    assert {span.parent.span_id for span in stages if span.parent} == {request.context.span_id}
    assert [span.start_time for span in stages] == [request.start_time, stages[0].end_time, stages[1].end_time]


@pytest.mark.parametrize(
    ("status", "kind", "code"), [(500, "internal", StatusCode.ERROR), (503, "x", StatusCode.UNSET)]
)
def test_a_failure_has_its_type_and_only_a_server_error_is_an_error(
    status: int, kind: str, code: StatusCode, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    traces.add(record_with(status, kind))
    request = exporter.get_finished_spans()[-1]
    assert request.attributes is not None
    assert (request.attributes["error.type"], request.attributes["http.response.status_code"]) == (kind, status)
    assert request.status.status_code is code


@pytest.mark.parametrize("traceparent", ["", "rubbish", "00-0-0-01", "é" * 1000])
def test_an_invalid_traceparent_begins_a_trace(
    traceparent: str, traces: Traces, exporter: InMemorySpanExporter
) -> None:
    traces.add(record_with(traceparent=traceparent))
    assert exporter.get_finished_spans()[-1].parent is None


def test_probes_have_no_span(traces: Traces, exporter: InMemorySpanExporter) -> None:
    traces.add(RequestRecord("mine", "GET", "/livez", status=200))
    assert not exporter.get_finished_spans()


async def test_a_server_exports_spans_to_the_collector_of_the_environment(
    start: StartServer, serve: Serve, client: ClientSession, png: bytes
) -> None:
    received: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def collect(request: web.Request) -> web.Response:
        body = await request.read()
        packed = request.headers.get("Content-Encoding") == "gzip"
        received.put_nowait(ExportTraceServiceRequest.FromString(gzip.decompress(body) if packed else body))
        return web.Response()

    collector = web.Application()
    collector.router.add_post("/v1/traces", collect)
    url = await serve(collector)
    server = await asyncio.to_thread(start, f"[logging]\ntraces = true\n{TRICK}", OTEL_EXPORTER_OTLP_ENDPOINT=url)
    async with client.post(f"{server.url}/trick", data=png, headers=RAW | {"traceparent": TRACEPARENT}) as response:
        assert response.status == 200
    assert await asyncio.to_thread(server.stop) == 0
    (sent,) = (await asyncio.wait_for(received.get(), 30)).resource_spans
    assert {a.key: a.value.string_value for a in sent.resource.attributes}["service.name"] == "faceattr_aio"
    spans = [span for scope in sent.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert [span.name for span in spans] == ["upload", "queue", "decode", "trick", "POST /trick"]
