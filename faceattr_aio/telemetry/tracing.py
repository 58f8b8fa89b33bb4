"""OpenTelemetry traces from request records: a span for the request, in the trace of its `traceparent`, with a child
span for each stage, including those in a worker. Created after the response, so that the request itself is not delayed.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, TracerProvider, get_tracer, set_tracer_provider
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from faceattr_aio.telemetry.record import RequestRecord

_NS_PER_MS = 1_000_000


class Traces:
    """Spans for `provider`, by default the global one of the program; without any, nothing is created."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer: Tracer = get_tracer("faceattr_aio", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def add(self, record: RequestRecord) -> None:
        """Create the spans of a request, unless it was not for a pipeline. The stages follow one another."""
        if not record.pipeline:
            return
        began = at = int((record.ended_at - record.seconds) * 1e9)
        context = self._propagator.extract({"traceparent": record.traceparent})
        span = self._tracer.start_span(
            f"{record.method} {record.route}", context, SpanKind.SERVER, _attributes(record), start_time=began
        )
        inside = set_span_in_context(span, context)
        for stage, ms in (item for timing in record.timings for item in timing.items()):
            child = self._tracer.start_span(stage, inside, start_time=at)
            at += int(ms * _NS_PER_MS)
            child.end(at)
        if record.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(began + int(record.seconds * 1e9))


def _attributes(record: RequestRecord) -> dict[str, str | int]:
    """Attributes by the semantic conventions of OpenTelemetry for HTTP; `error.type` only for a failure."""
    attributes: dict[str, str | int] = {
        "http.request.method": record.method,
        "http.route": record.route,
        "http.response.status_code": record.status,
        "http.request.body.size": record.received,
        "http.response.body.size": record.sent,
        "faceattr.request_id": record.id,
        "faceattr.pictures": record.pictures,
        **{f"faceattr.{name}": number for name, number in record.counts.items()},
    }
    return attributes | ({"error.type": record.kind} if record.kind else {})


def set_up_tracing() -> None:
    """Set the tracer provider of the process: spans go to the collector that the environment variables of OpenTelemetry
    name. Spans that are still buffered are sent at exit.
    """
    resource = Resource({SERVICE_NAME: "faceattr_aio"}).merge(OTELResourceDetector().detect())
    provider = SdkTracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_tracer_provider(provider)
