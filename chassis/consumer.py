"""Consuming events: parse, validate, handle, acknowledge; what cannot be handled is a dead letter.

A handler gets a valid message and owns its transaction. What it raises decides what comes next:

returns            the event is acknowledged
Refusal            the event is at fault: a dead letter at once
transient error    nobody is at fault: the event is delivered again, however often
any other          a bug: the event is delivered again, later each time, and becomes a dead letter
                   after `max_deliver` deliveries

An event whose only fault is a value that this version does not know, such as an action type that a
newer release brought, was sent by a newer version of a service: it is delivered again until a
replica of that version takes it. Only a few wait, since the broker hands out no more than a number
of events at once; what is too many of them is a dead letter, which can be put back. So is at once a
name in JSON that is none of its enum: services send numbers, so whoever wrote it misspelt it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import nats.errors
import structlog
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis import telemetry
from chassis.admission.long_lists import long_list_of
from chassis.broker.client import BrokerClient
from chassis.broker.pull import Pull
from chassis.dead_letters import bury, headers_of
from chassis.errors import InvalidArgument, Refusal
from chassis.loops import sleep
from chassis.messaging import Consumer, event_id_of
from chassis.transient import TRANSIENT
from chassis.validation import first_violation_of, misspelt_enum_of, violations_of

_log = structlog.get_logger()
M = TypeVar("M", bound=Message)
FETCH_SECONDS = 2.0
AGAIN_SECONDS = 0.5
# The longest pause before an event is delivered again: after a transient error, and after a bug.
RETRY_SECONDS = 5.0
BUG_SECONDS = 60.0
# Of a consumer in one replica; all replicas together must leave room for other events.
MAX_WAITING = 64
# Broken only by values that this version does not know, by the ids that protovalidate gives them.
UNKNOWN_VALUE_RULES = frozenset({"enum.defined_only", "string.in"})


@dataclass(frozen=True, slots=True)
class IncomingEvent(Generic[M]):
    """A valid event: its id, where it came in, and its message."""

    event_id: UUID
    subject: str
    message: M


@dataclass(frozen=True, slots=True)
class Handler(Generic[M]):
    """What handles the events of one consumer.

    With `tenant_in_subject` the event's `tenant_id` must be the last part of its subject, which
    is what the broker lets a publisher use. An event that anyone may publish `from_outside` is a
    dead letter also where its only fault is an unknown value: its sender made a mistake.
    """

    consumer: Consumer
    message: type[M]
    handle: Callable[[IncomingEvent[M]], Awaitable[None]]
    tenant_in_subject: bool = False
    from_outside: bool = False


class UnknownValueError(Exception):
    """An event has a value that only a newer version knows; the text names the field."""


class _Waiting:
    """The events of a consumer that wait for a newer replica, by their sequence in the stream."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def has_room(self, sequence: int) -> bool:
        """Whether this one may wait; one that waits comes again within RETRY_SECONDS."""
        now = time.monotonic()
        self._seen = {n: at for n, at in self._seen.items() if now - at < 2 * RETRY_SECONDS}
        if sequence not in self._seen and len(self._seen) >= MAX_WAITING:
            return False
        self._seen[sequence] = now
        return True


async def consume(client: BrokerClient, handler: Handler[Any], stopping: asyncio.Event) -> None:
    """Handle events until told to stop, then finish those that were fetched.

    An event that takes long, such as one that waits for a lock, delays no other. Without a
    connection, or while the consumer is missing, it waits.
    """
    consumer = handler.consumer
    in_hand: set[asyncio.Task[None]] = set()
    waiting = _Waiting()
    async with Pull(client, consumer.stream, consumer.name).open() as pull:
        async with asyncio.TaskGroup() as tasks:
            while not stopping.is_set():
                room = consumer.in_hand - len(in_hand)
                if room <= 0:  # events of an earlier request come beside those of the next
                    await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)
                    continue
                for message in await _fetch(client, pull, consumer, room, stopping):
                    task = tasks.create_task(_acknowledge(client, handler, waiting, message))
                    in_hand.add(task)
                    task.add_done_callback(in_hand.discard)
        with contextlib.suppress(nats.errors.Error):
            await pull.hand_back()


async def _fetch(
    client: BrokerClient, pull: Pull, consumer: Consumer, room: int, stopping: asyncio.Event
) -> list[Msg]:
    """Fetch what is there; a stop ends the wait."""
    fetching = asyncio.ensure_future(pull.fetch(room, FETCH_SECONDS))
    stop = asyncio.ensure_future(stopping.wait())
    await asyncio.wait([fetching, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if not fetching.done():
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)
        return []
    try:
        return fetching.result()
    except nats.errors.ConnectionReconnectingError:
        await sleep(FETCH_SECONDS, stopping, client.connected)
    except nats.errors.Error as error:
        _log.warning("fetch failed", consumer=consumer.name, error=repr(error))
        await sleep(AGAIN_SECONDS, stopping)
    return []


async def _acknowledge(
    client: Client, handler: Handler[Any], waiting: _Waiting, message: Msg
) -> None:
    telemetry.start_trace(headers_of(message).get("traceparent"))
    try:
        await _handle(client, handler, waiting, message)
    except nats.errors.Error as error:
        # The broker got no acknowledgement, so it delivers the event again.
        _log.warning("not acknowledged", consumer=handler.consumer.name, error=repr(error))


async def _handle(client: Client, handler: Handler[Any], waiting: _Waiting, message: Msg) -> None:
    delivered = message.metadata.num_delivered
    try:
        await _try(handler, waiting, message)
    except Refusal as refusal:
        await bury(client, message, handler.consumer.name, refusal.message)
    except (*TRANSIENT, UnknownValueError) as error:
        # Not the event's fault, so no number of deliveries makes it a dead letter.
        _log.warning("event waits", consumer=handler.consumer.name, error=repr(error))
        await message.nak(delay=_backoff(delivered, RETRY_SECONDS))
    except Exception as error:
        _log.exception("event failed", consumer=handler.consumer.name, delivered=delivered)
        if delivered >= handler.consumer.max_deliver:
            # The error's text may quote what a user typed; the log above has it.
            reason = f"failed {delivered} times: {type(error).__name__}"
            await bury(client, message, handler.consumer.name, reason)
        else:
            await message.nak(delay=_backoff(delivered, BUG_SECONDS))
    else:
        await message.ack()


async def _try(handler: Handler[Any], waiting: _Waiting, message: Msg) -> None:
    try:
        event = _parse(handler, message)
    except UnknownValueError as error:
        if waiting.has_room(message.metadata.sequence.stream):
            raise
        text = "has a value of a newer version, and too many events wait for one"
        raise InvalidArgument.field(str(error), "value.unknown", text) from None
    await handler.handle(event)


def _backoff(delivered: int, longest: float) -> float:
    """Return how many seconds to wait before the next delivery."""
    return min(2.0 ** min(delivered, 10) / 4, longest)


def _parse(handler: Handler[Any], message: Msg) -> IncomingEvent[Any]:
    headers = headers_of(message)
    parsed = handler.message()
    is_json = _is_json(headers, message.data)
    too_long = None if is_json else long_list_of(handler.message.DESCRIPTOR, message.data)
    if too_long:
        raise InvalidArgument.of([too_long])
    try:
        if is_json:
            json_format.Parse(message.data, parsed, ignore_unknown_fields=True)
        else:
            parsed.ParseFromString(message.data)
    except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError):
        # The error quotes the body, which may name a person.
        form = "JSON form" if is_json else "binary form (of JSON the header content-type tells)"
        text = f"the body is not a {handler.message.DESCRIPTOR.full_name} in {form}"
        raise InvalidArgument(text, reason="MALFORMED") from None
    misspelt = misspelt_enum_of(parsed.DESCRIPTOR, json.loads(message.data)) if is_json else None
    if misspelt:
        raise InvalidArgument.of([misspelt])
    _demand_valid(handler, message.subject, parsed)
    metadata = message.metadata
    event_id = event_id_of(headers, metadata.stream, metadata.sequence.stream)
    return IncomingEvent(event_id, message.subject, parsed)


def _is_json(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body is JSON: its header says so, or it begins as no binary message of ours does.

    The byte `{` would be a group of field 15, which no contract has.
    """
    content_type = headers.get("content-type") or headers.get("ce-datacontenttype", "")
    return "json" in content_type.lower() or (not content_type and body.lstrip()[:1] == b"{")


def _demand_valid(handler: Handler[Any], subject: str, parsed: Any) -> None:
    first = first_violation_of(parsed)
    if first:
        # Of a list of thousands each may be wrong: all are named only where that decides.
        violations = violations_of(parsed) if first.rule in UNKNOWN_VALUE_RULES else [first]
        unknown = all(each.rule in UNKNOWN_VALUE_RULES for each in violations)
        if unknown and not handler.from_outside:
            raise UnknownValueError(violations[0].field)
        raise InvalidArgument.of(violations)
    if handler.tenant_in_subject and not subject.endswith(f".{parsed.tenant_id}"):
        raise InvalidArgument.field("tenant_id", "subject", "must end the subject")
