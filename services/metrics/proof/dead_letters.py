"""Dead letters of what is to be counted: a rebuild counts what is in them, as the log has it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.js.api import RawStreamMsg
from prospect.activity.v1 import events_pb2 as activity_events

from chassis.messaging import DEAD_LETTER_PREFIX, DEAD_LETTERS, event_id_of, stored

MAX_ENTRIES = 10_000
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def dead_letters(client: Client, tenant_id: UUID) -> dict[UUID, set[date]]:
    """Return a tenant's events that could not be counted, with the UTC days of their entries."""
    found = dict[UUID, set[date]]()
    async for letter in letters_of(client, tenant_id):
        found |= _event(letter.headers or {}, letter.data or b"")
    return found


def letters_of(client: Client, tenant_id: UUID) -> AsyncGenerator[RawStreamMsg]:
    """Yield a tenant's dead letters of what is to be counted."""
    subject = f"{DEAD_LETTER_PREFIX}.activity.recorded.{tenant_id}"
    return stored(client, DEAD_LETTERS, subject)


def _event(headers: Mapping[str, str], body: bytes) -> dict[UUID, set[date]]:
    """Return the event of a dead letter; nothing where it is none that activity can have sent."""
    if "ce-id" not in headers:
        return {}
    try:
        message = activity_events.ActivitiesRecorded.FromString(body)
        if len(message.created_at_micros) > MAX_ENTRIES:
            return {}
        moments = [UNIX_EPOCH + timedelta(microseconds=each) for each in message.created_at_micros]
    except (DecodeError, OverflowError):
        return {}
    return {event_id_of(headers, DEAD_LETTERS, 0): {each.date() for each in moments}}
