"""Erasing a user: entries become anonymous, piece by piece, under a receipt that counts them."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import events_pb2

from chassis import outbox
from chassis.auth import current_caller
from chassis.clock import new_id, to_timestamp
from chassis.database import tenant_transaction
from chassis.errors import InvalidArgument
from chassis.messaging import OutgoingEvent
from chassis.server import Context
from services.activity import store
from services.activity.attempts import attempt
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
        receipt_id = new_id()
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            # The receipt comes first: what a crash leaves half done names a receipt that is there.
            await store.begin_erasure(
                connection, tenant_id, receipt_id, user_id, self._tools.clock()
            )
        while await attempt(partial(self._erase_piece, tenant_id, user_id, receipt_id)):
            continue
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            receipt = await store.get_erasure(connection, tenant_id, receipt_id)
            await outbox.enqueue(connection, tenant_id, [_news(tenant_id, receipt)])
        self._tools.relay.wake()
        return pb.EraseUserResponse(receipt=_receipt(receipt))

    async def _erase_piece(self, tenant_id: UUID, user_id: UUID, receipt_id: UUID) -> int:
        """Erase a piece and return how many entries were found."""
        async with tenant_transaction(self._tools.pool, tenant_id) as connection:
            # A statement of its own: the next one sees what was committed before the lock was got.
            await store.lock_erasing(connection, tenant_id, user_id)
            return await store.erase_some(connection, tenant_id, user_id, receipt_id, PIECE)


def _receipt(row: asyncpg.Record) -> pb.ErasureReceipt:
    return pb.ErasureReceipt(
        receipt_id=str(row["receipt_id"]),
        user_id=str(row["user_id"]),
        erased_count=row["erased_count"],
        erased_at=to_timestamp(row["erased_at"]),
    )


def _news(tenant_id: UUID, row: asyncpg.Record) -> OutgoingEvent:
    message = events_pb2.UserErased(
        tenant_id=str(tenant_id),
        user_id=str(row["user_id"]),
        receipt_id=str(row["receipt_id"]),
        erased_at=to_timestamp(row["erased_at"]),
    )
    return OutgoingEvent.of(f"tenant.erased.{tenant_id}", message, store.SOURCE)
