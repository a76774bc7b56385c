"""WatchEnrichment: follows a prospect's newest run, and resumes by a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2

from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument, found
from chassis.interceptor import Context
from services.enrichment.reading import store
from services.enrichment.reading.wakeups import Watchers

OPEN = frozenset(
    {
        prospect_pb2.SOURCE_STATUS_PENDING,
        prospect_pb2.SOURCE_STATUS_IN_PROGRESS,
        prospect_pb2.SOURCE_STATUS_CIRCUIT_OPEN,
        prospect_pb2.SOURCE_STATUS_PARKED,
    }
)


class WatchRpc:
    """Follows runs of the tenant in the token."""

    def __init__(self, pool: Pool, watchers: Watchers) -> None:
        self._pool = pool
        self._watchers = watchers

    async def WatchEnrichment(
        self, request: pb.WatchEnrichmentRequest, context: Context
    ) -> AsyncIterator[pb.WatchEnrichmentResponse]:
        """Follow the newest run of a prospect to its end."""
        tenant_id = current_caller().tenant_id
        run_id, version = await self._where(tenant_id, request)
        async with self._watchers.watching(run_id) as woken:
            run = await store.run_message(self._pool, tenant_id, run_id)
            if version is None:
                yield pb.WatchEnrichmentResponse(snapshot=run, resume_token=_token(run))
            elif run.version > version:
                yield _change(None, run)
            while not _is_over(run, request.until_settled):
                await self._watchers.wait(woken)
                known, run = run, await store.run_message(self._pool, tenant_id, run_id)
                if run.version != known.version:
                    yield _change(known, run)

    async def _where(
        self, tenant_id: UUID, request: pb.WatchEnrichmentRequest
    ) -> tuple[UUID, int | None]:
        """Return the prospect's newest run, and the version of it that the caller knows."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await store.get_prospect(connection, tenant_id, UUID(request.prospect_id))
        run_id: UUID = found(row, "prospect", request.prospect_id)["run_id"]
        if not request.resume_token:
            return run_id, None
        try:
            name, version = request.resume_token.split(".")
            return run_id, int(version) if UUID(name) == run_id else None
        except ValueError:
            text = "must come from a response before"
            raise InvalidArgument.field("resume_token", "resume_token", text) from None


def _is_over(run: prospect_pb2.Run, until_settled: bool) -> bool:
    if not run.HasField("ended_at"):  # its status may be one that only a newer version knows
        return False
    return not until_settled or all(step.status not in OPEN for step in run.steps)


def _token(run: prospect_pb2.Run) -> str:
    return f"{run.run_id}.{run.version}"


def _change(known: prospect_pb2.Run | None, run: prospect_pb2.Run) -> pb.WatchEnrichmentResponse:
    """Return what has changed since `known`; all steps where that is not given."""
    before = {step.source: step for step in known.steps} if known else {}
    steps = [step for step in run.steps if step != before.get(step.source)]
    change = pb.RunChange(run_id=run.run_id, status=run.status, steps=steps, missing=run.missing)
    return pb.WatchEnrichmentResponse(change=change, resume_token=_token(run))
