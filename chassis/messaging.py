"""NATS JetStream: events as CloudEvents, streams and consumers as data.

An event is a bare protobuf message; its attributes travel as headers (CloudEvents 1.0, NATS
protocol binding, binary mode). `Nats-Msg-Id` equals `ce-id`, so the broker drops a repeat inside
its window; an event that was lost has another one when it is told again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import prometheus_client
import structlog
from google.protobuf.message import Message
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import PubAck, RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from chassis import telemetry
from chassis.clock import new_id, utc_now

DEAD_LETTER_PREFIX = "dead"
DEAD_LETTERS = "DEAD_LETTERS"
PROTOBUF = "application/protobuf"
PUBLISH_SECONDS = 5.0
REFUSALS = prometheus_client.Counter(
    "prospect_broker_refusals", "events that the broker refused, by its error code", ("code",)
)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stream:
    """A durable stream: what it holds, for how long, and in how many bytes (0 is no limit).

    One that is full refuses new events, which wait in an outbox, or drops its oldest ones. It has
    so many `replicas` (0 leaves that to the broker), on nodes with all the `tags`.
    """

    name: str
    subjects: tuple[str, ...]
    work_queue: bool = False
    schedules: bool = False
    max_age_seconds: float = 7 * 86_400
    duplicate_window_seconds: float = 600
    max_bytes: int = 0
    max_msg_size: int = 0
    refuses_when_full: bool = True
    replicas: int = 0
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable pull consumer; after `max_deliver` failed tries a message is a dead letter."""

    name: str
    stream: str
    subject: str
    ack_wait_seconds: float = 30
    max_deliver: int = 8
    in_hand: int = 64

    def takes(self, subject: str) -> bool:
        """Whether events of a subject come to this consumer."""
        wanted, given = self.subject.split("."), subject.split(".")
        return len(wanted) == len(given) and all(
            ours in ("*", theirs) for ours, theirs in zip(wanted, given, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Topology:
    """What one service does on the broker, and nothing else: its permissions follow from this.

    It keeps the streams that it `owns` as declared, and makes those that it `needs` where they are
    missing. `hears` are subjects that it listens to without a stream; `tails` are subjects of
    streams of its own that it reads with consumers of the moment; `looks_up` and `deletes_from` are
    streams from which it reads and deletes single messages. `consumed_by` are the consumers, mostly
    of other services, that handle what it publishes from its outbox: it keeps that until they have.
    """

    owns: Sequence[Stream]
    needs: Sequence[Stream] = ()
    consumers: Sequence[Consumer] = ()
    publishes: Sequence[str] = ()
    hears: Sequence[str] = ()
    tails: Sequence[tuple[str, str]] = ()
    looks_up: Sequence[str] = ()
    deletes_from: Sequence[str] = ()
    consumed_by: Sequence[Consumer] = ()


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event on its way out: where it goes, what it is, and its body.

    `told_again` is how often it was published before, and lost.
    """

    subject: str
    event_type: str
    body: bytes
    source: str
    event_id: uuid.UUID = field(default_factory=new_id)
    occurred_at: datetime = field(default_factory=utc_now)
    traceparent: str = field(default_factory=telemetry.traceparent)
    told_again: int = 0

    @classmethod
    def of(cls, subject: str, message: Message, source: str) -> OutgoingEvent:
        """Wrap a protobuf message; its full name is the event's type."""
        return cls(subject, message.DESCRIPTOR.full_name, message.SerializeToString(), source)

    def headers(self) -> dict[str, str]:
        """Return the CloudEvents attributes as NATS headers."""
        # A broker that dropped an event of its own accord knows its id still.
        again = f"/{self.told_again}" if self.told_again else ""
        headers = {
            "Nats-Msg-Id": f"{self.event_id}{again}",
            "ce-specversion": "1.0",
            "ce-id": str(self.event_id),
            "ce-type": self.event_type,
            "ce-source": self.source,
            "ce-subject": self.subject,
            "ce-time": self.occurred_at.isoformat(),
            "content-type": PROTOBUF,
        }
        return headers | ({"traceparent": self.traceparent} if self.traceparent else {})


async def publish(client: Client, event: OutgoingEvent) -> None:
    """Publish one event and wait for the broker to have it on disk."""
    await _publish(client.jetstream(), event)


async def publish_all(
    jetstream: JetStreamContext, events: Sequence[OutgoingEvent]
) -> Sequence[PubAck]:
    """Publish events in order, and wait once for the broker to have all of them on disk.

    Raises what is wrong with the first that it did not take. nats-py's `publish_async` would keep a
    place for each of those for ever, and has a number of places.
    """
    publishing = (_publish(jetstream, event) for event in events)
    answers = await asyncio.gather(*publishing, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, APIError):
            _log.warning("broker refused", code=answer.err_code, reason=answer.description)
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if isinstance(answer, PubAck)]


async def _publish(jetstream: JetStreamContext, event: OutgoingEvent) -> PubAck:
    headers = event.headers()
    try:
        return await jetstream.publish(
            event.subject, event.body, headers=headers, timeout=PUBLISH_SECONDS
        )
    except APIError as error:
        REFUSALS.labels(error.err_code).inc()
        raise


async def stored(
    client: Client, stream: str, subject: str, first: int = 1
) -> AsyncGenerator[RawStreamMsg]:
    """Yield what a stream holds on a subject, from a sequence on, oldest first."""
    jetstream, sequence = client.jetstream(), first
    while True:
        try:
            event = await jetstream.get_msg(stream, seq=sequence, subject=subject, next=True)
        except NotFoundError:
            return
        yield event
        sequence = (event.seq or sequence) + 1


async def erase_stored(client: Client, stream: str, subject: str, *words: str) -> None:
    """Delete what a stream holds on a subject and has all the words in its body and headers.

    The broker writes over what it deletes so. Looked for is the text as it is, also where it is no
    message of ours; the case of letters does not count.
    """
    async for event in stored(client, stream, subject):
        text = (event.data or b"") + str(event.headers).encode()
        if event.seq and all(each.lower().encode() in text.lower() for each in words):
            await client.jetstream().delete_msg(stream, event.seq)


def event_id_of(headers: Mapping[str, str], stream: str, sequence: int) -> uuid.UUID:
    """Return the id an event is known by; `headers` by their names in lower case.

    A back end that publishes without CloudEvents headers gets one from the message's sequence
    in the stream, which every redelivery shares.
    """
    given = headers.get("ce-id") or headers.get("nats-msg-id")
    if given:
        try:
            return uuid.UUID(given)
        except ValueError:
            return uuid.uuid5(uuid.NAMESPACE_OID, given)
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{stream}/{sequence}")
