"""Erasing a user: entries become anonymous, piece by piece, under a receipt that counts them.

An erasure that was begun is completed whatever becomes of its caller: EraseUser called again goes
on with it, and so does the keeper. Completed, it tells the other services once, and forgets whom it
was about.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.attempts import attempt
from chassis.auth import current_caller
from chassis.clock import new_id, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.messaging import OutgoingEvent
from chassis.server import Context
from services.activity import store
from services.activity.tools import Tools

PIECE = 5_000
ANONYMOUS = UUID(int=0)


class Erasing:
    """Erases users of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: Context
    ) -> pb.EraseUserResponse:
        """Erase all of a user's entries, then tell the other services."""
        tenant_id, user_id = current_caller().tenant_id, UUID(request.user_id)
        if user_id == ANONYMOUS:
            text = "is the anonymous user, who cannot be erased"
            raise InvalidArgument.field("user_id", "activity.anonymous", text)
        pool = self._tools.pool
        async with tenant_transaction(pool, tenant_id) as connection:
            # The receipt comes first: what is left half done names a receipt that is there.
            receipt_id = await store.begin_erasure(
                connection, tenant_id, new_id(), user_id, self._tools.clock()
            )
        try:
            await Erasure(pool, tenant_id, receipt_id, user_id).run()
        except BaseException:
            self._tools.broken_off.set()
            raise
        async with tenant_transaction(pool, tenant_id) as connection:
            receipt = await store.get_erasure(connection, tenant_id, receipt_id)
        self._tools.relay.wake()
        return pb.EraseUserResponse(receipt=_receipt(receipt, user_id))


@dataclass(frozen=True, slots=True)
class Erasure:
    """One that was begun, whose receipt is there."""

    pool: Pool
    tenant_id: UUID
    receipt_id: UUID
    user_id: UUID

    async def run(self, stopping: asyncio.Event | None = None) -> None:
        """Erase to the end, or until told to stop."""
        while await attempt(self._step):
            if stopping and stopping.is_set():
                return

    async def _step(self) -> bool:
        """Erase a piece; where nothing is left, complete. Say whether there may be more."""
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            # A statement of its own: the next one sees what was committed before the lock was got.
            await store.lock_erasing(connection, self.tenant_id, self.user_id)
            found = await store.erase_some(
                connection, self.tenant_id, self.user_id, self.receipt_id, PIECE
            )
            if not found:
                completed = await store.complete_erasure(
                    connection, self.tenant_id, self.receipt_id
                )
                # Another that went on with it may have been faster.
                if completed:
                    await outbox.enqueue(connection, self.tenant_id, [self._news(completed)])
        return bool(found)

    def _news(self, row: asyncpg.Record) -> OutgoingEvent:
        # Others keep the day beside the user for good: the moment would name the receipt.
        day = row["erased_at"].replace(hour=0, minute=0, second=0, microsecond=0)
        message = events_pb2.UserErased(
            tenant_id=str(self.tenant_id),
            user_id=str(self.user_id),
            receipt_id=str(self.receipt_id),
            erased_at=to_timestamp(day),
        )
        return OutgoingEvent.of(f"tenant.erased.{self.tenant_id}", message, store.SOURCE)


async def unfinished(pool: Pool, tenant_id: UUID, receipt_id: UUID) -> Erasure | None:
    """Return an erasure that was begun, None where it is completed by now."""
    async with tenant_transaction(pool, tenant_id) as connection:
        row = await store.get_erasure(connection, tenant_id, receipt_id)
    user_id: UUID = row["user_id"]
    return None if user_id == ANONYMOUS else Erasure(pool, tenant_id, receipt_id, user_id)


def _receipt(row: asyncpg.Record, user_id: UUID) -> pb.ErasureReceipt:
    return pb.ErasureReceipt(
        receipt_id=str(row["receipt_id"]),
        user_id=str(user_id),
        erased_count=row["erased_count"],
        erased_at=to_timestamp(row["erased_at"]),
    )
