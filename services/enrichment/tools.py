"""What the RPCs of the enrichment service are built from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from prospect.enrichment.v1 import prospect_pb2

from chassis.clock import Clock
from chassis.database import Pool, tenant_transaction
from chassis.errors import found
from chassis.outbox import Relay
from services.enrichment.availability.breaker import Breakers
from services.enrichment.intake.intake import Intake
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Hasher
from services.enrichment.reading import messages, store
from services.enrichment.reading.wakeups import Watchers
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.worker.hints import Hints


@dataclass(frozen=True, slots=True)
class Tools:
    """One of each for the process."""

    pool: Pool
    relay: Relay
    clock: Clock
    intake: Intake
    hints: Hints
    watchers: Watchers
    breakers: Breakers
    hasher: Hasher
    default: Policy
    rates: Mapping[SourceName, float]
    stopping: asyncio.Event

    async def run_message(self, tenant_id: UUID, run_id: UUID) -> prospect_pb2.Run:
        """Return a run of the tenant as a message."""
        async with tenant_transaction(self.pool, tenant_id) as connection:
            run = await store.get_run(connection, tenant_id, run_id)
        return messages.run_message(*found(run, "run", run_id))
