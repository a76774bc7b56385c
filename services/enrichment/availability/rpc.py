"""ListSources and PauseSource: a source's health for the deployment, its spending for a tenant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from uuid import UUID

import asyncpg
from prospect.enrichment.v1 import operations_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, to_timestamp
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.validation import parse_time
from services.enrichment.availability.breaker import Breakers
from services.enrichment.policy import store
from services.enrichment.policy.policy import Policy
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sql import SQL

_STATES, _UNKNOWN = frozenset(pb.SourceState.keys()), pb.SOURCE_STATE_UNSPECIFIED
"""A newer version's row may have a state that this version does not know."""


class AvailabilityRpc:
    """Shows the sources to the caller's tenant, and lets operators pause them."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        breakers: Breakers,
        rates: Mapping[SourceName, float],
        default: Policy,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._breakers = breakers
        self._rates = rates
        self._default = default

    async def ListSources(
        self, request: pb.ListSourcesRequest, context: Context
    ) -> pb.ListSourcesResponse:
        """Return the state of every source."""
        await self._breakers.refresh()
        sources = [self._health(source) for source in SourceName]
        await self._add_spending(current_caller().tenant_id, *sources)
        return pb.ListSourcesResponse(sources=sources)

    async def PauseSource(
        self, request: pb.PauseSourceRequest, context: Context
    ) -> pb.PauseSourceResponse:
        """Keep all replicas from asking a source, or let them ask again."""
        source, until = SourceName(request.source), None
        if request.HasField("until") and not request.resume:
            until = parse_time("until", request.until)
            if until <= self._clock():
                raise InvalidArgument.field("until", "pause.future", "must lie in the future")
        await self._breakers.pause(
            source, paused=not request.resume, until=until, reason=request.reason
        )
        message = self._health(source)
        tenant_id = current_caller().tenant
        if tenant_id:  # an operator's token need not have one
            await self._add_spending(tenant_id, message)
        return pb.PauseSourceResponse(source=message)

    def _health(self, source: SourceName) -> pb.Source:
        breakers = self._breakers
        shown, until, reason = breakers.state(source).shown(self._clock())
        state = f"SOURCE_STATE_{shown.upper()}"
        return pb.Source(
            source=source.value,
            state=pb.SourceState.Value(state) if state in _STATES else _UNKNOWN,
            until=to_timestamp(until),
            reason=reason,
            failures=breakers.failures(source),
            calls_per_second=self._rates[source],
        )

    async def _add_spending(self, tenant_id: UUID, *sources: pb.Source) -> None:
        """Add what a tenant allows of the sources, and its calls and spending since midnight."""
        today = self._clock().date()
        midnight = datetime.combine(today, time(), UTC)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            allowance = await store.read_allowance(connection, tenant_id, today, self._default)
            rows = await connection.fetch(SQL.source_day, tenant_id, midnight)
        days: Mapping[str, asyncpg.Record] = {row["source"]: row for row in rows}
        for message in sources:
            source = SourceName(message.source)
            allowed = allowance.policy.source(source)
            message.is_enabled = allowed.is_enabled
            message.budget_micros = allowed.day_budget_micros
            message.fresh_for_seconds = int(allowance.policy.fresh_for(source).total_seconds())
            message.spent_today_micros = allowance.committed.get(source.value, 0)
            if day := days.get(source.value):
                message.calls_today = day["calls"]
                message.failed_today = day["failed"]
                message.uncertain_today = day["uncertain"]
                message.median_ms = day["median_ms"]
