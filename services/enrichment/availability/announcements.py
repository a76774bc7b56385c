"""The event that tells that a source's availability changed."""

from __future__ import annotations

from datetime import datetime

from prospect.enrichment.v1 import events_pb2

from chassis.clock import to_timestamp
from chassis.messaging import OutgoingEvent
from services.enrichment.run.messages import SOURCE
from services.enrichment.sources.catalogue import SourceName

SOURCE_CHANGED = "prospect.source.changed"


def source_changed(
    source: SourceName, state: str, reason: str, until: datetime | None, now: datetime
) -> OutgoingEvent:
    """Return the event that tells that a source is left alone, or may be asked again."""
    message = events_pb2.SourceChanged(
        source=source.value,
        state=state,
        reason=reason,
        until=to_timestamp(until),
        changed_at=to_timestamp(now),
    )
    return OutgoingEvent.of(SOURCE_CHANGED, message, SOURCE)
