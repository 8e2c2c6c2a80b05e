"""`/metrics`: the numbers for monitoring, in Prometheus' text format."""

from collections.abc import Iterator, Sequence

from prometheus_client.core import CollectorRegistry, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from stashhog.web.site import site_of
from stashhog_core.metrics import Gauge, gauges

METRICS = "/metrics"


def metrics(request: Request) -> Response:
    """Return all numbers as they are now."""
    site = site_of(request)
    with site.database.transaction() as session:
        found = list(gauges(session, site.settings))
    return Response(in_text(found), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def in_text(found: Sequence[Gauge]) -> bytes:
    """Return the numbers in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Found(found))
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, found: Sequence[Gauge]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        for gauge in self._found:
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
            for labels, number in gauge.samples:
                family.add_metric(labels, number)
            yield family
