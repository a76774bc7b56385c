"""What the activity service does when something happened elsewhere: one function an event."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from uuid import UUID

from prospect.enrichment.v1 import events_pb2

from chassis import inbox
from chassis.clock import new_id
from chassis.consumer import Handler, IncomingEvent
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.outbox import Relay
from chassis.validation import parse_time
from services import topology
from services.activity.entries.batch import Columns, Window, one_entry
from services.activity.months.partitions import Partitions
from services.activity.recording import store


def handlers(
    pool: Pool, relay: Relay, partitions: Partitions, window: Callable[[], Window]
) -> Sequence[Handler[events_pb2.EnrichmentCompleted]]:
    """Return the handlers, one a consumer; `window` gives when an entry may have happened."""

    async def log_enrichment(event: IncomingEvent[events_pb2.EnrichmentCompleted]) -> None:
        """Log `profile_enriched` for the user who asked, once however often the event comes."""
        message = event.message
        entry = _entry(message, window())
        tenant_id = UUID(message.tenant_id)

        async def transaction() -> None:
            async with tenant_transaction(pool, tenant_id) as connection:
                consumer = topology.ENRICH_COMPLETED.name
                if await inbox.first_time(connection, tenant_id, consumer, event.event_id):
                    await store.append_or_skip(connection, tenant_id, entry)

        await partitions.covering(entry.created_at, transaction)
        relay.wake()

    return (
        Handler(
            topology.ENRICH_COMPLETED,
            events_pb2.EnrichmentCompleted,
            log_enrichment,
            tenant_in_subject=True,
        ),
    )


def _entry(message: events_pb2.EnrichmentCompleted, window: Window) -> Columns:
    """Return the entry; refuse a time that no caller could record, since each makes a month."""
    completed_at = parse_time("completed_at", message.completed_at)
    fault = window.fault_of(round(completed_at.timestamp() * 1_000_000), "completed_at")
    if fault:
        raise InvalidArgument.of([fault])
    metadata = {
        "run_id": message.run_id,
        "complete": list(message.complete),
        "missing": list(message.missing),
    }
    return one_entry(
        activity_id=new_id(completed_at),
        user_id=UUID(message.user_id),
        action_type="profile_enriched",
        target_id=message.prospect_id,
        metadata=json.dumps(metadata),
        at=completed_at,
    )
