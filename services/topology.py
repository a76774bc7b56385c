"""Every stream and consumer of the platform, and what each service does with them, in one place.

A service's permissions on the broker follow from this (permissions.py).
"""

from __future__ import annotations

from chassis.messaging import DEAD_LETTERS, Consumer, Stream, Topology

REQUESTED = "prospect.enrich.requested"
REQUESTED_BY_TENANT = "prospect.enrich.requested.*"
"""Where a publisher may publish for one tenant alone; the plain subject is for trusted ones."""
SOURCE_CHANGED = "prospect.source.changed"
AGGREGATE_DAILY = "metrics.aggregate.daily"
DAILY_SCHEDULE = "metrics.aggregate.schedule"

ACTIVITY_STREAM = Stream("ACTIVITY", ("activity.recorded.*",))
REQUESTS_STREAM = Stream("ENRICH_REQUESTS", (REQUESTED, REQUESTED_BY_TENANT), work_queue=True)
ENRICH_SUBJECTS = (
    "prospect.enrich.progressed.*",
    "prospect.enrich.completed.*",
    "prospect.enrich.failed.*",
    "prospect.enrich.amended.*",
    "prospect.enrich.batch.*",
    SOURCE_CHANGED,
)
ENRICH_STREAM = Stream("ENRICH", ENRICH_SUBJECTS)
METRICS_STREAM = Stream(
    "METRICS", (AGGREGATE_DAILY, DAILY_SCHEDULE), work_queue=True, schedules=True
)
QUOTAS_STREAM = Stream("QUOTAS", ("metrics.quota.reached.*",))
ERASED_STREAM = Stream("ERASED", ("tenant.erased.*",))
DEAD_LETTERS_STREAM = Stream(
    DEAD_LETTERS, ("dead.>",), max_age_seconds=30 * 86_400, refuses_when_full=False
)
STREAMS = (
    ACTIVITY_STREAM,
    REQUESTS_STREAM,
    ENRICH_STREAM,
    METRICS_STREAM,
    QUOTAS_STREAM,
    ERASED_STREAM,
    DEAD_LETTERS_STREAM,
)

ENRICH_COMPLETED = Consumer("activity-enrich-completed", "ENRICH", "prospect.enrich.completed.*")
ENRICH_REQUESTED = Consumer("enrichment-requested", "ENRICH_REQUESTS", REQUESTED)
ENRICH_REQUESTED_BY_TENANT = Consumer(
    "enrichment-requested-by-tenant", "ENRICH_REQUESTS", REQUESTED_BY_TENANT
)
ENRICHMENT_ERASED = Consumer("enrichment-user-erased", "ERASED", "tenant.erased.*")
METRICS_ERASED = Consumer("metrics-user-erased", "ERASED", "tenant.erased.*")
ACTIVITY_RECORDED = Consumer("metrics-activity-recorded", "ACTIVITY", "activity.recorded.*")
DAILY = Consumer("metrics-aggregate-daily", "METRICS", AGGREGATE_DAILY, ack_wait_seconds=120)

HINTS = "hints.enrichment.*"

ACTIVITY = Topology(
    owns=(ACTIVITY_STREAM, ERASED_STREAM),
    needs=(ENRICH_STREAM, DEAD_LETTERS_STREAM),
    consumers=(ENRICH_COMPLETED,),
    publishes=(*ACTIVITY_STREAM.subjects, *ERASED_STREAM.subjects),
    tails=tuple(("ACTIVITY", subject) for subject in ACTIVITY_STREAM.subjects),
    looks_up=(DEAD_LETTERS,),  # as the others, where it removes what names somebody erased
    deletes_from=(DEAD_LETTERS,),
    consumed_by=(ACTIVITY_RECORDED, ENRICHMENT_ERASED, METRICS_ERASED),
)
ENRICHMENT = Topology(
    owns=(REQUESTS_STREAM, ENRICH_STREAM),
    needs=(ERASED_STREAM, DEAD_LETTERS_STREAM),
    consumers=(ENRICH_REQUESTED, ENRICH_REQUESTED_BY_TENANT, ENRICHMENT_ERASED),
    publishes=(*ENRICH_SUBJECTS, HINTS),
    hears=(HINTS, "prospect.enrich.*.*", SOURCE_CHANGED),
    looks_up=(REQUESTS_STREAM.name, DEAD_LETTERS),
    deletes_from=(REQUESTS_STREAM.name, DEAD_LETTERS),
    consumed_by=(ENRICH_COMPLETED,),
)
METRICS = Topology(
    owns=(METRICS_STREAM, QUOTAS_STREAM, DEAD_LETTERS_STREAM),
    needs=(ACTIVITY_STREAM, ERASED_STREAM),
    consumers=(ACTIVITY_RECORDED, DAILY, METRICS_ERASED),
    publishes=(DAILY_SCHEDULE, *QUOTAS_STREAM.subjects),
    looks_up=("ACTIVITY", DEAD_LETTERS),
    deletes_from=(DEAD_LETTERS,),
)
SERVICES = {"activity": ACTIVITY, "enrichment": ENRICHMENT, "metrics": METRICS}
