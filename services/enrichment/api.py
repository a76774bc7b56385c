"""The RPCs of the enrichment service; promises stand in enrichment_service.proto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import events_pb2, prospect_pb2

from chassis.auth import current_caller
from chassis.clock import Clock, new_id
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument, NotFound, Unavailable
from chassis.server import Context
from services.enrichment import messages, store
from services.enrichment.findings import Subject
from services.enrichment.store import Request
from services.enrichment.watch import Watchers
from services.enrichment.worker import Worker

SCOPES = {
    "RequestEnrichment": "enrichment:write",
    "GetProspect": "enrichment:read",
    "WatchEnrichment": "enrichment:read",
}
LOOK_AGAIN_SECONDS = 2.0
T = TypeVar("T")


class Intake:
    """Takes requests in, from RPCs and events alike."""

    def __init__(self, pool: Pool, worker: Worker, clock: Clock, deadline_seconds: float) -> None:
        self._pool = pool
        self._worker = worker
        self._clock = clock
        self._deadline = timedelta(seconds=deadline_seconds)

    async def accept(self, request: Request) -> tuple[UUID, bool]:
        """Write a run in a transaction of its own; return it and whether it was there before."""
        now = self._clock()
        async with tenant_transaction(self._pool, request.tenant_id) as connection:
            accepted = await store.accept(connection, request, now, now + self._deadline)
        self._worker.wake()
        return accepted.run_id, accepted.joined


class EnrichmentApi(grpc_api.EnrichmentServiceServicer):
    """Serves the prospects of the tenant in the token."""

    def __init__(
        self, pool: Pool, intake: Intake, watchers: Watchers, stopping: asyncio.Event
    ) -> None:
        self._pool = pool
        self._intake = intake
        self._watchers = watchers
        self._stopping = stopping

    async def RequestEnrichment(
        self, request: pb.RequestEnrichmentRequest, context: Context
    ) -> pb.RequestEnrichmentResponse:
        """Accept a prospect to research."""
        caller = current_caller()
        wanted = Request(
            tenant_id=caller.tenant_id,
            user_id=caller.user_id,
            prospect_id=UUID(request.prospect_id) if request.prospect_id else new_id(),
            subject=subject_of(request),
            request_id=UUID(request.request_id) if request.request_id else None,
        )
        run_id, joined = await self._intake.accept(wanted)
        run = await self._run(caller.tenant_id, run_id)
        return pb.RequestEnrichmentResponse(run=run, joined=joined)

    async def GetProspect(
        self, request: pb.GetProspectRequest, context: Context
    ) -> pb.GetProspectResponse:
        """Give a prospect with all that was found so far."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            found = await store.get_prospect(connection, tenant_id, UUID(request.prospect_id))
            row = _found(found, "prospect", request.prospect_id)
            _, steps = _found(
                await store.get_run(connection, tenant_id, row["run_id"]), "run", row["run_id"]
            )
        return pb.GetProspectResponse(prospect=messages.prospect_message(row, steps))

    async def WatchEnrichment(
        self, request: pb.WatchEnrichmentRequest, context: Context
    ) -> AsyncIterator[pb.WatchEnrichmentResponse]:
        """Follow the newest run of a prospect to its end."""
        tenant_id = current_caller().tenant_id
        async with tenant_transaction(self._pool, tenant_id) as connection:
            found = await store.get_prospect(connection, tenant_id, UUID(request.prospect_id))
        run_id = _found(found, "prospect", request.prospect_id)["run_id"]
        async with self._watchers.watching(run_id) as woken:
            known = await self._run(tenant_id, run_id)
            yield pb.WatchEnrichmentResponse(snapshot=known)
            while not messages.ended(known.status):
                await self._wait(woken)
                run = await self._run(tenant_id, run_id)
                change = _change(known, run)
                if change:
                    yield pb.WatchEnrichmentResponse(change=change)
                known = run

    async def _run(self, tenant_id: UUID, run_id: UUID) -> prospect_pb2.Run:
        async with tenant_transaction(self._pool, tenant_id) as connection:
            found = await store.get_run(connection, tenant_id, run_id)
        return messages.run_message(*_found(found, "run", run_id))

    async def _wait(self, woken: asyncio.Event) -> None:
        """Wait for a change, or for the time to look without being told of one."""
        waits = [asyncio.create_task(each.wait()) for each in (woken, self._stopping)]
        await asyncio.wait(waits, timeout=LOOK_AGAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        woken.clear()
        if self._stopping.is_set():
            raise Unavailable("this replica is stopping; watch again", reason="STOPPING")


def subject_of(message: pb.RequestEnrichmentRequest | events_pb2.EnrichmentRequested) -> Subject:
    """Return whom a request is about, refusing what Postgres cannot hold."""
    for field in ("name", "company", "title", "email", "linkedin_url"):
        if "\0" in getattr(message, field):
            text = "must not contain a zero character"
            raise InvalidArgument.field(field, "string.no_nul", text)
    return Subject(
        name=message.name,
        company=message.company,
        title=message.title,
        email=message.email,
        linkedin_url=message.linkedin_url,
        is_public_company=message.is_public_company,
        company_cik=int(message.company_cik) if message.company_cik else None,
    )


def _found(row: T | None, kind: str, key: object) -> T:
    if row is None:
        raise NotFound(f"there is no {kind} {key}", reason=f"{kind.upper()}_NOT_FOUND")
    return row


def _change(known: prospect_pb2.Run, run: prospect_pb2.Run) -> pb.RunChange | None:
    before = {step.source: step for step in known.steps}
    steps = [step for step in run.steps if step != before.get(step.source)]
    if not steps and run.status == known.status:
        return None
    return pb.RunChange(run_id=run.run_id, status=run.status, steps=steps, missing=run.missing)
