"""EraseUser: makes all entries of a user anonymous and returns the receipt that counts them.

An erasure that was begun is completed even if its caller is gone: EraseUser called again goes on
with it, and so does the keeper. When it is complete, one event tells the other services, and the
receipt forgets whom it was about.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, new_id, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.outbox import Relay
from services.activity.retention import store
from services.activity.retention.erasure import ANONYMOUS, Erasure


class EraseRpc:
    """Erases users of the caller's tenant."""

    def __init__(
        self, pool: Pool, client: Client, relay: Relay, clock: Clock, broken_off: asyncio.Event
    ) -> None:
        """`broken_off` wakes the keeper; it is set where a call leaves an erasure unfinished."""
        self._pool = pool
        self._client = client
        self._relay = relay
        self._clock = clock
        self._broken_off = broken_off

    async def EraseUser(
        self, request: pb.EraseUserRequest, context: Context
    ) -> pb.EraseUserResponse:
        """Erase all of a user's entries, then tell the other services."""
        tenant_id, user_id = current_caller().tenant_id, UUID(request.user_id)
        if user_id == ANONYMOUS:
            text = "is the anonymous user, who cannot be erased"
            raise InvalidArgument.field("user_id", "activity.anonymous", text)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            # The receipt comes first: entries that are erased name it.
            receipt_id = await store.begin_erasure(
                connection, tenant_id, new_id(), user_id, self._clock()
            )
        try:
            await Erasure(self._pool, self._client, tenant_id, receipt_id, user_id).run()
        except BaseException:
            self._broken_off.set()
            raise
        async with tenant_transaction(self._pool, tenant_id) as connection:
            receipt = await store.get_erasure(connection, tenant_id, receipt_id)
        self._relay.wake()
        return pb.EraseUserResponse(receipt=_receipt(receipt))


def _receipt(row: asyncpg.Record) -> pb.ErasureReceipt:
    return pb.ErasureReceipt(
        receipt_id=str(row["receipt_id"]),
        erased_count=row["erased_count"],
        erased_at=to_timestamp(row["erased_at"]),
    )
