"""What the RPCs of the enrichment service are built from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from prospect.enrichment.v1 import prospect_pb2

from chassis.clock import Clock
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument, NotFound
from chassis.outbox import Relay
from services.enrichment import history, messages
from services.enrichment.breakers import Breakers
from services.enrichment.hints import Hints
from services.enrichment.intake import Intake
from services.enrichment.policy import Policy
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.suppression import Hasher
from services.enrichment.watch import Watchers

T = TypeVar("T")


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
            run = await history.get_run(connection, tenant_id, run_id)
        return messages.run_message(*found(run, "run", run_id))


def found(row: T | None, kind: str, key: object) -> T:
    """Return what was looked for; refuse where there is none, or where it is another tenant's."""
    if row is None:
        raise NotFound(f"there is no {kind} {key}", reason=f"{kind.upper()}_NOT_FOUND")
    return row


def storable(field: str, text: str) -> str:
    """Return a text of a request, or refuse one that Postgres cannot hold."""
    if "\0" in text:
        raise InvalidArgument.field(field, "string.no_nul", "must not contain a zero character")
    return text
