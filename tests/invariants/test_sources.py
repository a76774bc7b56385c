"""A source that is in the catalogue is known in every place that a finding passes.

Each place that does not follow from the catalogue fails here for a source that it does not know.
"""

from __future__ import annotations

import dataclasses
import re
import uuid
from typing import Any

import httpx
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import prospect_pb2, runs_pb2

from chassis.database import tenant_transaction
from chassis.validation import violations_of
from devstack import servers
from devstack.sandbox.app import VENDORS
from services.cli.operate.services import ServiceName
from services.enrichment.policy import store as policy_store
from services.enrichment.settings import Settings
from services.enrichment.sources.call import Answer, SourceCall
from services.enrichment.sources.catalogue import (
    RESEARCH,
    SOURCES,
    SourceName,
    credential_of,
    urls_of,
)
from services.enrichment.sources.claude.template import templated
from services.enrichment.sources.facts import facts_of
from services.enrichment.sources.findings import Finding
from services.enrichment.sources.http import certificates
from services.enrichment.sql import SQL
from tests.enrichment.engine import Sources, engine
from tests.enrichment.sources.case import ADAMS, NOW, Case
from tests.enrichment.sources.cases import CASES
from tests.enrichment.test_service import finished, sandbox_settings
from tests.harness import Database, Identity, SandboxDesk, Services

every_source = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.value)


async def found_by(case: Case, desk: SandboxDesk) -> Finding:
    """Return what the source finds in the sandbox."""
    async with httpx.AsyncClient(verify=certificates()) as client:
        source = case.make(desk.url, client, 20)
        answer = await source.ask(case.found)
        if close := getattr(source, "close", None):
            await close()
    assert answer.finding is not None
    return answer.finding


def test_each_source_has_its_case_its_sandbox_and_its_row() -> None:
    names = set(SourceName)
    assert (set(SOURCES), set(VENDORS), {case.name for case in CASES}) == (names, names, names)


@pytest.mark.parametrize("source", SourceName)
def test_the_contract_knows_each_source_and_where_its_finding_stands(source: SourceName) -> None:
    request = runs_pb2.RetrySourceRequest(prospect_id=str(uuid.uuid4()), source=source)
    assert violations_of(request) == []
    field = prospect_pb2.Prospect.DESCRIPTOR.fields_by_name[SOURCES[source].column]
    finding: Any = SOURCES[source].finding
    ours = {each.name for each in dataclasses.fields(finding)}
    assert field.message_type is not None
    assert ours == set(field.message_type.fields_by_name)


@pytest.mark.parametrize("source", SourceName)
def test_each_source_has_its_settings(source: SourceName) -> None:
    wanted = {credential_of(source), *urls_of(source), f"{source.value}_calls_per_second"}
    assert wanted <= set(Settings.model_fields)


def test_each_statement_names_the_columns_of_all_sources() -> None:
    columns = [row.column for row in SOURCES.values()]
    for name, sql in SQL.statements.items():
        times = {column: len(re.findall(rf"\b{column}\b", sql)) for column in columns}
        assert len(set(times.values())) == 1, (name, times)


async def test_the_database_has_a_row_of_each_source_and_takes_its_steps(
    shared_database: Database,
) -> None:
    rows = await shared_database.fetch("select source from enrichment.sources")
    assert {row["source"] for row in rows} == set(SourceName)
    (check,) = await shared_database.fetch(
        "select pg_get_constraintdef(oid) as text from pg_constraint where conname = 'steps_source'"
    )
    assert [source for source in SourceName if f"'{source.value}'" not in check["text"]] == []


async def test_what_each_source_finds_is_kept_shown_and_cited(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity
) -> None:
    settings = sandbox_settings(sandbox_desk.url)
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        stub: grpc_api.EnrichmentServiceAsyncStub = grpc_api.EnrichmentServiceStub(channel)
        fields = {f.name: getattr(ADAMS, f.name) for f in dataclasses.fields(ADAMS)}
        fields["company_cik"] = str(ADAMS.company_cik)
        prospect = await finished(stub, ours, **fields)
    shown = {field.name for field, _ in prospect.ListFields()}
    assert {row.column for row in SOURCES.values()} <= shown
    cited = {fact.id.split("-")[0] for fact in prospect.ai_summary.facts}
    assert cited == set(RESEARCH)


@every_source
async def test_evidence_becomes_facts_and_plain_sentences(
    sandbox_desk: SandboxDesk, case: Case
) -> None:
    finding = await found_by(case, sandbox_desk)
    evidence = {case.name: finding}
    assert bool(facts_of(evidence)) == SOURCES[case.name].is_research
    assert bool(templated(evidence, NOW).sentences) == SOURCES[case.name].is_research


@every_source
async def test_a_source_brings_nobody_who_is_on_the_suppression_list(
    database: Database, nats_server: servers.Nats, sandbox_desk: SandboxDesk, case: Case
) -> None:
    finding = await found_by(case, sandbox_desk)
    assert bool(finding.people()) == case.names_people
    sources = Sources()
    async with engine(database.dsn("enrichment_app"), nats_server.url, sources) as one:
        keys = one.hasher.of_finding(one.tenant_id, finding)

        async def ask(_: SourceCall) -> Answer:  # meanwhile the person is put on the list
            async with tenant_transaction(one.pool, one.tenant_id) as connection:
                await policy_store.suppress(connection, one.tenant_id, keys, "law", NOW)
            return Answer(finding)

        sources.answers[case.name] = ask
        run, steps = await one.enriched()
        (row,) = await database.fetch("select * from enrichment.prospects")
    is_kept = row[SOURCES[case.name].column] is not None
    assert (steps[case.name].status == "suppressed", is_kept) == (
        case.names_people,
        not case.names_people,
    )
    assert run["ended_at"]
