"""Consuming events: parse, check, handle, acknowledge; what cannot be handled is a dead letter.

A handler gets a valid message and owns its transaction. Returning acknowledges. Raising a Refusal
says that the event is at fault: a dead letter at once. While a server behind us is away the event
waits. Any other exception is a bug: the event comes again, later each time, and after `max_deliver`
it is a dead letter as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import nats.errors
import structlog
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from chassis import telemetry
from chassis.errors import InvalidArgument, Refusal
from chassis.messaging import DEAD_LETTER_PREFIX, JSON, Consumer, event_id_of
from chassis.transient import TRANSIENT
from chassis.validation import violations_of

_log = structlog.get_logger()
M = TypeVar("M", bound=Message)
FETCH_SECONDS = 2.0
AWAY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class IncomingEvent(Generic[M]):
    """A valid event: its id, where it came in, and its message."""

    event_id: UUID
    subject: str
    message: M


@dataclass(frozen=True, slots=True)
class Handler(Generic[M]):
    """What handles the events of one consumer."""

    consumer: Consumer
    message: type[M]
    handle: Callable[[IncomingEvent[M]], Awaitable[None]]


async def consume(client: Client, handler: Handler[Any], stopping: asyncio.Event) -> None:
    """Handle events until told to stop; what is in hand is finished first.

    An event that takes long, because its tenant's rows are locked, holds its own place only.
    """
    jetstream = client.jetstream()
    consumer = handler.consumer
    subscription = await jetstream.pull_subscribe_bind(consumer.name, stream=consumer.stream)
    in_hand: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        while not stopping.is_set():
            room = consumer.in_hand - len(in_hand)
            if room <= 0:  # a fetch also brings what came too late for the one before it
                await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                continue
            for message in await _fetch(subscription, consumer, room, stopping):
                task = tasks.create_task(_settle(client, handler, message))
                in_hand.add(task)
                task.add_done_callback(in_hand.discard)


async def _fetch(
    subscription: JetStreamContext.PullSubscription,
    consumer: Consumer,
    room: int,
    stopping: asyncio.Event,
) -> list[Msg]:
    """Fetch what is there; a stop ends the wait at once, and what was sent comes again."""
    fetching = asyncio.ensure_future(subscription.fetch(room, timeout=FETCH_SECONDS))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([fetching, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not fetching.done():
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        return []
    try:
        return fetching.result()
    except (nats.errors.TimeoutError, TimeoutError):
        return []
    except nats.errors.Error as error:
        _log.warning("fetch failed", consumer=consumer.name, error=repr(error))
        await asyncio.sleep(0.5)  # the client reconnects by itself; do not spin meanwhile
        return []


async def _settle(client: Client, handler: Handler[Any], message: Msg) -> None:
    headers = message.headers or {}
    telemetry.start_trace(headers.get("traceparent"))
    try:
        await _handle(client, handler, message)
    except nats.errors.Error as error:
        # The broker is away: it has no acknowledgement, so the event comes again.
        _log.warning("not settled", consumer=handler.consumer.name, error=repr(error))


async def _handle(client: Client, handler: Handler[Any], message: Msg) -> None:
    delivered = message.metadata.num_delivered
    try:
        await handler.handle(_parse(handler, message))
    except Refusal as refusal:
        await _bury(client, handler, message, refusal.message)
    except TRANSIENT as error:
        # Not the event's fault, so it never becomes a dead letter for it.
        _log.warning("event waits", consumer=handler.consumer.name, error=repr(error))
        await message.nak(delay=min(2.0**delivered / 4, AWAY_SECONDS))
    except Exception as error:
        _log.exception("event failed", consumer=handler.consumer.name, delivered=delivered)
        if delivered >= handler.consumer.max_deliver:
            await _bury(client, handler, message, f"failed {delivered} times: {error!r}")
        else:
            await message.nak(delay=min(2.0**delivered / 4, 60))
    else:
        await message.ack()


def _parse(handler: Handler[Any], message: Msg) -> IncomingEvent[Any]:
    headers = message.headers or {}
    parsed = handler.message()
    try:
        if headers.get("content-type", "").startswith(JSON):
            json_format.Parse(message.data, parsed)
        else:
            parsed.ParseFromString(message.data)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError) as error:
        name = handler.message.DESCRIPTOR.full_name
        raise InvalidArgument(f"the body is not a {name}: {error}", reason="MALFORMED") from None
    violations = violations_of(parsed)
    if violations:
        raise InvalidArgument.of(violations)
    metadata = message.metadata
    event_id = event_id_of(headers, metadata.stream, metadata.sequence.stream)
    return IncomingEvent(event_id, message.subject, parsed)


async def _bury(client: Client, handler: Handler[Any], message: Msg, reason: str) -> None:
    """Put the message, whole and with its reason, where an operator finds it; then let go of it."""
    headers = dict(message.headers or {})
    # A dead letter is a message of its own: the id of the first would make the broker drop it.
    original = headers.pop("Nats-Msg-Id", "")
    metadata = message.metadata
    headers |= {
        "Prospect-Dead-Reason": " ".join(reason.split())[:1000],
        "Prospect-Dead-Consumer": handler.consumer.name,
        "Prospect-Original-Subject": message.subject,
        "Prospect-Original-Id": original,
        "Nats-Msg-Id": f"{handler.consumer.name}/{metadata.stream}/{metadata.sequence.stream}",
    }
    subject = f"{DEAD_LETTER_PREFIX}.{message.subject}"
    await client.jetstream().publish(subject, message.data, headers=headers, timeout=5)
    await message.term()
    _log.warning("dead letter", consumer=handler.consumer.name, subject=subject, reason=reason)
