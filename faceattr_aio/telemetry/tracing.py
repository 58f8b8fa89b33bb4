"""The story of a request as an OpenTelemetry trace: a span for the request, in the trace that its `traceparent` names,
and in it one for each stage, also those that a worker went through. Made afterwards, so that it costs nothing before.
"""

from collections.abc import Mapping

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, TracerProvider, get_tracer
from opentelemetry.trace.propagation import set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from faceattr_aio.telemetry.record import RequestRecord

_NS_PER_MS = 1_000_000


class Traces:
    """Spans for `provider`, or for the one that the program has set; without any, nothing is made."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._tracer: Tracer = get_tracer("faceattr_aio", tracer_provider=provider)
        self._propagator = TraceContextTextMapPropagator()

    def tell(self, story: RequestRecord) -> None:
        """Makes the spans of a request that was for a pipeline."""
        if not story.pipeline:
            return
        began = int((story.ended_at - story.seconds) * 1e9)
        context = self._propagator.extract({"traceparent": story.traceparent})
        span = self._tracer.start_span(
            f"{story.method} {story.route}", context, SpanKind.SERVER, _attributes(story), start_time=began
        )
        inside = set_span_in_context(span, context)
        at = began
        for lap in story.laps:
            at = self._add_stages(lap, inside, at)
        if story.failed:
            span.set_status(Status(StatusCode.ERROR))
        span.end(began + int(story.seconds * 1e9))

    def _add_stages(self, lap: Mapping[str, float], context: Context, at: int) -> int:
        """One after another from `at`, in ns; where the last one ended."""
        for stage, ms in lap.items():
            span = self._tracer.start_span(stage, context, start_time=at)
            at += int(ms * _NS_PER_MS)
            span.end(at)
        return at


def _attributes(story: RequestRecord) -> dict[str, str | int]:
    """As OpenTelemetry's semantic conventions for HTTP have them; an error type only where there is one."""
    attributes: dict[str, str | int] = {
        "http.request.method": story.method,
        "http.route": story.route,
        "http.response.status_code": story.status,
        "http.request.body.size": story.received,
        "http.response.body.size": story.sent,
        "faceattr.request_id": story.id,
        "faceattr.pictures": story.pictures,
        **{f"faceattr.{name}": number for name, number in story.counts.items()},
    }
    return attributes | ({"error.type": story.kind} if story.kind else {})
