"""A program that has configured OpenTelemetry: what it is told is kept in memory, and forgotten with the test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.metrics import _internal as meters
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util._once import Once

from budgetguard.telemetry.instruments import instruments


class Heard:
    """What was told."""

    def __init__(self, *readers: MetricReader) -> None:
        self._kept = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._kept))
        self.meters = MeterProvider([self._reader, *readers])

    def add(self, processor: SpanProcessor) -> None:
        """Have another one see the spans, too."""
        self.tracers.add_span_processor(processor)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, of calls, in the order in which they did."""
        return [each for each in self._kept.get_finished_spans() if "budgetguard.hold_id" in said(each)]

    @property
    def others(self) -> list[ReadableSpan]:
        """Those that tell of no call."""
        return [each for each in self._kept.get_finished_spans() if "budgetguard.hold_id" not in said(each)]

    def points(self, name: str, scope: str = "budgetguard") -> list[tuple[Mapping[str, Any], Any]]:
        """The rows of a metric: their attributes, and what they come to; of a histogram, its point."""
        read = self._reader.get_metrics_data()
        return [
            (dict(point.attributes or {}), getattr(point, "value", point))
            for resource in ([] if read is None else read.resource_metrics)
            for each in resource.scope_metrics
            if each.scope.name == scope
            for metric in each.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


def said(span: ReadableSpan) -> Mapping[str, Any]:
    """Its attributes."""
    return span.attributes or {}


@contextmanager
def listening(*readers: MetricReader, traces: bool = True, measures: bool = True) -> Iterator[Heard]:
    """Set providers, as a program does when it starts; afterwards nobody has set any. `readers`: of metrics, too."""
    heard = Heard(*readers)
    instruments.cache_clear()
    if traces:
        trace.set_tracer_provider(heard.tracers)
    if measures:
        metrics.set_meter_provider(heard.meters)
    try:
        yield heard
    finally:
        trace._TRACER_PROVIDER, trace._TRACER_PROVIDER_SET_ONCE = None, Once()
        meters._METER_PROVIDER, meters._METER_PROVIDER_SET_ONCE = None, Once()
        instruments.cache_clear()
        heard.tracers.shutdown()
        heard.meters.shutdown()
