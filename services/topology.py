"""Every stream and consumer of the platform, in one place."""

from __future__ import annotations

from chassis.messaging import Consumer, Stream

REQUESTED = "prospect.enrich.requested"
SOURCE_CHANGED = "prospect.source.changed"
AGGREGATE_DAILY = "metrics.aggregate.daily"
DAILY_SCHEDULE = "metrics.aggregate.schedule"

STREAMS = (
    Stream("ACTIVITY", ("activity.recorded.*",)),
    Stream("ENRICH_REQUESTS", (REQUESTED,), work_queue=True),
    Stream(
        "ENRICH",
        (
            "prospect.enrich.progressed.*",
            "prospect.enrich.completed.*",
            "prospect.enrich.failed.*",
            "prospect.enrich.amended.*",
            "prospect.enrich.batch.*",
            SOURCE_CHANGED,
        ),
    ),
    Stream("METRICS", (AGGREGATE_DAILY, DAILY_SCHEDULE), work_queue=True, schedules=True),
    Stream("QUOTAS", ("metrics.quota.reached.*",)),
    Stream("ERASED", ("tenant.erased.*",)),
    Stream("DEAD_LETTERS", ("dead.>",), max_age_seconds=30 * 86_400),
)

ENRICH_COMPLETED = Consumer("activity-enrich-completed", "ENRICH", "prospect.enrich.completed.*")
ENRICH_REQUESTED = Consumer("enrichment-requested", "ENRICH_REQUESTS", REQUESTED)
ENRICHMENT_ERASED = Consumer("enrichment-user-erased", "ERASED", "tenant.erased.*")
METRICS_ERASED = Consumer("metrics-user-erased", "ERASED", "tenant.erased.*")
ACTIVITY_RECORDED = Consumer("metrics-activity-recorded", "ACTIVITY", "activity.recorded.*")
DAILY = Consumer("metrics-aggregate-daily", "METRICS", AGGREGATE_DAILY, ack_wait_seconds=120)
