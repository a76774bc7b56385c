"""No RPC reaches another tenant's prospects, runs, batches, policy or list."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import operations_pb2, policy_pb2, runs_pb2

from tests.enrichment.rows import Rows
from tests.harness import Database, Identity


@dataclass(frozen=True)
class Theirs:
    """What another tenant has."""

    prospect_id: str
    run_id: str
    batch_id: str


PERSON = policy_pb2.SuppressedPerson(email="ada@engines.example")


def their_runs(t: Theirs) -> runs_pb2.RunFilter:
    return runs_pb2.RunFilter(batch_id=t.batch_id)


def chunks(t: Theirs) -> list[pb.BatchRequestEnrichmentsRequest]:
    return [pb.BatchRequestEnrichmentsRequest(batch_id=t.batch_id, requests=[
        pb.RequestEnrichmentRequest(prospect_id=t.prospect_id, name="Mallory", company="Us")
    ])]  # fmt: skip


# For each RPC what we ask of theirs, and what comes: NOT_FOUND, or an answer that holds of ours.
CALLS: dict[str, tuple[Callable[[Theirs], Any], Callable[[Any], bool] | None]] = {
    "GetProspect": (lambda t: pb.GetProspectRequest(prospect_id=t.prospect_id), None),
    "WatchEnrichment": (lambda t: pb.WatchEnrichmentRequest(prospect_id=t.prospect_id), None),
    "WatchBatch": (lambda t: pb.WatchBatchRequest(batch_id=t.batch_id), None),
    "GetRun": (lambda t: runs_pb2.GetRunRequest(run_id=t.run_id), None),
    "CancelRun": (lambda t: runs_pb2.CancelRunRequest(run_id=t.run_id), None),
    "EraseProspect": (lambda t: pb.EraseProspectRequest(prospect_id=t.prospect_id), None),
    "RetrySource": (
        lambda t: runs_pb2.RetrySourceRequest(prospect_id=t.prospect_id, source="exa"),
        None,
    ),
    "RequestEnrichment": (
        lambda t: pb.RequestEnrichmentRequest(
            prospect_id=t.prospect_id, name="Mallory", company="Us"
        ),
        lambda answer: not answer.joined,
    ),
    "BatchRequestEnrichments": (chunks, lambda answer: not answer.accepted.joined),
    "ListProspects": (lambda t: pb.ListProspectsRequest(), lambda answer: not answer.prospects),
    "ListRuns": (
        lambda t: runs_pb2.ListRunsRequest(filter=their_runs(t)),
        lambda answer: not answer.runs,
    ),
    "ReplayRuns": (
        lambda t: runs_pb2.ReplayRunsRequest(filter=their_runs(t)),
        lambda answer: not answer.matched,
    ),
    "EstimateEnrichment": (
        lambda t: operations_pb2.EstimateEnrichmentRequest(
            prospects=[
                operations_pb2.EstimatedProspect(
                    prospect_id=t.prospect_id, name="Ada Lovelace", company="Analytical Engines"
                )
            ]
        ),
        lambda answer: not any(each.fresh or each.suppressed for each in answer.sources),
    ),
    "ListSources": (
        lambda t: operations_pb2.ListSourcesRequest(),
        lambda answer: not any(each.calls_today for each in answer.sources),
    ),
    "PauseSource": (
        lambda t: operations_pb2.PauseSourceRequest(source="exa", resume=True),
        lambda answer: not answer.source.calls_today,
    ),
    "GetPolicy": (
        lambda t: policy_pb2.GetPolicyRequest(),
        lambda answer: answer.policy.weight == 1,
    ),
    "UpdatePolicy": (
        lambda t: policy_pb2.UpdatePolicyRequest(
            policy=policy_pb2.Policy(debounce_seconds=1),
            update_mask=FieldMask(paths=["debounce_seconds"]),
        ),
        lambda answer: answer.policy.weight == 1,
    ),
    "Suppress": (
        lambda t: policy_pb2.SuppressRequest(people=[PERSON]),
        lambda answer: not answer.known,
    ),
    "Unsuppress": (
        lambda t: policy_pb2.UnsuppressRequest(people=[PERSON]),
        lambda answer: not answer.removed,
    ),
}


@pytest.fixture
async def belongings(database: Database, theirs: Identity) -> Theirs:
    """Fill another tenant's tables; its run waits, far from any worker."""
    rows = Rows(database, theirs.tenant_id)
    answered = {"exa": {"status": "complete", "at": "2099-01-01T00:00:00+00:00"}}
    prospect_id = await rows.prospect(answered=answered)
    failed = await rows.run(prospect_id, status="failed", steps={"exa": "failed"})
    await database.fetch(
        "insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at)"
        " select tenant_id, run_id, source, 1, now() from enrichment.steps"
    )
    run_id = await rows.run(prospect_id, status="pending", steps={"exa": "pending"})
    await database.fetch(
        "update enrichment.runs set wake_at = now() + interval '1 hour' where run_id = $1", run_id
    )
    batch_id = await rows.batch(failed, run_id)
    await database.fetch(
        "insert into enrichment.policies (tenant_id, weight) values ($1, 9)", theirs.tenant_id
    )
    await database.fetch(
        "insert into enrichment.suppressions values ($1, sha256('x'), 'email')", theirs.tenant_id
    )
    return Theirs(str(prospect_id), str(run_id), str(batch_id))


async def snapshot(database: Database, tenant_id: uuid.UUID) -> dict[str, list[str]]:
    """Return all rows of a tenant, as text."""
    tables = await database.fetch(
        "select c.relname as name from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where relnamespace = 'enrichment'::regnamespace and relkind = 'r'"
        " and attname = 'tenant_id'"
    )
    return {
        table["name"]: [
            row["text"]
            for row in await database.fetch(
                f"select t::text as text from enrichment.{table['name']} t"
                " where tenant_id = $1 order by 1",
                tenant_id,
            )
        ]
        for table in tables
    }


def test_every_rpc_is_in_this_test() -> None:
    service = pb.DESCRIPTOR.services_by_name["EnrichmentService"]
    assert set(CALLS) == {method.name for method in service.methods}


@pytest.mark.parametrize("method", CALLS)
async def test_an_rpc_neither_shows_nor_changes_what_is_anothers(
    enrichment: grpc_api.EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    belongings: Theirs,
    database: Database,
    method: str,
) -> None:
    before = await snapshot(database, theirs.tenant_id)
    request_of, holds = CALLS[method]
    request, metadata = request_of(belongings), ours.metadata()
    call = getattr(enrichment, method)(
        iter(request) if isinstance(request, list) else request, metadata=metadata
    )
    if holds is None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_answer(call)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    else:
        assert holds(await first_answer(call))
    assert await snapshot(database, theirs.tenant_id) == before


async def first_answer(call: Any) -> Any:
    """Return the answer of a call, of a stream the first."""
    if not isinstance(call, AsyncIterator) and not hasattr(call, "__aiter__"):
        return await call
    async for answer in call:
        call.cancel()
        return answer
    return None
