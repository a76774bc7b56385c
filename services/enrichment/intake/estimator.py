"""Estimates of requests, from what the database knows of their prospects and their tenant."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from chassis.clock import Clock
from chassis.database import Connection
from services.enrichment.intake.estimate import Candidate, Tally, estimate
from services.enrichment.policy import store as policy_store
from services.enrichment.policy.budget import ALL
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Hasher
from services.enrichment.run.plan import Request
from services.enrichment.run.records import known_of
from services.enrichment.sources.catalogue import SourceName


@dataclass(frozen=True, slots=True)
class Estimate:
    """Each source's tally, and what is left of the day's budget; -1 where there is none."""

    tallies: Mapping[SourceName, Tally]
    policy: Policy
    left_today_micros: int

    @property
    def max_cost_micros(self) -> int:
        """The highest cost of all calls, without retries."""
        return sum(tally.max_cost_micros for tally in self.tallies.values())


class Estimator:
    """Estimates requests without locking or writing anything."""

    def __init__(self, clock: Clock, hasher: Hasher, default: Policy) -> None:
        self._clock = clock
        self._hasher = hasher
        self._default = default

    async def estimate(
        self,
        connection: Connection,
        tenant_id: UUID,
        wanted: Sequence[tuple[Request, asyncpg.Record | None]],
    ) -> Estimate:
        """Estimate requests, each with the row of its prospect, where there is one."""
        candidates = await asyncio.to_thread(
            lambda: [self._candidate(request, row) for request, row in wanted]
        )
        keys, now = [key for each in candidates for key in each.keys], self._clock()
        row = await policy_store.read_allowance(connection, tenant_id, now.date(), self._default)
        suppressed = await policy_store.find_suppressed(connection, tenant_id, keys)
        allowance = row.allowance(suppressed)
        tallies = await asyncio.to_thread(estimate, candidates, allowance, now)
        limit = row.policy.day_budget_micros
        left = max(limit - row.committed.get(ALL, 0), 0) if limit else -1
        return Estimate(tallies, row.policy, left)

    def _candidate(self, request: Request, row: asyncpg.Record | None) -> Candidate:
        keys = self._hasher.of_person(request.tenant_id, request.person)
        if row is None:
            return Candidate(request, keys)
        return Candidate(request, keys, known_of(row), row["has_summary"])
