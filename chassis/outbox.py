"""The outbox: an event is a row of the transaction that makes it true; the relay publishes it.

Each service's schema has the table `outbox` and the role `<service>_relay`, which works on events
across tenants and sees nothing else. The relay takes a row out after the broker's ack, so an event
is published once or more, never not at all. What consumers of ours handle goes to `published`,
where it is kept until they have (chassis/published). One relay at a time per schema has the lease:
it publishes outside any transaction, so a replica that falls silent there holds up the others for
LEASE only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from nats.aio.client import Client
from nats.js.api import PubAck

from chassis import messaging
from chassis.clock import new_id
from chassis.database import Connection, Pool, role_transaction
from chassis.loops import sleep
from chassis.messaging import Consumer, OutgoingEvent
from chassis.transient import TRANSIENT

BATCH = 256
BATCH_BYTES = 4 * 1024 * 1024  # of events; a batch has that and its last one in memory at most
LEASE = timedelta(seconds=5)
HOLD_AGAIN_SECONDS = 0.02
IDLE_SECONDS = 0.5
# Events that are committed within this time after a batch was published go into the next batch;
# the first event of a burst is published at once.
PAUSE_SECONDS = 0.05
_log = structlog.get_logger()

_ENQUEUE = """
insert into outbox
  (event_id, tenant_id, subject, event_type, source, body, occurred_at, traceparent)
values ($1, $2, $3, $4, $5, $6, $7, $8)
"""
_TAKE = """
with oldest as (
  select outbox_id, event_id, subject, event_type, source, body, occurred_at, traceparent,
    told_again,
    sum(octet_length(body)) over (order by outbox_id) - octet_length(body) as bytes_before
  from (select * from outbox order by outbox_id limit $3) as first_rows
),
waiting as materialized (select * from oldest where bytes_before < $4),
lease as (
  update relay_lease set holder = $1, expires_at = clock_timestamp() + $2
  where exists (select from waiting) and only_row in (
    select only_row from relay_lease where holder = $1 or expires_at < clock_timestamp()
    for update skip locked)
  returning 1
)
select * from waiting where exists (select from lease) order by outbox_id
"""
# Sequences only grow: an event that stands before one of the batch before is in another history of
# the stream, which was wiped or put back to an older state.
_END = """
with taken as (delete from outbox where outbox_id = any($2::bigint[]) returning *),
kept as (
  select taken.*, ack.stream, ack.sequence, ack.is_new
  from taken join unnest($3::bigint[], $4::text[], $5::bigint[], $6::boolean[])
    as ack (outbox_id, stream, sequence, is_new) on ack.outbox_id = taken.outbox_id
),
position as (
  insert into stream_positions as s (stream, first_sequence, last_sequence)
  select stream, min(sequence), max(sequence) from kept where is_new group by stream
  on conflict (stream) do update set
    generation = s.generation + (excluded.first_sequence <= s.last_sequence)::int,
    first_sequence = excluded.first_sequence,
    last_sequence = excluded.last_sequence
  returning stream, generation
),
published_now as (
  insert into published (
    stream, generation, sequence, tenant_id, outbox_id, event_id, subject, event_type, source,
    body, occurred_at, traceparent, told_again)
  select stream, coalesce(p.generation, s.generation, 0), sequence, tenant_id, outbox_id, event_id,
    subject, event_type, source, body, occurred_at, traceparent, told_again
  from kept left join position p using (stream) left join stream_positions s using (stream)
  on conflict do nothing -- the same event, written twice
)
update relay_lease set expires_at = '-infinity' where holder = $1
"""
_HOLD = "select true from relay_lease where expires_at < clock_timestamp() for update"


async def enqueue(connection: Connection, tenant_id: UUID, events: Sequence[OutgoingEvent]) -> None:
    """Write events beside the state change that they tell of."""
    for e in events:
        await connection.execute(
            _ENQUEUE, e.event_id, tenant_id, e.subject, e.event_type, e.source, e.body,
            e.occurred_at, e.traceparent,
        )  # fmt: skip


async def hold(connection: Connection) -> None:
    """Keep every relay from taking events until the transaction ends, to change those that wait.

    Returns once what a relay has in hand is published.
    """
    while not await connection.fetchval(_HOLD):  # noqa: ASYNC110 -- the row is Postgres' alone
        await asyncio.sleep(HOLD_AGAIN_SECONDS)


class Relay:
    """Moves committed events from a service's outbox to JetStream."""

    def __init__(
        self, pool: Pool, client: Client, role: str, consumed_by: Sequence[Consumer] = ()
    ) -> None:
        """`consumed_by` are our consumers of these events: what they handle is kept until then."""
        self._pool = pool
        self._consumed_by = consumed_by
        self._jetstream = client.jetstream()
        self.role = role
        self._holder = new_id()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Publish soon: there are new events. A hint only: the relay also looks by itself."""
        self._wake.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish until told to stop, then once more the events that the last calls left."""
        while not stopping.is_set():
            self._wake.clear()
            if await self._try_publish() < BATCH:
                await sleep(PAUSE_SECONDS, stopping)
                await sleep(IDLE_SECONDS, stopping, self._wake)
        await self._try_publish()

    async def _try_publish(self) -> int:
        try:
            return await self.publish_pending()
        except TRANSIENT as error:
            _log.warning("outbox waits", error=repr(error))
            return 0
        except Exception:
            _log.exception("outbox failed")
            return 0

    async def publish_pending(self) -> int:
        """Publish the oldest events, oldest first, and take them out; return how many."""
        async with role_transaction(self._pool, self.role, durable=False) as connection:
            rows = await connection.fetch(_TAKE, self._holder, LEASE, BATCH, BATCH_BYTES)
        if not rows:
            return 0
        acks = await messaging.publish_all(self._jetstream, [_event(row) for row in rows])
        ids, kept = [row["outbox_id"] for row in rows], self._kept(rows, acks)
        async with role_transaction(self._pool, self.role) as connection:
            await connection.execute(_END, self._holder, ids, *kept)
        if sum(len(row["body"]) for row in rows) >= BATCH_BYTES:
            self.wake()  # the batch may have been cut
        return len(rows)

    def _kept(
        self, rows: Sequence[asyncpg.Record], acks: Sequence[PubAck]
    ) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
        """Return ids, streams, sequences and newness of what consumers of ours handle."""
        kept = [
            (row["outbox_id"], ack.stream, ack.seq, not ack.duplicate)
            for row, ack in zip(rows, acks, strict=True)
            if any(each.takes(row["subject"]) for each in self._consumed_by)
        ]
        ids, streams, sequences, is_new = zip(*kept, strict=True) if kept else ((), (), (), ())
        return list(ids), list(streams), list(sequences), list(is_new)


def _event(row: asyncpg.Record) -> OutgoingEvent:
    return OutgoingEvent(
        subject=row["subject"],
        event_type=row["event_type"],
        body=row["body"],
        source=row["source"],
        event_id=row["event_id"],
        occurred_at=row["occurred_at"],
        traceparent=row["traceparent"],
        told_again=row["told_again"],
    )
