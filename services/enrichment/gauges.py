"""The enrichment service's Prometheus metrics."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

SOURCE_STATE = Gauge(
    "prospect_source_state",
    "1 for the state that a source is in, as this replica knows it",
    ("source", "state"),
)
CALLS = Counter(
    "prospect_source_calls_total",
    "calls to a source by outcome: complete, not_found or the class of the error",
    ("source", "outcome"),
)
CALL_SECONDS = Histogram(
    "prospect_source_call_seconds",
    "how long calls to a source took",
    ("source",),
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)
SPENT = Counter(
    "prospect_source_cost_micros_total", "what calls cost, in millionths of a dollar", ("source",)
)
RUNS_IN_HAND = Gauge("prospect_runs_in_hand", "runs that this replica is driving")
