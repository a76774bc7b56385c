"""Counting: batches that arrive while a tenant's transaction runs share the next (group commit).

One transaction adds the ids of a group of batches to the inbox, and their entries to the
quarter-hours, the days and the quotas. Batches whose id is in the inbox already are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events

from chassis.consumer import IncomingEvent
from chassis.database import Connection, Pool, tenant_transaction
from chassis.group_commit import GroupCommit
from chassis.outbox import Relay
from chassis.transient import TRANSIENT
from services import topology
from services.metrics.counters import ACTION_NAMES, COUNTERS, NEW_LIST
from services.metrics.quotas.reached import announce_reached_limits
from services.metrics.sql import SQL

MAX_GROUP = 64
ADD_TO_LIST = activity_pb.ACTION_TYPE_ADD_TO_LIST
Recorded = IncomingEvent[activity_events.ActivitiesRecorded]


class Counting:
    """Adds batches to the roll-up, each once however often it comes."""

    def __init__(self, pool: Pool, relay: Relay) -> None:
        self._pool = pool
        self._relay = relay
        self._groups: GroupCommit[Recorded, None] = GroupCommit(self._commit, MAX_GROUP)

    async def count(self, event: Recorded) -> None:
        """Return when the batch is counted."""
        await self._groups.submit(UUID(event.message.tenant_id), event)

    async def _commit(
        self, tenant_id: UUID, group: Sequence[Recorded]
    ) -> Sequence[Exception | None]:
        """Count a group together; where that fails, one by one: a batch at fault fails alone."""
        try:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                reached = await count(connection, tenant_id, group)
        except TRANSIENT:
            raise
        except Exception as error:
            if len(group) == 1:
                return [error]
            return [(await self._commit(tenant_id, [each]))[0] for each in group]
        if reached:
            self._relay.wake()
        return [None] * len(group)


async def count(connection: Connection, tenant_id: UUID, group: Sequence[Recorded]) -> bool:
    """Count the batches that are new; True says that a quota was reached."""
    batches = {event.event_id: event.message for event in group}
    await connection.execute(SQL.lock_shared, tenant_id)
    consumer = topology.ACTIVITY_RECORDED.name
    begun = await connection.fetchrow(SQL.begin_counting, tenant_id, consumer, list(batches))
    assert begun is not None  # noqa: S101 -- a select without a from has its row
    if not begun["fresh"]:
        return False
    columns = _columns([batches[each] for each in begun["fresh"]])
    days = await connection.fetch(SQL.count, tenant_id, *columns, begun["time_zone"])
    if not begun["has_quotas"]:
        return False
    used = [(n, day["date"], day[n]) for day in days for n in COUNTERS.values() if day[n]]
    await connection.execute(SQL.charge, tenant_id, *map(list, zip(*used, strict=True)))
    return await announce_reached_limits(connection, tenant_id)


def _columns(batches: Sequence[activity_events.ActivitiesRecorded]) -> tuple[list[Any], ...]:
    """Return what hashes are made of, users, action codes and moments, in one order."""
    codes = [_codes(batch) for batch in batches]
    names = chain.from_iterable(batch.action_types for batch in batches)
    ids = chain.from_iterable(batch.activity_ids for batch in batches)
    hashed = [each.lower() + ACTION_NAMES[name] for each, name in zip(ids, names, strict=True)]
    users = list(chain.from_iterable(batch.user_ids for batch in batches))
    moments = list(chain.from_iterable(batch.created_at_micros for batch in batches))
    return hashed, users, list(chain.from_iterable(codes)), moments


def _codes(batch: activity_events.ActivitiesRecorded) -> list[int]:
    codes: list[int] = list(batch.action_types)
    for place in batch.new_lists:
        if place < len(codes) and codes[place] == ADD_TO_LIST:
            codes[place] = NEW_LIST
    return codes
