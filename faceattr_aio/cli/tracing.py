"""Exports the traces of `serve` to the collector that the environment variables of OpenTelemetry name. A module of its
own, because it needs the libraries of the extra `otel`.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import set_tracer_provider


def set_up_tracing() -> None:
    """Set the tracer provider of the process. Spans that are still buffered are sent at exit."""
    resource = Resource({SERVICE_NAME: "faceattr_aio"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_tracer_provider(provider)
