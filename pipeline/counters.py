"""What the job counts, as Beam metrics of one namespace.

Names are paths: `read/<table>`, `kept/<table>`, `rejected/<table>/<reason>`,
`dropped/<table>/<reason>`, `written/<part>/files|sessions|candidates|positives`. Of every table
the rows read are those kept, rejected and dropped together.
"""

from __future__ import annotations

from apache_beam.metrics import Metrics, MetricsFilter
from apache_beam.runners.runner import PipelineResult

_NAMESPACE = "awmoe"


def count(name: str, amount: int) -> None:
    """Adds to a counter; call it inside a transform."""
    if amount:
        Metrics.counter(_NAMESPACE, name).inc(int(amount))


def read_counters(result: PipelineResult) -> dict[str, int]:
    """All counters of a finished job, by name."""
    found = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
    totals: dict[str, int] = {}
    for metric in found:
        name = metric.key.metric.name
        totals[name] = totals.get(name, 0) + metric.result
    return dict(sorted(totals.items()))
