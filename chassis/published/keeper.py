"""Keeps published events until our consumers have handled them, and has lost ones told again.

Postgres is the truth, so an operator need do nothing where the broker's store was wiped, or put
back to an older state. Consumers know an event by its id: one that comes again has no effect.

Any number of replicas may look at once, also with an old answer of the broker: what was handled
stays handled, and a stream's loss is noted once, by the generation in which it was found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import asyncpg
import prometheus_client
import structlog
from nats.aio.client import Client

from chassis.database import Pool, role_transaction
from chassis.loops import repeat
from chassis.messaging import Consumer
from chassis.outbox import Relay
from chassis.published.stream import StreamState, state_of
from chassis.transient import TRANSIENT

LOOK_SECONDS = 2.0
ROWS = 500  # of a transaction: others wait for none for long
TOLD_AGAIN = prometheus_client.Counter(
    "prospect_events_told_again", "events that the broker lost", ("stream",)
)
_log = structlog.get_logger()

# One replica gets a stream to look at.
_DUE = """
with due as (
  update stream_positions s set looked_at = clock_timestamp()
  where s.looked_at < clock_timestamp() - $1::interval
    and exists (select from published p where p.stream = s.stream)
  returning stream, generation
)
select due.stream, due.generation, newest.sequence, newest.event_id
from due left join lateral (
  select sequence, event_id from published p
  where p.stream = due.stream and p.generation = due.generation
  order by sequence desc limit 1) newest on true
"""
_BEGIN_GENERATION = """
update stream_positions set generation = generation + 1, first_sequence = 0, last_sequence = 0
where stream = $1 and generation = $2 returning generation
"""
# $3 is the first event that the stream has, $4 the last that was handled. An event that the broker
# dropped may have been handled before: it is told again once. One that was as old as the stream
# keeps events has expired.
_FORGET = """
delete from published where ctid = any(array(
  select ctid from published
  where stream = $1 and generation = $2 and sequence <= greatest($4::bigint, $3::bigint - 1)
    and case when sequence >= $3 then true
      else published_at < now() - $5::interval or (sequence <= $4 and told_again > 0) end
  order by sequence limit $6))
"""
# Not while somebody changes events that wait: he would miss these (chassis.outbox.hold).
_TELL_AGAIN = """
with free as (select from relay_lease for update skip locked),
lost as (
  delete from published where exists (select from free) and ctid = any(array(
    select ctid from published
    where stream = $1 and (generation, sequence) < ($2::bigint, $3::bigint)
    order by generation, sequence limit $4))
  returning *
)
insert into outbox (
  outbox_id, event_id, tenant_id, subject, event_type, source, body, occurred_at, traceparent,
  told_again)
overriding system value
select outbox_id, event_id, tenant_id, subject, event_type, source, body, occurred_at, traceparent,
  told_again + 1
from lost
"""


class PublishedEvents:
    """What a service has published and `consumers` have perhaps not handled yet."""

    def __init__(
        self, pool: Pool, client: Client, relay: Relay, consumers: Sequence[Consumer]
    ) -> None:
        self._pool = pool
        self._client = client
        self._relay = relay
        self._consumers = consumers

    async def run(self, stopping: asyncio.Event) -> None:
        """Look every few seconds until told to stop."""
        if self._consumers:
            await repeat(self.look, stopping, name="published", every_seconds=LOOK_SECONDS)

    async def look(self, pause: timedelta = timedelta(seconds=LOOK_SECONDS / 2)) -> None:
        """Look at each stream that no replica has looked at within `pause`."""
        async with role_transaction(self._pool, self._relay.role, durable=False) as connection:
            streams = await connection.fetch(_DUE, pause)
        for due in streams:
            try:
                await self._look_at(due)
            except TRANSIENT as error:  # of this stream; another may have its servers
                _log.warning("waits", work="published", stream=due["stream"], error=repr(error))

    async def _look_at(self, due: asyncpg.Record) -> None:
        stream, generation, first = due["stream"], due["generation"], 0
        if due["sequence"] is not None:
            state = await self._state_of(due)
            if state.is_another:
                await self._begin_generation(stream, generation)
                generation += 1
            else:
                await self._forget(stream, generation, state)
                first = state.first
        await self._tell_again(stream, generation, first)

    async def _state_of(self, due: asyncpg.Record) -> StreamState:
        consumers = [each for each in self._consumers if each.stream == due["stream"]]
        newest = (due["sequence"], due["event_id"])
        return await state_of(self._client.jetstream(), due["stream"], consumers, newest)

    async def _begin_generation(self, stream: str, generation: int) -> None:
        if await self._execute(_BEGIN_GENERATION, stream, generation):
            _log.warning("broker has lost events", stream=stream)

    async def _forget(self, stream: str, generation: int, state: StreamState) -> None:
        # A tenth less, for clocks that differ.
        oldest = state.max_age * 0.9 if state.max_age else None
        values, count = (stream, generation, state.first, state.handled, oldest, ROWS), ROWS
        while count == ROWS:
            count = await self._execute(_FORGET, *values)

    async def _tell_again(self, stream: str, generation: int, first: int) -> None:
        """Give what stands before this sequence of the generation back to the outbox."""
        count = ROWS
        while count == ROWS:
            count = await self._execute(_TELL_AGAIN, stream, generation, first, ROWS)
            if count:
                TOLD_AGAIN.labels(stream).inc(count)
                _log.warning("told again", stream=stream, events=count)
                self._relay.wake()

    async def _execute(self, statement: str, *values: object) -> int:
        """Run a statement as the relay's role; return how many rows it changed."""
        async with role_transaction(self._pool, self._relay.role, durable=False) as connection:
            return int((await connection.execute(statement, *values)).split()[-1])
