"""Figures in the form of prometheus-client."""

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ingest.metrics.catalogue import BY_NAME, CATALOGUE, Kind, Metric
from ingest.metrics.figures import Figures, Series
from ingest.metrics.histogram import Histogram


class Collected(Collector):
    """What was collected before, for a registry."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Family]:
        """All of it."""
        return self._families


def registry_of(families: Iterable[Family]) -> CollectorRegistry:
    """A registry of these alone."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collected(families))
    return registry


def families(figures: Figures) -> Iterator[Family]:
    """Figures as metrics, in the order of the catalogue; what it does not have is left out."""
    values: Mapping[Series, float] = {**figures.gauges, **figures.counts}
    for metric in CATALOGUE:
        if metric.kind is Kind.HISTOGRAM:
            found = {series: one for series, one in figures.timings.items() if _is(metric, series)}
            if found:
                yield _histogram(metric, found)
        else:
            numbers = {series: value for series, value in values.items() if _is(metric, series)}
            if numbers:
                yield _numbers(metric, numbers)


def _is(metric: Metric, series: Series) -> bool:
    """Whether it is one of this metric; a process of another release may have other labels."""
    return series[0] == metric.name and len(series) == len(metric.labels) + 1


def _numbers(metric: Metric, numbers: Mapping[Series, float]) -> Family:
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for series, value in sorted(numbers.items()):
        family.add_metric(series[1:], value)
    return family


def _histogram(metric: Metric, found: Mapping[Series, Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for series, one in sorted(found.items()):
        family.add_metric(series[1:], buckets=one.cumulative(), sum_value=one.total)
    return family


def of_processes(pids: Mapping[str, int]) -> Figures:
    """Memory, processor time and descriptors of processes, by their names; nothing where there is no /proc."""
    figures = Figures()
    for name, pid in pids.items():
        for series, value in _of_process(pid):
            if series in BY_NAME:
                figures.gauges[(series, name)] = value
    return figures


def _of_process(pid: int) -> list[tuple[str, float]]:
    collector = ProcessCollector(namespace="ingest", pid=lambda: pid, registry=None)
    try:
        return [(sample.name, sample.value) for family in collector.collect() for sample in family.samples]
    except (OSError, ValueError, UnboundLocalError):  # it has ended meanwhile, or something has no limit
        return []
