"""A tenant's policy in runs: budgets, freshness, suppression, the kill switch, late answers."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from chassis.clock import new_id
from devstack import servers
from services.enrichment.reading.store import RunRow
from services.enrichment.run.state import StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Contact
from tests.enrichment.engine import ADA, COST, TIMES, Engine, Sources, engine, finding, ledger
from tests.harness import Database

CONTACTOUT, EXA, SEC = SourceName.CONTACTOUT, SourceName.EXA, SourceName.SEC
CLAUDE = SourceName.CLAUDE


@pytest.fixture
def dsn(database: Database) -> str:
    return database.dsn("enrichment_app")


@pytest.fixture
def sources() -> Sources:
    return Sources()


@pytest.fixture
async def one(dsn: str, nats_server: servers.Nats, sources: Sources) -> AsyncIterator[Engine]:
    async with engine(dsn, nats_server.url, sources) as running:
        yield running


async def allow(database: Database, tenant_id: uuid.UUID, **columns: Any) -> None:
    """Write a tenant's policy."""
    names = ", ".join(columns)
    places = ", ".join(f"${n}" for n in range(2, len(columns) + 2))
    updates = ", ".join(f"{name} = excluded.{name}" for name in columns)
    await database.fetch(
        f"insert into enrichment.policies (tenant_id, {names}) values ($1, {places})"
        f" on conflict (tenant_id) do update set {updates}",
        tenant_id,
        *columns.values(),
    )


async def suppress(database: Database, one: Engine, **values: str) -> None:
    """Put a person on the tenant's suppression list."""
    person = {"name": "", "company": "", "email": "", "linkedin_url": ""} | values
    for key in one.hasher.of_person(one.tenant_id, replace(ADA, **person)):  # type: ignore[arg-type]
        await database.fetch(
            "insert into enrichment.suppressions (tenant_id, digest, kind) values ($1, $2, $3)",
            one.tenant_id,
            key.keyed_hash,
            key.kind,
        )


def statuses(row: RunRow) -> dict[str, str]:
    return {source.value: step.status.value for source, step in row[1].items()}


# -- money -----------------------------------------------------------------------------------------


async def test_each_paid_call_is_reserved_settled_and_refunded(
    one: Engine, database: Database
) -> None:
    run, _ = await one.enriched()
    entries = {(e["source"], e["kind"]): e["amount_micros"] for e in await ledger(
        database.dsn(), run["run_id"]
    )}  # fmt: skip
    for source in SourceName:
        most = SOURCES[source].max_cost_micros
        if most:
            assert entries[source.value, "reserve"] == most
            assert entries[source.value, "settle"] == COST
            assert entries[source.value, "refund"] == most - COST
    assert run["cost_micros"] == 4 * COST


async def test_a_run_budget_denies_the_call_that_may_exceed_it(
    one: Engine, sources: Sources
) -> None:
    row = await one.enriched(budget_micros=SOURCES[CONTACTOUT].max_cost_micros)
    assert statuses(row)["contactout"] == "complete"
    assert statuses(row)["exa"] == "budget_denied"
    assert sources.calls[EXA] == 0
    assert "budget for the run" in row[1][EXA].reason
    assert row[0]["status"] == "complete"


@pytest.mark.parametrize("scope", ["run", "day"])
async def test_a_refund_pays_for_the_next_lookup(
    one: Engine, database: Database, sources: Sources, scope: str
) -> None:
    async def known_by_name_only(call: SourceCall) -> Answer:
        if call.lookup == "email":
            return Answer(None, 0)
        return Answer(finding(CONTACTOUT), SOURCES[CONTACTOUT].max_cost_micros)

    await allow(
        database, one.tenant_id, **{f"{scope}_budget_micros": SOURCES[CONTACTOUT].max_cost_micros}
    )
    sources.answers[CONTACTOUT] = known_by_name_only
    ada = replace(ADA, email="ada@engines.example")
    row = await one.enriched(ada, sources=(CONTACTOUT,))
    assert statuses(row)["contactout"] == "complete"
    assert sources.calls[CONTACTOUT] == 2


@pytest.mark.parametrize("scope", ["day", "source"])
async def test_a_day_budget_holds_however_many_ask_at_once(
    one: Engine, dsn: str, nats_server: servers.Nats, database: Database, sources: Sources,
    scope: str,
) -> None:  # fmt: skip
    limit = 10 * SOURCES[EXA].max_cost_micros
    await allow(database, one.tenant_id, contact_lookups=[])
    if scope == "day":
        await allow(database, one.tenant_id, day_budget_micros=limit)
    else:
        exa = {"is_enabled": True, "fresh_for_seconds": 0, "day_budget_micros": limit}
        rows = json.dumps({"exa": exa})
        await allow(database, one.tenant_id, sources=rows)
    # It costs what was reserved, so that nothing is refunded.
    sources.answers[EXA] = Answer(finding(EXA), SOURCES[EXA].max_cost_micros)
    asked = [EXA]
    async with engine(dsn, nats_server.url, sources, tenant_id=one.tenant_id) as two:
        runs = [await each.accept(sources=tuple(asked)) for each in (one, two) * 15]
        ended = [await one.ended(run.run_id) for run in runs]
    assert sources.calls[EXA] == 10
    assert [statuses(row)["exa"] for row in ended].count("budget_denied") == 20
    (spent,) = await database.fetch(
        "select committed_micros from enrichment.spending where source = 'all'"
    )
    assert spent["committed_micros"] == limit


async def test_a_refund_is_free_for_other_runs_only_once_it_is_written(
    one: Engine, sources: Sources, database: Database
) -> None:
    out: dict[str, asyncio.Event] = {}

    async def nothing(call: SourceCall) -> Answer:
        await out.setdefault(call.person.name, asyncio.Event()).wait()
        return Answer(None, 0)

    async def ask(name: str) -> uuid.UUID:
        person = replace(ADA, name=name)
        return (await one.accept(person, sources=(CONTACTOUT,), is_new=True)).run_id

    sources.answers[CONTACTOUT] = nothing
    limit = 2 * SOURCES[CONTACTOUT].max_cost_micros
    of_day = {"is_enabled": True, "fresh_for_seconds": 0, "day_budget_micros": limit}
    await allow(database, one.tenant_id, sources=json.dumps({"contactout": of_day}))
    first, lost = await ask("first"), await ask("lost")
    async with asyncio.timeout(30):
        while len(out) < 2:
            await asyncio.sleep(0.01)
    admin = await asyncpg.connect(database.dsn())
    async with admin.transaction():  # the first one's turn is held up: the others' come together
        await admin.fetch("select from enrichment.prospects where name = 'first' for update")
        out["first"].set()
        await asyncio.sleep(0.2)
        out["lost"].set()
        waiting = [await ask("waits"), await ask("waits as well")]
        await asyncio.sleep(1.5)
        await database.fetch(
            "update enrichment.runs set lease_token = gen_random_uuid(),"
            " lease_expires_at = now() + interval '1 hour' where run_id = $1",
            lost,
        )
    await admin.close()
    await one.ended(first)
    rows = [await one.until(each, lambda row: row["status"] != "pending") for each in waiting]
    (day,) = await database.fetch(
        "select committed_micros from enrichment.spending where source = 'contactout'"
    )
    assert day["committed_micros"] <= limit
    assert {statuses(row)["contactout"] for row in rows} == {"in_progress", "budget_denied"}
    for each in out.values():
        each.set()


async def test_no_call_is_made_that_the_budget_denies(one: Engine, sources: Sources) -> None:
    """Whatever a run does, what left was reserved before."""
    sources.answers[EXA] = SourceError(ErrorClass.TRANSIENT, "no", cost_micros=3)
    row = await one.enriched()
    assert row[1][EXA].cost_micros == 3 * row[1][EXA].attempts
    assert sources.calls[EXA] == row[1][EXA].attempts == 4


# -- freshness -------------------------------------------------------------------------------------


async def test_fresh_answers_are_not_bought_again(one: Engine, sources: Sources) -> None:
    prospect_id = new_id()
    await one.enriched(prospect_id=prospect_id)
    row = await one.enriched(prospect_id=prospect_id)
    assert sources.calls == dict.fromkeys(SourceName, 1)
    assert all(step.reused for step in row[1].values())
    assert row[0]["cost_micros"] == 0
    assert row[0]["status"] == "complete"


async def test_not_found_is_fresh_for_a_time_as_well(one: Engine, sources: Sources) -> None:
    prospect_id = new_id()
    sources.answers[EXA] = Answer(None)
    await one.enriched(prospect_id=prospect_id)
    row = await one.enriched(prospect_id=prospect_id)
    assert (statuses(row)["exa"], sources.calls[EXA]) == ("not_found", 1)


async def test_a_stale_answer_is_bought_again(
    one: Engine, database: Database, sources: Sources
) -> None:
    prospect_id = new_id()
    await one.enriched(prospect_id=prospect_id)
    rows = '{"exa": {"is_enabled": true, "fresh_for_seconds": 1, "day_budget_micros": 0}}'
    await allow(database, one.tenant_id, sources=rows)
    await asyncio.sleep(1)
    await one.enriched(prospect_id=prospect_id)
    assert (sources.calls[EXA], sources.calls[CONTACTOUT]) == (2, 1)


@pytest.mark.parametrize("changed", [{"force": True}, {"company": "Another Company"}])
async def test_force_or_another_person_makes_the_calls_again(
    one: Engine, sources: Sources, changed: dict[str, Any]
) -> None:
    prospect_id = new_id()
    await one.enriched(prospect_id=prospect_id)
    person = replace(ADA, company=changed.pop("company", ADA.company))
    await one.enriched(person, prospect_id=prospect_id, **changed)
    assert all(sources.calls[source] == 2 for source in (CONTACTOUT, EXA, SEC))


async def test_a_run_that_asks_one_source_reuses_the_others_answers(
    one: Engine, sources: Sources
) -> None:
    prospect_id = new_id()
    await one.enriched(prospect_id=prospect_id)
    row = await one.enriched(prospect_id=prospect_id, sources=(EXA, CLAUDE))
    assert sources.calls[EXA] == 2
    assert (sources.calls[CONTACTOUT], sources.calls[SEC]) == (1, 1)
    assert statuses(row) == dict.fromkeys(("contactout", "exa", "sec", "claude"), "complete")


async def test_the_contact_lookups_stop_at_the_first_that_finds_somebody(
    one: Engine, sources: Sources
) -> None:
    async def only_by_name(call: SourceCall) -> Answer:
        found = call.lookup == "name_and_company"
        return Answer(finding(CONTACTOUT) if found else None)

    sources.answers[CONTACTOUT] = only_by_name
    known = replace(ADA, email="ada@engines.example", linkedin_url="https://linkedin.com/in/ada")
    row = await one.enriched(known)
    assert [c.lookup for c in sources.asked if c.lookup] == [
        "linkedin_url", "email", "name_and_company",
    ]  # fmt: skip
    assert statuses(row)["contactout"] == "complete"


# -- the suppression list and the kill switch ------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"name": "ADA  Lovelace", "company": "Analytical Engines, Inc."},
        {"email": "Ada@Engines.example"},
        {"linkedin_url": "http://www.linkedin.com/in/Ada/"},
    ],
    ids=["name", "email", "linkedin"],
)
async def test_nobody_on_the_suppression_list_is_asked_about(
    one: Engine, database: Database, sources: Sources, values: dict[str, str]
) -> None:
    await suppress(database, one, **values)
    known = replace(
        ADA, email="ada@engines.example", linkedin_url="https://linkedin.com/in/ada?x=1"
    )
    row = await one.enriched(known)
    assert sources.calls == dict.fromkeys(SourceName, 0)
    assert row[0]["status"] == "failed"
    assert statuses(row)["exa"] == "suppressed"


async def test_a_finding_about_a_suppressed_person_is_dropped(
    one: Engine, database: Database
) -> None:
    await suppress(database, one, email="ada@engines.example")
    row = await one.enriched()
    assert statuses(row)["contactout"] == "suppressed"
    (prospect,) = await database.fetch("select contact_data, web_data from enrichment.prospects")
    assert prospect["contact_data"] is None
    assert prospect["web_data"] is not None


async def test_the_list_of_one_tenant_says_nothing_of_another(
    one: Engine, dsn: str, nats_server: servers.Nats, database: Database, sources: Sources
) -> None:
    await suppress(database, one, name=ADA.name, company=ADA.company)
    async with engine(dsn, nats_server.url, sources) as two:
        row = await two.enriched()
    assert row[0]["status"] == "complete"


async def test_the_kill_switch_stops_every_call_until_it_is_off(
    one: Engine, database: Database, sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "services.enrichment.worker.run_rules.STOPPED_PAUSE", timedelta(seconds=0.3)
    )
    await allow(database, one.tenant_id, is_stopped=True)
    accepted = await one.accept()
    await asyncio.sleep(0.5)
    _, steps = await one.run(accepted.run_id)
    assert {steps[s].status for s in (CONTACTOUT, EXA, SEC)} == {StepStatus.PARKED}
    assert sources.calls == dict.fromkeys(SourceName, 0)
    await allow(database, one.tenant_id, is_stopped=False)
    row, _ = await one.ended(accepted.run_id)
    assert row["status"] == "complete"


async def test_a_source_that_the_policy_does_not_allow_is_not_asked(
    one: Engine, database: Database, sources: Sources
) -> None:
    rows = '{"exa": {"is_enabled": false, "fresh_for_seconds": 0, "day_budget_micros": 0}}'
    await allow(database, one.tenant_id, sources=rows)
    row = await one.enriched()
    assert (statuses(row)["exa"], sources.calls[EXA]) == ("skipped", 0)


# -- late, cancelled, unstorable -------------------------------------------------------------------


async def test_a_late_answer_amends_the_prospect_and_its_summary(
    dsn: str, nats_server: servers.Nats, database: Database
) -> None:
    sources = Sources()

    async def after_the_end(call: SourceCall) -> Answer:
        await asyncio.sleep(1.0)
        return Answer(finding(EXA))

    sources.answers[EXA] = after_the_end
    quick = replace(TIMES, deadline=timedelta(seconds=0.6))
    async with engine(dsn, nats_server.url, sources, times=quick) as one:
        accepted = await one.accept()
        run, steps = await one.ended(accepted.run_id)
        assert (run["status"], run["missing"]) == ("complete", ["exa"])
        assert steps[EXA].status is StepStatus.IN_PROGRESS
        run, steps = await one.calls_ended(accepted.run_id)
    assert run["amended_at"] > run["ended_at"]
    assert {step.status for step in steps.values()} == {StepStatus.COMPLETE}
    assert sources.calls[CLAUDE] == 2
    (prospect,) = await database.fetch("select web_data from enrichment.prospects")
    assert prospect["web_data"]


async def test_a_cancelled_run_ends_when_its_calls_have_returned(
    one: Engine, sources: Sources, database: Database
) -> None:
    out, back = asyncio.Event(), asyncio.Event()

    async def answer(call: SourceCall) -> Answer:
        out.set()
        await back.wait()
        return Answer(finding(EXA), COST)

    sources.answers[EXA] = answer
    accepted = await one.accept()
    await out.wait()
    await database.fetch("update enrichment.runs set cancel_requested_at = now()")
    one.worker.cancel_run(accepted.run_id)
    await asyncio.sleep(0.1)
    assert (await one.run(accepted.run_id))[0]["ended_at"] is None
    back.set()
    row = await one.ended(accepted.run_id)
    assert row[0]["status"] == "cancelled"
    assert statuses(row)["exa"] == "complete"
    assert statuses(row)["claude"] == "skipped"


async def test_an_answer_that_postgres_does_not_take_fails_its_step_alone(
    one: Engine, sources: Sources
) -> None:
    contact = finding(CONTACTOUT)
    assert isinstance(contact, Contact)
    sources.answers[CONTACTOUT] = Answer(replace(contact, headline="half a \ud800 character"))
    runs = [await one.accept() for _ in range(5)]
    rows = [await one.ended(run.run_id) for run in runs]
    assert {row[0]["status"] for row in rows} == {"complete"}
