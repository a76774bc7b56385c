"""A source that goes wrong in any way: its step gets the right class, and the run completes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import operations_pb2, prospect_pb2

from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import APPLE, finished, sandbox_settings, statuses
from tests.harness import Identity, SandboxDesk, Services

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

PAID_FAULTS = {
    "hang": "uncertain",
    "cut": "uncertain",
    "lost": "uncertain",
    "truncate": "uncertain",
    "malformed": "invalid_answer",
    "html": "invalid_answer",
}


@pytest.fixture
async def enrichment(
    services: Services, sandbox_desk: SandboxDesk
) -> AsyncIterator[EnrichmentServiceAsyncStub]:
    settings = sandbox_settings(sandbox_desk.url) | {"call_timeout_seconds": 1}
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        yield grpc_api.EnrichmentServiceStub(channel)


def step_of(prospect: prospect_pb2.Prospect, source: str) -> prospect_pb2.Step:
    (step,) = [each for each in prospect.enrichment_source_status if each.source == source]
    return step


@pytest.mark.parametrize("source", ["contactout", "exa"])
@pytest.mark.parametrize(("kind", "error_class"), PAID_FAULTS.items())
async def test_a_paid_source_that_goes_wrong_fails_with_its_class(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    source: str,
    kind: str,
    error_class: str,
) -> None:
    await sandbox_desk.order(source, kind, times=9)
    prospect = await finished(enrichment, ours, name="Katherine L. Adams", **APPLE)
    step = step_of(prospect, source)
    assert (statuses(prospect)[source], step.error_class) == ("FAILED", error_class)
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE
    assert statuses(prospect)["claude"] == "COMPLETE"
    if error_class == "uncertain":
        assert (step.attempts, step.uncertain_attempts) == (1, 1)


@pytest.mark.parametrize("kind", ["hang", "truncate", "malformed", "html", "bomb"])
async def test_edgar_going_wrong_leaves_the_others_summary(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk, kind: str
) -> None:
    await sandbox_desk.order("sec", kind, times=1_000)
    prospect = await finished(enrichment, ours, name="Katherine L. Adams", **APPLE)
    assert statuses(prospect)["sec"] != "COMPLETE"
    assert statuses(prospect)["claude"] == "COMPLETE"
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


@pytest.mark.parametrize(
    "fault",
    [{"kind": "uncited"}, {"kind": "wrong_number"}, {"kind": "obedient", "value": "pirate"}],
    ids=lambda fault: fault["kind"],
)
async def test_a_summary_that_fails_its_check_is_replaced_and_not_bought_again(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    fault: dict[str, Any],
) -> None:
    await sandbox_desk.order("exa", "injection")
    await sandbox_desk.order("claude", **fault)
    prospect = await finished(enrichment, ours, name="Katherine L. Adams", **APPLE)
    assert prospect.ai_summary.kind == "template"
    step = step_of(prospect, "claude")
    assert (step.attempts, statuses(prospect)["claude"]) == (1, "COMPLETE")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "stop", "value": "refusal"},
        {"kind": "stop", "value": "model_context_window_exceeded"},
        {"kind": "refusal", "value": "credit_balance"},
        {"kind": "refusal", "value": "usage_limits"},
        {"kind": "refusal", "value": "retired_model"},
    ],
    ids=lambda fault: fault["value"],
)
async def test_what_the_model_does_not_give_is_replaced_at_once(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    fault: dict[str, Any],
) -> None:
    await sandbox_desk.order("claude", **fault)
    prospect = await finished(enrichment, ours)
    assert prospect.ai_summary.kind == "template"
    step = step_of(prospect, "claude")
    assert (step.attempts, statuses(prospect)["claude"]) == (1, "COMPLETE")
    assert step.reason.startswith("a plain summary stands in for the model's: Claude ")
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


@pytest.mark.parametrize(("times", "kind"), [(1, "model"), (2, "template")])
async def test_an_answer_without_room_is_asked_once_more_with_more(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    sandbox_desk: SandboxDesk,
    times: int,
    kind: str,
) -> None:
    await sandbox_desk.order("claude", "stop", value="max_tokens", times=times)
    prospect = await finished(enrichment, ours)
    assert prospect.ai_summary.kind == kind
    assert step_of(prospect, "claude").attempts == 2
    request = operations_pb2.ListSourcesRequest()
    sources = await enrichment.ListSources(request, metadata=ours.metadata())
    assert {each.source: each.failures for each in sources.sources}["claude"] == 0
