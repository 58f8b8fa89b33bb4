"""Where the traces of `serve` go: to the collector that the environment variables of OpenTelemetry name. Knows not what
is in them.
"""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import set_tracer_provider


def set_up_tracing() -> None:
    """For the whole process; what is not sent yet is sent as it ends."""
    resource = Resource({SERVICE_NAME: "faceattr_aio"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    set_tracer_provider(provider)
