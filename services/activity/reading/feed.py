"""A tenant's events, read from JetStream from a given sequence on into a bounded backlog.

Nothing polls: the broker keeps a request open until there is an event. While older events are
replayed, the feed waits for its reader. After that, a backlog that is full and from which the
reader takes nothing for a second ends the feed: the reader is slower than the log grows.

What stands on the subject and is no event of this tenant's log is passed over: it ends no feed, or
it would end every one for as long as the broker keeps it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import nats.errors
import structlog
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError
from prospect.activity.v1 import events_pb2

from chassis.admission.gate import Gate
from chassis.admission.tenants import Tenant
from chassis.broker.client import BrokerClient
from chassis.broker.pull import Pull
from chassis.clock import new_id
from chassis.errors import Unavailable

STREAM = "ACTIVITY"
MAX_ENTRIES = 10_000
# What is fetched at once, in addition to the backlog: fewer events where they are large, one where
# that is not known. Each of hundreds of tails has as much in hand while its client takes nothing.
FETCH_EVENTS, FETCH_BYTES = 8, 200_000
PATIENCE_SECONDS = 1.0
FETCH_SECONDS = 10.0
CANCEL_AGAIN_SECONDS = 0.2
# The broker deletes the consumer of a feed that ended without deleting it.
FORGOTTEN_AFTER_SECONDS = 60.0
_log = structlog.get_logger()


class TooSlow(Exception):
    """The reader is slower than the log grows."""


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event and its sequence in the stream."""

    sequence: int
    event: events_pb2.ActivitiesRecorded


@dataclass(frozen=True, slots=True)
class Room:
    """What the events that wait for one tail may take: of its own, and beside its tenant's."""

    max_bytes: int
    gate: Gate
    tenant: Tenant


class Backlog:
    """Events that wait for their reader, as they came: decoded they take several times as much."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._messages: deque[Msg] = deque()
        self._bytes = 0
        self._taken = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Msg) -> bool:
        """Keep an event if there is room; one event always has."""
        size = len(message.data)
        if self._messages:
            if self._bytes >= self._room.max_bytes:
                return False
            if not self._room.gate.take_now(self._room.tenant, size):
                return False
            self._taken += size
        self._messages.append(message)
        self._bytes += size
        return True

    def pop(self) -> Msg:
        """Take the oldest event out."""
        message = self._messages.popleft()
        self._bytes -= len(message.data)
        self._give(self._taken - self._bytes)
        return message

    def clear(self) -> None:
        """Forget all events."""
        self._messages.clear()
        self._bytes = 0
        self._give(self._taken)

    def _give(self, size: int) -> None:
        if size > 0:
            self._taken -= size
            self._room.gate.give(self._room.tenant, size)


def events_at_once(largest: int) -> int:
    """Return how many events to fetch where the largest has this size; 0 is not known."""
    return max(1, min(FETCH_EVENTS, FETCH_BYTES // largest)) if largest else 1


class Feed:
    """Reads the events of one subject into a backlog, from which `next` takes them."""

    def __init__(
        self, client: BrokerClient, subject: str, after: int, *, replaying: bool, room: Room
    ) -> None:
        self._client, self._jetstream = client, client.jetstream()
        self._subject = subject
        self._after = after
        self._replaying = replaying
        self._backlog = Backlog(room)
        self._largest = 0
        self._stream_made: datetime | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Feed]:
        """Read for as long as the block lasts; delete the consumer on the broker at its end."""
        self._reader = asyncio.create_task(self._read())
        try:
            yield self
        finally:
            await _end(self._reader)
            self._backlog.clear()

    async def next(self, stopping: asyncio.Event, seconds: float) -> FeedEvent | None:
        """Return the next event; None where none comes in time. Raises what ended the reading."""
        if not self._backlog and not self._reader.done():
            await self._wait(stopping, seconds)
        if stopping.is_set():
            raise Unavailable("this replica is stopping; resume the tail", reason="STOPPING")
        if self._reader.done():
            self._reader.result()
        while self._backlog:
            message = self._backlog.pop()
            self._emptied.set()
            sequence, event = message.metadata.sequence.stream, _event_of(message)
            if event:
                return FeedEvent(sequence, event)
            _log.warning("no event of the log", subject=self._subject, sequence=sequence)
        return None

    async def _wait(self, stopping: asyncio.Event, seconds: float) -> None:
        self._filled.clear()
        waits = [asyncio.create_task(each.wait()) for each in (self._filled, stopping)]
        try:
            await asyncio.wait(
                [*waits, self._reader], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for each in waits:
                each.cancel()

    async def _read(self) -> None:
        while True:
            async with self._subscribed() as pull:
                try:
                    await self._read_in_order(pull)
                except nats.errors.Error as error:
                    # The consumer is gone or has moved: subscribe again, or fail if that fails.
                    _log.warning("feed subscribes again", subject=self._subject, error=repr(error))

    async def _read_in_order(self, pull: Pull) -> None:
        """Take events until one is missing between them."""
        expected = 1
        while True:
            for message in await pull.fetch(events_at_once(self._largest), FETCH_SECONDS):
                if message.metadata.sequence.consumer != expected:
                    return
                expected += 1
                await self._take(message)
                await asyncio.sleep(0)  # let the reader run: events come faster than it takes them

    async def _take(self, message: Msg) -> None:
        while not self._backlog.add(message):
            self._emptied.clear()
            try:
                patience = None if self._replaying else PATIENCE_SECONDS
                await asyncio.wait_for(self._emptied.wait(), patience)
            except TimeoutError:
                self._backlog.clear()
                raise TooSlow from None
        if message.metadata.num_pending == 0:
            self._replaying = False
        self._after = message.metadata.sequence.stream
        self._largest = max(self._largest, len(message.data))
        self._filled.set()

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[Pull]:
        await self._demand_same_stream()
        config = ConsumerConfig(
            name=new_id().hex,
            filter_subject=self._subject,
            ack_policy=AckPolicy.NONE,
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=self._after + 1,
            inactive_threshold=FORGOTTEN_AFTER_SECONDS,
            mem_storage=True,
        )
        await self._jetstream.add_consumer(STREAM, config)
        try:
            async with Pull(self._client, STREAM, config.name or "").open() as pull:
                yield pull
        finally:
            with contextlib.suppress(nats.errors.Error, OSError):  # the broker deletes it later
                await self._jetstream.delete_consumer(STREAM, config.name or "")

    async def _demand_same_stream(self) -> None:
        """Raise where the stream is gone or made anew: its sequences mean other events."""
        made = None
        try:
            made = (await self._jetstream.stream_info(STREAM)).created
        except NotFoundError:
            self._client.in_doubt.set()
            if self._stream_made is None:
                raise
        self._stream_made = self._stream_made or made
        if made != self._stream_made:
            text = "the broker has lost its events; list the entries since the last one, then tail"
            raise Unavailable(text, reason="EVENTS_LOST")


def _event_of(message: Msg) -> events_pb2.ActivitiesRecorded | None:
    """Return an event as activity publishes it; None where its columns or its tenant are others.

    Not all rules of the contract: to check 10,000 ids takes 50 ms, and PostgreSQL refuses bad ones.
    """
    try:
        event = events_pb2.ActivitiesRecorded.FromString(message.data)
    except DecodeError:
        return None
    lengths = {
        len(event.activity_ids),
        len(event.user_ids),
        len(event.action_types),
        len(event.created_at_micros),
    }
    right = len(lengths) == 1 and max(lengths) <= MAX_ENTRIES
    return event if right and message.subject.endswith(f".{event.tenant_id}") else None


async def _end(reader: asyncio.Task[None]) -> None:
    """Cancel the reader until it is gone.

    asyncio.wait_for, by which nats-py waits, drops a cancellation that comes as its answer does
    (Python 3.11): the reader would read on, and its call never end.
    """
    while not reader.done():
        reader.cancel()
        await asyncio.wait([reader], timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(reader, return_exceptions=True)
