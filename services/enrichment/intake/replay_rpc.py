"""ReplayRuns: asks failed sources again, with one new run a prospect, in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from prospect.enrichment.v1 import runs_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, new_id
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.outbox import Relay
from services.enrichment.intake.batch import close_batch
from services.enrichment.intake.estimator import Estimator
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.parse import ask_again
from services.enrichment.reading.filters import run_filter
from services.enrichment.run.plan import Accepted, Priority, Request
from services.enrichment.sources.catalogue import known
from services.enrichment.sql import SQL

DEFAULT_RUNS = 1_000
GROUP = 500


class ReplayRpc:
    """Replays failed runs of the caller's tenant."""

    def __init__(
        self, pool: Pool, relay: Relay, clock: Clock, intake: Intake, estimator: Estimator
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._clock = clock
        self._intake = intake
        self._estimator = estimator

    async def ReplayRuns(
        self, request: pb.ReplayRunsRequest, context: Context
    ) -> pb.ReplayRunsResponse:
        """Ask the failed sources of ended runs again, or return what that would cost."""
        caller, wanted = current_caller(), run_filter(request.filter)
        if wanted.is_empty:
            text = "must say which runs: an empty filter would take all"
            raise InvalidArgument.field("filter", "filter.not_empty", text)
        limit = request.most_runs or DEFAULT_RUNS
        values = (caller.tenant_id, *wanted.values(), wanted.batch_id, limit)
        async with tenant_transaction(
            self._pool, caller.tenant_id, plans="force_custom_plan"
        ) as connection:
            rows = [
                row
                for row in await connection.fetch(SQL.find_replays, *values)
                if known(row["sources"])  # else a newer version's alone have failed
            ]
            requests = [ask_again(caller, row, known(row["sources"])) for row in rows]
            pairs = list(zip(requests, rows, strict=True))
            found = await self._estimator.estimate(connection, caller.tenant_id, pairs)
        response = pb.ReplayRunsResponse(
            matched=rows[0]["matched"] if rows else 0, most_cost_micros=found.max_cost_micros
        )
        if requests and not request.dry_run:
            batch_id = new_id()
            response.batch_id = str(batch_id)
            response.replayed = await self._replay(batch_id, requests)
        return response

    async def _replay(self, batch_id: UUID, requests: Sequence[Request]) -> int:
        """Begin the runs as a batch; return how many are new."""
        tenant_id, begun = requests[0].tenant_id, 0
        placed = list(enumerate(replace(each, priority=Priority.LOW) for each in requests))
        for start in range(0, len(placed), GROUP):
            group = dict(placed[start : start + GROUP])
            accepted = await self._intake.accept_batch(batch_id, group)
            begun += sum(
                isinstance(each, Accepted) and not each.joined for each in accepted.values()
            )
        async with tenant_transaction(self._pool, tenant_id) as connection:
            await close_batch(connection, tenant_id, batch_id, self._clock())
        self._relay.wake()
        return begun
