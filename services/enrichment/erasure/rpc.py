"""EraseProspect: deletes a prospect and returns a receipt."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis import outbox
from chassis.auth import Caller, current_caller
from chassis.clock import Clock, new_id, to_timestamp
from chassis.database import Connection, Pool, tenant_transaction
from chassis.errors import found
from chassis.interceptor import Context
from chassis.outbox import Relay
from services.enrichment.erasure.stored_events import erase_prospect_events
from services.enrichment.intake.batch import end_batches
from services.enrichment.policy.store import suppress
from services.enrichment.policy.suppression import Hasher, Key
from services.enrichment.reading import store
from services.enrichment.run.records import finding_of, person_of
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL
from services.enrichment.worker.hints import Hints


class ErasureRpc:
    """Erases prospects of the caller's tenant."""

    def __init__(
        self,
        pool: Pool,
        relay: Relay,
        clock: Clock,
        hasher: Hasher,
        hints: Hints,
        client: Client,
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._clock = clock
        self._hasher = hasher
        self._hints = hints
        self._client = client

    async def EraseProspect(
        self, request: pb.EraseProspectRequest, context: Context
    ) -> pb.EraseProspectResponse:
        """Delete a prospect with its runs; return the receipt also for one deleted before.

        A run in flight is not waited for: at its next write its worker finds no lease, and its
        answers are dropped. A paid call that is out may cost what was reserved for it, as any call
        whose reply is lost: the reservation stays in the ledger and the day's spending.
        """
        caller, prospect_id = current_caller(), UUID(request.prospect_id)
        run_ids: Sequence[UUID] = ()
        async with tenant_transaction(self._pool, caller.tenant_id) as connection:
            if await connection.fetch(SQL.lock_prospects, caller.tenant_id, [prospect_id]):
                if request.suppress:
                    await self._suppress(connection, caller.tenant_id, prospect_id)
                rows = await connection.fetch(SQL.runs_of_prospect, caller.tenant_id, prospect_id)
                run_ids = [row["run_id"] for row in rows]
                receipt = await self._erase(connection, caller, prospect_id, run_ids)
            else:
                row = await connection.fetchrow(SQL.get_erasure, caller.tenant_id, prospect_id)
                receipt = found(row, "prospect", request.prospect_id)
        # After COMMIT, and for a repeat as well: the call before may have ended in between.
        await erase_prospect_events(self._client, caller.tenant_id, prospect_id)
        for run_id in run_ids:  # a call that is out is cancelled
            await self._hints.cancel(run_id)
        self._relay.wake()
        return pb.EraseProspectResponse(
            receipt_id=str(receipt["receipt_id"]),
            erased_at=to_timestamp(receipt["erased_at"]),
            runs=receipt["run_count"],
            pending_events=receipt["event_count"],
        )

    async def _erase(
        self, connection: Connection, caller: Caller, prospect_id: UUID, run_ids: Sequence[UUID]
    ) -> asyncpg.Record:
        tenant_id, now = caller.tenant_id, self._clock()
        batches = await connection.fetch(SQL.lock_batches_of, tenant_id, run_ids)
        await outbox.hold(connection)
        events = await connection.fetch(SQL.delete_events, tenant_id, str(prospect_id))
        await connection.execute(SQL.delete_prospect, tenant_id, prospect_id)
        await end_batches(connection, tenant_id, [row["batch_id"] for row in batches], now)
        counts = (len(run_ids), len(events))
        values = (tenant_id, new_id(), prospect_id, caller.user_id, now, *counts)
        (receipt,) = await connection.fetch(SQL.add_erasure, *values)
        return receipt

    async def _suppress(self, connection: Connection, tenant_id: UUID, prospect_id: UUID) -> None:
        """Put the person on the suppression list, by all that is known of them."""
        row = await store.get_prospect(connection, tenant_id, prospect_id)
        prospect, hasher = found(row, "prospect", prospect_id), self._hasher
        keys: list[Key] = hasher.of_person(tenant_id, person_of(prospect))
        for source in SourceName:
            if finding := finding_of(prospect, source):
                keys += hasher.of_finding(tenant_id, finding)
        unlike = list(dict.fromkeys(keys))
        await suppress(connection, tenant_id, unlike, "erased", self._clock())
