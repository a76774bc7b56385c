"""What a tenant allows, by RPC: its policy field by field, its suppression list, the sources."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.client import Client
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import events_pb2, operations_pb2, policy_pb2

from chassis.clock import to_timestamp, utc_now
from services.cli.operate.services import ServiceName
from services.enrichment.sources.catalogue import SOURCES, SourceName
from tests.enrichment.test_service import finished, sandbox_settings, statuses
from tests.harness import Database, Identity, SandboxDesk, Services, violations

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

ADA = policy_pb2.SuppressedPerson(name="Ada Lovelace", company="Analytical Engines, Inc.")


async def policy_of(enrichment: EnrichmentServiceAsyncStub, who: Identity) -> policy_pb2.Policy:
    """Return a tenant's policy."""
    request = policy_pb2.GetPolicyRequest()
    return (await enrichment.GetPolicy(request, metadata=who.metadata())).policy


async def update(
    enrichment: EnrichmentServiceAsyncStub, who: Identity, *paths: str, **values: Any
) -> policy_pb2.Policy:
    """Change the fields that are named."""
    request = policy_pb2.UpdatePolicyRequest(
        policy=policy_pb2.Policy(**values), update_mask=FieldMask(paths=paths)
    )
    return (await enrichment.UpdatePolicy(request, metadata=who.metadata())).policy


async def sources_of(
    enrichment: EnrichmentServiceAsyncStub, who: Identity
) -> dict[str, operations_pb2.Source]:
    """Return the sources by name."""
    request = operations_pb2.ListSourcesRequest()
    answer = await enrichment.ListSources(request, metadata=who.metadata())
    return {each.source: each for each in answer.sources}


# -- the policy ------------------------------------------------------------------------------------


async def test_a_tenant_without_a_policy_has_the_defaults(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    policy = await policy_of(enrichment, ours)
    assert [each.source for each in policy.sources] == [each.value for each in SourceName]
    assert all(each.is_enabled for each in policy.sources)
    fresh = {each.source: each.fresh_for_seconds for each in policy.sources}
    assert fresh == {s.value: int(p.fresh_for.total_seconds()) for s, p in SOURCES.items()}
    assert list(policy.contact_lookups) == list(SOURCES[SourceName.CONTACTOUT].lookups)
    assert (policy.most_runs_at_once, policy.weight) == (32, 1)
    assert not policy.HasField("updated_at")


async def test_the_named_fields_change_and_no_others(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    before = await policy_of(enrichment, ours)
    await update(enrichment, ours, "weight", weight=7, debounce_seconds=9, is_stopped=True)
    after = await update(enrichment, ours, "day_budget_micros", day_budget_micros=5)
    assert after == await policy_of(enrichment, ours)
    assert after.HasField("updated_at")
    before.weight, before.day_budget_micros = 7, 5
    before.updated_at.CopyFrom(after.updated_at)
    assert after == before
    assert (await policy_of(enrichment, theirs)).weight == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("is_stopped", True),
        ("contact_lookups", ["email"]),
        ("ask_paid_again", True),
        ("run_budget_micros", 1),
        ("day_budget_micros", 2),
        ("most_runs_at_once", 3),
        ("weight", 4),
        ("debounce_seconds", 5),
    ],
)
async def test_each_field_can_be_set_and_set_back_to_the_default(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, path: str, value: Any
) -> None:
    default = getattr(await policy_of(enrichment, ours), path)
    assert getattr(await update(enrichment, ours, path, **{path: value}), path) == value
    assert getattr(await update(enrichment, ours, path), path) == default


async def test_an_update_changes_only_the_sources_that_it_gives(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    exa = policy_pb2.SourcePolicy(source="exa", day_budget_micros=9)
    sec = policy_pb2.SourcePolicy(source="sec", is_enabled=True, fresh_for_seconds=60)
    await update(enrichment, ours, "sources", sources=[exa])
    policy = await update(enrichment, ours, "sources", sources=[sec])
    by_source = {each.source: each for each in policy.sources}
    exa.fresh_for_seconds = int(SOURCES[SourceName.EXA].fresh_for.total_seconds())
    assert (by_source["exa"], by_source["sec"]) == (exa, sec)
    assert by_source["claude"].is_enabled


async def test_a_tenant_does_not_raise_itself_above_what_the_operator_allows(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity
) -> None:
    settings = sandbox_settings(sandbox_desk.url)
    settings |= {"tenant_max_runs_in_hand": 40, "tenant_max_weight": 2}
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        enrichment = grpc_api.EnrichmentServiceStub(channel)
        for path, most in (("most_runs_at_once", 40), ("weight", 2)):
            assert getattr(await update(enrichment, ours, path, **{path: most}), path) == most
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await update(enrichment, ours, path, **{path: most + 1})
            assert violations(refused.value) == [(f"policy.{path}", "policy.highest")]
            assert getattr(await policy_of(enrichment, ours), path) == most


async def test_a_stored_field_is_bounded_by_what_the_operator_allows_now_and_kept(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity
) -> None:
    settings = sandbox_settings(sandbox_desk.url)
    lower = settings | {"tenant_max_runs_in_hand": 7, "tenant_max_weight": 2}
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        enrichment = grpc_api.EnrichmentServiceStub(channel)
        await update(enrichment, ours, "weight", weight=9)
        await update(enrichment, ours, "most_runs_at_once", most_runs_at_once=90)
    for each, wanted in ((lower, (2, 7)), (settings, (9, 90))):
        async with services.running(ServiceName.ENRICHMENT, **each) as channel:
            policy = await policy_of(grpc_api.EnrichmentServiceStub(channel), ours)
        assert (policy.weight, policy.most_runs_at_once) == wanted


async def test_a_field_that_was_never_set_follows_the_deployment(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity
) -> None:
    settings = sandbox_settings(sandbox_desk.url)
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        await update(grpc_api.EnrichmentServiceStub(channel), ours, "weight", weight=2)
    settings |= {"ask_paid_again": True, "tenant_runs_in_hand": 5}
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        policy = await policy_of(grpc_api.EnrichmentServiceStub(channel), ours)
    assert (policy.weight, policy.ask_paid_again, policy.most_runs_at_once) == (2, True, 5)


async def test_a_source_that_the_policy_forbids_is_not_asked(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    off = [policy_pb2.SourcePolicy(source="exa", is_enabled=False)]
    await update(enrichment, ours, "sources", sources=off)
    prospect = await finished(enrichment, ours)
    assert statuses(prospect)["exa"] == "SKIPPED"
    assert await sandbox_desk.calls("exa") == 0


@pytest.mark.parametrize(
    ("paths", "values", "fault"),
    [
        ([], {}, ("update_mask", "field_mask.not_empty")),
        (["colour"], {}, ("update_mask", "field_mask.known")),
        (["updated_at"], {}, ("update_mask", "field_mask.known")),
        (["sources.exa"], {}, ("update_mask", "field_mask.known")),
        (["*"], {}, ("update_mask", "field_mask.known")),
        (["weight"], {"weight": 101}, ("policy.weight", "int32.gte_lte")),
        (
            ["contact_lookups"],
            {"contact_lookups": ["fax"]},
            ("policy.contact_lookups[0]", "string.in"),
        ),
        (
            ["sources"],
            {"sources": [policy_pb2.SourcePolicy(source="bing")]},
            ("policy.sources[0].source", "string.in"),
        ),
        (
            ["sources"],
            {"sources": [policy_pb2.SourcePolicy(source="exa")] * 2},
            ("policy.sources", "policy.unique"),
        ),
    ],
)
async def test_a_bad_update_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    paths: list[str],
    values: dict[str, Any],
    fault: tuple[str, str],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await update(enrichment, ours, *paths, **values)
    assert violations(refused.value) == [fault]


# -- the suppression list --------------------------------------------------------------------------


async def test_a_suppressed_person_is_not_asked_about_until_unsuppressed(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    sandbox_desk: SandboxDesk,
) -> None:
    request = policy_pb2.SuppressRequest(people=[ADA], reason="opt-out")
    added = await enrichment.Suppress(request, metadata=ours.metadata())
    assert (added.added, added.known) == (1, 0)
    assert statuses(await finished(enrichment, ours))["exa"] == "SUPPRESSED"
    assert await sandbox_desk.calls("exa") == 0
    assert statuses(await finished(enrichment, theirs))["exa"] == "COMPLETE"
    off = policy_pb2.UnsuppressRequest(people=[ADA])
    assert (await enrichment.Unsuppress(off, metadata=ours.metadata())).removed == 1
    assert statuses(await finished(enrichment, ours))["exa"] == "COMPLETE"


async def test_each_key_counts_once_however_often_it_is_sent(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    both = policy_pb2.SuppressedPerson(
        email="Ada@Engines.example", name=ADA.name, company=ADA.company
    )
    request = policy_pb2.SuppressRequest(people=[ADA, both, ADA], reason="opt-out")
    first = await enrichment.Suppress(request, metadata=ours.metadata())
    again = await enrichment.Suppress(request, metadata=ours.metadata())
    assert [(each.added, each.known) for each in (first, again)] == [(2, 0), (0, 2)]
    off = policy_pb2.UnsuppressRequest(people=[both])
    removed = [(await enrichment.Unsuppress(off, metadata=ours.metadata())).removed for _ in "12"]
    assert removed == [2, 0]
    assert await database.fetch("select from enrichment.suppressions") == []


async def test_the_list_holds_no_personal_data(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, database: Database
) -> None:
    request = policy_pb2.SuppressRequest(people=[ADA], reason="opt-out")
    await enrichment.Suppress(request, metadata=ours.metadata())
    (row,) = await database.fetch("select s::text as text from enrichment.suppressions s")
    assert "lovelace" not in row["text"].lower()
    assert "engines" not in row["text"].lower()


@pytest.mark.parametrize("method", ["Suppress", "Unsuppress"])
@pytest.mark.parametrize(
    ("person", "fault"),
    [
        ({}, ("people[1]", "suppression.key")),
        ({"name": "Ada"}, ("people[1]", "suppression.key")),
        ({"company": "Engines"}, ("people[1]", "suppression.key")),
        (
            {"linkedin_url": "https://x.example/ada", "email": "a@b.example"},
            ("people[1].linkedin_url", "suppression.linkedin_url"),
        ),
        ({"email": "nobody"}, ("people[1].email", "string.email")),
    ],
)
async def test_a_person_without_a_key_is_refused_by_index(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    method: str,
    person: dict[str, str],
    fault: tuple[str, str],
) -> None:
    people = [ADA, policy_pb2.SuppressedPerson(**person)]
    request = getattr(policy_pb2, f"{method}Request")(people=people)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(enrichment, method)(request, metadata=ours.metadata())
    assert violations(refused.value) == [fault]


# -- the sources -----------------------------------------------------------------------------------


async def test_the_sources_show_their_health_and_the_tenants_day(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    sandbox_desk: SandboxDesk,
) -> None:
    await sandbox_desk.order("exa", "status", value=503)
    limit = policy_pb2.SourcePolicy(source="exa", is_enabled=True, day_budget_micros=10**9)
    await update(enrichment, ours, "sources", sources=[limit])
    prospect = await finished(enrichment, ours)
    spent = {step.source: step.cost_micros for step in prospect.enrichment_source_status}
    sources = await sources_of(enrichment, ours)
    assert list(sources) == [source.value for source in SourceName]
    exa = sources["exa"]
    assert exa.state == operations_pb2.SOURCE_STATE_CLOSED
    assert (exa.calls_today, exa.failed_today, exa.uncertain_today) == (2, 1, 0)
    assert exa.spent_today_micros == spent["exa"] > 0
    assert (exa.budget_micros, exa.calls_per_second, exa.is_enabled) == (10**9, 10, True)
    assert exa.fresh_for_seconds == 7 * 86_400
    assert exa.median_ms > 0
    assert not exa.HasField("until")
    other = (await sources_of(enrichment, theirs))["exa"]
    assert (other.calls_today, other.spent_today_micros, other.budget_micros) == (0, 0, 0)


async def test_a_paused_source_is_not_asked_until_it_is_resumed(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    theirs: Identity,
    nats: Client,
    sandbox_desk: SandboxDesk,
) -> None:
    told = await nats.subscribe("prospect.source.changed")
    pause = operations_pb2.PauseSourceRequest(source="exa", reason="maintenance")
    paused = (await enrichment.PauseSource(pause, metadata=ours.metadata())).source
    assert (paused.state, paused.reason) == (operations_pb2.SOURCE_STATE_PAUSED, "maintenance")
    event = events_pb2.SourceChanged.FromString((await told.next_msg(timeout=30)).data)
    assert (event.source, event.state) == ("exa", "paused")
    assert (await sources_of(enrichment, theirs))["exa"].reason == "maintenance"
    resume = operations_pb2.PauseSourceRequest(source="exa", resume=True)
    going_on = (await enrichment.PauseSource(resume, metadata=ours.metadata())).source
    assert (going_on.state, going_on.reason) == (operations_pb2.SOURCE_STATE_CLOSED, "")
    await finished(enrichment, ours)
    assert await sandbox_desk.calls("exa") == 1


async def test_a_pause_ends_by_itself(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity, sandbox_desk: SandboxDesk
) -> None:
    until = to_timestamp(utc_now() + timedelta(seconds=1))
    pause = operations_pb2.PauseSourceRequest(source="exa", until=until)
    paused = (await enrichment.PauseSource(pause, metadata=ours.metadata())).source
    assert paused.until == until
    prospect = await finished(enrichment, ours)
    assert statuses(prospect)["exa"] == "COMPLETE"


async def test_an_operator_needs_no_tenant_and_a_user_no_operators_scope_to_see(
    enrichment: EnrichmentServiceAsyncStub, ours: Identity
) -> None:
    operator = Identity(ours.key, None, ours.user_id)  # type: ignore[arg-type]
    pause = operations_pb2.PauseSourceRequest(source="exa", resume=True)
    scope = operator.metadata("enrichment:operate")
    assert (await enrichment.PauseSource(pause, metadata=scope)).source.source == "exa"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.PauseSource(pause, metadata=ours.metadata("enrichment:admin"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"source": "bing"}, ("source", "string.in")),
        ({"source": "exa", "reason": "a\0"}, ("reason", "string.pattern")),
        ({"source": "exa", "until": Timestamp(seconds=1)}, ("until", "pause.future")),
        ({"source": "exa", "until": Timestamp(seconds=2**60)}, ("until", "timestamp")),
    ],
)
async def test_a_bad_pause_names_its_field(
    enrichment: EnrichmentServiceAsyncStub,
    ours: Identity,
    values: dict[str, Any],
    fault: tuple[str, str],
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await enrichment.PauseSource(
            operations_pb2.PauseSourceRequest(**values), metadata=ours.metadata()
        )
    assert violations(refused.value) == [fault]
