"""What callers see of values that a newer version stored, while both run side by side."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, cast

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import operations_pb2, prospect_pb2, runs_pb2

from chassis.auth import Caller, set_caller
from chassis.clock import utc_now
from chassis.errors import FailedPrecondition
from services.enrichment.intake.steer_rpc import SteerRpc
from services.enrichment.worker.hints import Hints
from tests.enrichment.engine import Engine
from tests.enrichment.rows import NOON, Rows
from tests.harness import Database, Identity

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

    from chassis.interceptor import Context

NEWER, NEWER_STATUS = "crunchbase", "postponed"


@pytest.fixture
async def upgraded(database: Database) -> Database:
    """The database after a newer version's migration: it takes more values."""
    for name in (
        "steps_source", "steps_status", "runs_status", "runs_ended", "attempts_status",
        "sources_state",
    ):  # fmt: skip
        table = name.split("_", maxsplit=1)[0]
        await database.fetch(f"alter table enrichment.{table} drop constraint {name}")
    return database


async def test_a_calls_unknown_status_is_shown_as_unspecified(
    upgraded: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    run_id = await rows.run(steps={"exa": "complete"})
    await upgraded.fetch(
        "insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at, status)"
        " values ($1, $2, 'exa', 1, $3, $4)",
        *(ours.tenant_id, run_id, NOON, NEWER_STATUS),
    )
    request = runs_pb2.GetRunRequest(run_id=str(run_id))
    answer = await enrichment.GetRun(request, metadata=ours.metadata())
    (attempt,) = answer.attempts
    assert (attempt.source, attempt.status) == ("exa", runs_pb2.ATTEMPT_STATUS_UNSPECIFIED)


async def test_a_finding_with_a_field_more_is_shown_without_it(
    upgraded: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    await rows.run(prospect_id := await rows.prospect())
    found = {"full_name": "Ada Lovelace", "mood": "good"}
    await upgraded.fetch("update enrichment.prospects set contact_data = $1", json.dumps(found))
    request = pb.GetProspectRequest(prospect_id=str(prospect_id))
    answer = await enrichment.GetProspect(request, metadata=ours.metadata())
    assert answer.prospect.contact_data.full_name == "Ada Lovelace"


async def test_an_ended_run_ends_its_watch_whatever_its_status(
    upgraded: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    await rows.run(prospect_id := await rows.prospect(), status=NEWER_STATUS)
    request = pb.WatchEnrichmentRequest(prospect_id=str(prospect_id), until_settled=True)
    async with asyncio.timeout(30):
        (only,) = [
            each async for each in enrichment.WatchEnrichment(request, metadata=ours.metadata())
        ]
    assert only.snapshot.status == prospect_pb2.ENRICHMENT_STATUS_UNSPECIFIED


async def test_a_sources_unknown_state_is_shown_as_unspecified(
    upgraded: Database, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    await upgraded.fetch("insert into enrichment.sources (source) values ($1)", NEWER)
    await upgraded.fetch(
        "update enrichment.sources set state = $1, epoch = epoch + 1 where source = 'exa'",
        NEWER_STATUS,
    )
    request = operations_pb2.ListSourcesRequest()
    answer = await enrichment.ListSources(request, metadata=ours.metadata())
    unspecified = operations_pb2.SOURCE_STATE_UNSPECIFIED
    assert [each.source for each in answer.sources if each.state == unspecified] == ["exa"]


@pytest.mark.parametrize(
    "change",
    [
        "delete from enrichment.steps where source = 'exa'",
        f"update enrichment.steps set status = '{NEWER_STATUS}' where source = 'exa'",
    ],
)
async def test_a_source_of_which_a_run_says_nothing_known_is_retried_after_its_end(
    upgraded: Database, nats: Client, replicas: tuple[Engine, Engine], change: str
) -> None:
    one, _ = replicas
    accepted = await one.accept()
    await upgraded.fetch(change)
    set_caller(Caller(one.user_id, one.tenant_id, frozenset()))
    steer = SteerRpc(one.pool, utc_now, one.intake, Hints(nats))
    request = runs_pb2.RetrySourceRequest(prospect_id=str(accepted.prospect_id), source="exa")
    with pytest.raises(FailedPrecondition):
        await steer.RetrySource(request, cast("Context", None))


async def test_a_failure_of_a_newer_source_alone_is_not_replayed(
    upgraded: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    await rows.run(steps={NEWER: "failed"})
    await rows.run(steps={NEWER: "failed", "exa": "failed"})
    request = runs_pb2.ReplayRunsRequest()
    request.filter.statuses.append(prospect_pb2.ENRICHMENT_STATUS_COMPLETE)
    answer = await enrichment.ReplayRuns(request, metadata=ours.metadata())
    assert answer.replayed == 1
    rows_of = "select sources from enrichment.runs where batch_id = $1"
    (run,) = await upgraded.fetch(rows_of, uuid.UUID(answer.batch_id))
    assert set(run["sources"]) == {"exa", "claude"}


async def test_a_migration_under_a_running_service_fails_no_read(
    database: Database, rows: Rows, enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    run_id = await rows.run(steps={"exa": "complete"})
    prospects, run = pb.ListProspectsRequest(), runs_pb2.GetRunRequest(run_id=str(run_id))
    for column in ("one_more", "and_another"):
        for _ in range(2):  # the first time its statements are planned
            await enrichment.ListProspects(prospects, metadata=ours.metadata())
            await enrichment.GetRun(run, metadata=ours.metadata())
        for table in ("prospects", "runs", "steps"):
            await database.fetch(f"alter table enrichment.{table} add column {column} text")
        await enrichment.ListProspects(prospects, metadata=ours.metadata())
        await enrichment.GetRun(run, metadata=ours.metadata())
