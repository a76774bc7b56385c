"""What the broker says of a stream: is it the one that was published to, and who is how far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy
from nats.js.errors import NotFoundError

from chassis.messaging import Consumer, event_id_of


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream: the first event that it has, and the one up to which all consumers are done.

    A stream that was wiped, or put back to an older state, `is_another` than was published to.
    """

    is_another: bool
    first: int = 0
    handled: int = 0
    max_age: timedelta | None = None


async def state_of(
    jetstream: JetStreamContext,
    stream: str,
    consumers: Sequence[Consumer],
    newest: tuple[int, UUID],
) -> StreamState:
    """Ask about a stream and its consumers; `newest` is where the newest event must stand.

    A stream only grows, so one that has the newest event where it was has all before it, but for
    what the broker has dropped. The consumers are asked before the stream: what they have
    acknowledged by then was of the stream in which that event still stands.
    """
    sequence, event_id = newest
    # Where no consumer of ours is declared any more, nobody has to handle the events.
    handled = min([await _handled(jetstream, each) for each in consumers], default=sequence)
    try:
        found = await _event_at(jetstream, stream, sequence)
        info = await jetstream.stream_info(stream)
    except NotFoundError:
        return StreamState(is_another=True)
    # Other streams drop what was acknowledged.
    drops = info.config.retention in (None, RetentionPolicy.LIMITS)
    first = info.state.first_seq if drops else 0
    age = info.config.max_age
    return StreamState(
        found != event_id and sequence >= first,
        first,
        handled,
        timedelta(seconds=age) if age else None,
    )


async def _handled(jetstream: JetStreamContext, consumer: Consumer) -> int:
    """Return the sequence up to which a consumer has acknowledged everything."""
    try:
        info = await jetstream.consumer_info(consumer.stream, consumer.name)
    except NotFoundError:
        return 0
    return info.ack_floor.stream_seq if info.ack_floor else 0


async def _event_at(jetstream: JetStreamContext, stream: str, sequence: int) -> UUID | None:
    try:
        message = await jetstream.get_msg(stream, sequence)
    except NotFoundError:
        return None
    headers = {name.lower(): value for name, value in (message.headers or {}).items()}
    return event_id_of(headers, stream, sequence)
