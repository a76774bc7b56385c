"""WatchEnrichment: follows a prospect's newest run, and resumes by a token."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import prospect_pb2

from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import found
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.enrichment.reading import store
from services.enrichment.reading.wakeups import Watchers

_POSITION = struct.Struct(">16sq")
"""The id of a run, and the version of it that the caller knows."""
OPEN = frozenset(
    {
        prospect_pb2.SOURCE_STATUS_PENDING,
        prospect_pb2.SOURCE_STATUS_IN_PROGRESS,
        prospect_pb2.SOURCE_STATUS_CIRCUIT_OPEN,
        prospect_pb2.SOURCE_STATUS_PARKED,
    }
)


class WatchRpc:
    """Follows runs of the caller's tenant."""

    def __init__(self, pool: Pool, watchers: Watchers, token_keys: TokenKeys) -> None:
        self._pool = pool
        self._watchers = watchers
        self._token_keys = token_keys

    async def WatchEnrichment(
        self, request: pb.WatchEnrichmentRequest, context: Context
    ) -> AsyncIterator[pb.WatchEnrichmentResponse]:
        """Follow the newest run of a prospect to its end."""
        tenant_id = current_caller().tenant_id
        question = pb.WatchEnrichmentRequest(prospect_id=str(UUID(request.prospect_id)))
        tokens = ContinuationTokens(self._token_keys, "watch-run", tenant_id, question)
        run_id, version = await self._where(tenant_id, request, _known(tokens, request))
        async with self._watchers.watching(run_id) as woken:
            run = await store.run_message(self._pool, tenant_id, run_id)
            if version is None:
                yield pb.WatchEnrichmentResponse(snapshot=run, resume_token=_token(tokens, run))
            elif run.version > version:
                yield _change(tokens, None, run)
            while not _is_over(run, request.until_settled):
                await self._watchers.wait(woken)
                known, run = run, await store.run_message(self._pool, tenant_id, run_id)
                if run.version != known.version:
                    yield _change(tokens, known, run)

    async def _where(
        self, tenant_id: UUID, request: pb.WatchEnrichmentRequest, known: tuple[bytes, int] | None
    ) -> tuple[UUID, int | None]:
        """Return the prospect's newest run, and the version of it that the caller knows."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            row = await store.get_prospect(connection, tenant_id, UUID(request.prospect_id))
        run_id: UUID = found(row, "prospect", request.prospect_id)["run_id"]
        return run_id, known[1] if known and known[0] == run_id.bytes else None


def _known(
    tokens: ContinuationTokens, request: pb.WatchEnrichmentRequest
) -> tuple[bytes, int] | None:
    """Return the run that the caller knows, and its version; None where it sends no token."""
    if not request.resume_token:
        return None
    run_id, version = tokens.read("resume_token", request.resume_token, _POSITION.unpack)
    return run_id, version


def _is_over(run: prospect_pb2.Run, until_settled: bool) -> bool:
    if not run.HasField("ended_at"):  # its status may be one that only a newer version knows
        return False
    return not until_settled or all(step.status not in OPEN for step in run.steps)


def _token(tokens: ContinuationTokens, run: prospect_pb2.Run) -> str:
    return tokens.issue(_POSITION.pack(UUID(run.run_id).bytes, run.version))


def _change(
    tokens: ContinuationTokens, known: prospect_pb2.Run | None, run: prospect_pb2.Run
) -> pb.WatchEnrichmentResponse:
    """Return what has changed since `known`; all steps where that is not given."""
    before = {step.source: step for step in known.steps} if known else {}
    steps = [step for step in run.steps if step != before.get(step.source)]
    change = pb.RunChange(run_id=run.run_id, status=run.status, steps=steps, missing=run.missing)
    return pb.WatchEnrichmentResponse(change=change, resume_token=_token(tokens, run))
