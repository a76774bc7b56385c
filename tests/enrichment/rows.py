"""Prospects and ended runs written straight into the tables."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from chassis.clock import new_id
from tests.harness import Database

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Rows:
    """Writes rows of one tenant."""

    database: Database
    tenant_id: uuid.UUID

    async def prospect(
        self,
        *,
        at: datetime = NOON,
        status: str = "complete",
        sources: Mapping[str, str] | None = None,
        enriched_at: datetime | None = None,
        answered: Mapping[str, Any] | None = None,
    ) -> uuid.UUID:
        """Write a prospect."""
        prospect_id = new_id()
        await self.database.fetch(
            "insert into enrichment.prospects (tenant_id, prospect_id, name, company, created_at,"
            " enrichment_status, enrichment_source_status, last_enriched_at, answered)"
            " values ($1, $2, 'Ada Lovelace', 'Analytical Engines', $3, $4, $5, $6, $7)",
            self.tenant_id,
            prospect_id,
            at,
            status,
            json.dumps(sources or {}),
            enriched_at,
            json.dumps(answered or {}),
        )
        return prospect_id

    async def run(
        self,
        prospect_id: uuid.UUID | None = None,
        *,
        at: datetime = NOON,
        status: str = "complete",
        steps: Mapping[str, str] | None = None,
        error_class: str = "",
        user_id: uuid.UUID | None = None,
    ) -> uuid.UUID:
        """Write a run, which is its prospect's newest; one of an ended status has ended."""
        prospect_id = prospect_id or await self.prospect(at=at)
        run_id, steps = new_id(), steps or {}
        missing = [source for source, each in steps.items() if each == "failed"]
        ended_at = None if status in ("pending", "in_progress") else at + timedelta(seconds=1)
        await self.database.fetch(
            "insert into enrichment.runs (tenant_id, run_id, prospect_id, user_id, status, missing,"
            " created_at, deadline_at, ended_at, open) values ($1, $2, $3, $4, $5, $6, $7, $7, $8,"
            " $8::timestamptz is null)",
            *(self.tenant_id, run_id, prospect_id, user_id or uuid.uuid4(), status, missing, at),
            ended_at,
        )
        await self.database.fetch(
            "insert into enrichment.steps (tenant_id, run_id, source, status, error_class,"
            " ended_at) select $1, $2, s.*, $5, $6 from unnest($3::text[], $4::text[]) s",
            *(self.tenant_id, run_id, list(steps), list(steps.values()), error_class, ended_at),
        )
        await self.database.fetch(
            "update enrichment.prospects set run_id = $1 where prospect_id = $2",
            run_id,
            prospect_id,
        )
        return run_id

    async def batch(self, *run_ids: uuid.UUID) -> uuid.UUID:
        """Write a closed batch of runs."""
        batch_id = uuid.uuid4()
        await self.database.fetch(
            "insert into enrichment.batches (tenant_id, batch_id, user_id, closed_at)"
            " values ($1, $2, gen_random_uuid(), now())",
            self.tenant_id,
            batch_id,
        )
        await self.database.fetch(
            "insert into enrichment.batch_runs (tenant_id, batch_id, place, run_id)"
            " select $1, $2, n, r from unnest($3::uuid[]) with ordinality as b (r, n)",
            self.tenant_id,
            batch_id,
            list(run_ids),
        )
        return batch_id
