"""Erasing a user: entries become anonymous, some in each transaction, counted on a receipt.

So do dead letters that would be logged for the user once they are put back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import asyncpg
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.clock import to_timestamp
from chassis.database import Pool, retry_if_aborted, tenant_transaction
from chassis.dead_letters import rename_in_letters
from chassis.messaging import OutgoingEvent
from services.activity import sql
from services.activity.retention import store

ERASE_ROWS = 5_000


ANONYMOUS = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure that was begun: its receipt is in the database."""

    pool: Pool
    client: Client
    tenant_id: UUID
    receipt_id: UUID
    user_id: UUID

    async def run(self, stopping: asyncio.Event | None = None) -> None:
        """Erase until the user has no entries, or until told to stop."""
        while await retry_if_aborted(partial(self._step, completing=False)):
            if stopping and stopping.is_set():
                return
        completed = f"prospect.enrich.completed.{self.tenant_id}"
        await rename_in_letters(self.client, completed, self.user_id, ANONYMOUS)
        while await retry_if_aborted(partial(self._step, completing=True)):
            pass  # entries that came meanwhile

    async def _step(self, *, completing: bool) -> bool:
        """Erase some entries; complete the erasure where none is left. Say whether to go on."""
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            # The next statement sees what was committed before the lock was got.
            await store.lock_erasing(connection, self.tenant_id, self.user_id)
            found = await store.erase_some(
                connection, self.tenant_id, self.user_id, self.receipt_id, ERASE_ROWS
            )
            if completing and not found:
                completed = await store.complete_erasure(
                    connection, self.tenant_id, self.receipt_id
                )
                # Another replica may have completed it meanwhile.
                if completed:
                    await outbox.enqueue(connection, self.tenant_id, [self._event(completed)])
        return bool(found)

    def _event(self, row: asyncpg.Record) -> OutgoingEvent:
        # Other services keep the day for good: by the exact time the receipt could be found.
        day = row["erased_at"].replace(hour=0, minute=0, second=0, microsecond=0)
        message = events_pb2.UserErased(
            tenant_id=str(self.tenant_id),
            user_id=str(self.user_id),
            receipt_id=str(self.receipt_id),
            erased_at=to_timestamp(day),
        )
        return OutgoingEvent.of(f"tenant.erased.{self.tenant_id}", message, sql.SOURCE)


async def unfinished(
    pool: Pool, client: Client, tenant_id: UUID, receipt_id: UUID
) -> Erasure | None:
    """Return an erasure that was begun; None where it has been completed."""
    async with tenant_transaction(pool, tenant_id) as connection:
        row = await store.get_erasure(connection, tenant_id, receipt_id)
    user_id: UUID = row["user_id"]
    return None if user_id == ANONYMOUS else Erasure(pool, client, tenant_id, receipt_id, user_id)
