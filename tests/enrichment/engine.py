"""The engine without its RPCs: intake, worker, writer and relay on real servers, any sources."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg

from chassis.broker.client import connect
from chassis.broker.streams import ensure
from chassis.clock import Clock, new_id, utc_now
from chassis.database import Pool, open_pool, tenant_transaction
from chassis.outbox import Relay
from services import topology
from services.enrichment.availability.breaker import Breakers
from services.enrichment.availability.rate import Limits
from services.enrichment.intake.intake import Intake
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Hasher
from services.enrichment.reading import store
from services.enrichment.run.plan import Accepted, Request
from services.enrichment.sources.call import Answer, SourceCall, SourceError
from services.enrichment.sources.catalogue import SourceName
from services.enrichment.sources.findings import (
    Finding,
    Person,
    Provenance,
)
from services.enrichment.worker.execution import Ask, Execution
from services.enrichment.worker.loop import Worker
from services.enrichment.worker.run_rules import RuleInputs
from services.enrichment.worker.store import Times
from services.enrichment.worker.turn_writer import Writer
from tests.enrichment.sources.cases import example

ADA = Person("Ada Lovelace", "Analytical Engines", is_public_company=True, company_cik=320193)
_AT = datetime(2026, 11, 24, tzinfo=UTC)
COST = 1_000
MAX_PARK_SECONDS = 900.0


def provenance(source: SourceName) -> Provenance:
    """Return where a made-up finding comes from."""
    return Provenance(source, "https://source.example", "request-1", _AT)


def finding(source: SourceName) -> Finding:
    """Return a plausible finding of a source."""
    return example(source, provenance(source))


@dataclass
class Sources:
    """Sources in this process, which count their calls; each answers at once, unless told else."""

    calls: dict[SourceName, int] = field(default_factory=lambda: dict.fromkeys(SourceName, 0))
    answers: dict[SourceName, Answer | SourceError | Ask] = field(default_factory=dict)
    asked: list[SourceCall] = field(default_factory=list)

    def asks(self) -> Mapping[SourceName, Ask]:
        """Return the sources as the engine takes them."""
        return {source: self._ask(source) for source in SourceName}

    def _ask(self, source: SourceName) -> Ask:
        async def ask(call: SourceCall) -> Answer:
            self.calls[source] += 1
            self.asked.append(call)
            answer = self.answers.get(source) or Answer(finding(source), COST, "request-1")
            if isinstance(answer, SourceError):
                raise answer
            return answer if isinstance(answer, Answer) else await answer(call)

        return ask


@dataclass
class Engine:
    """What a test drives."""

    pool: Pool
    intake: Intake
    worker: Worker
    breakers: Breakers
    limits: Limits
    hasher: Hasher
    relay: Relay
    writer: Writer
    is_dead: Callable[[], bool]
    tenant_id: uuid.UUID
    user_id: uuid.UUID = field(default_factory=uuid.uuid4)

    def request(self, person: Person = ADA, **values: Any) -> Request:
        """Return a request of the engine's tenant."""
        given = {"tenant_id": self.tenant_id, "user_id": self.user_id, "prospect_id": new_id()}
        return Request(**{**given, "person": person, **values})

    async def accept(self, person: Person = ADA, **values: Any) -> Accepted:
        """Take a request in."""
        return await self.intake.accept(self.request(person, **values))

    async def run(self, run_id: uuid.UUID, tenant_id: uuid.UUID | None = None) -> store.RunRow:
        """Return a run as it stands."""
        tenant_id = tenant_id or self.tenant_id
        async with tenant_transaction(self.pool, tenant_id) as connection:
            row = await store.get_run(connection, tenant_id, run_id)
        assert row is not None
        return row

    async def ended(self, run_id: uuid.UUID, seconds: float = 20) -> store.RunRow:
        """Wait for a run's end."""
        return await self.until(run_id, lambda row: row["ended_at"] is not None, seconds)

    async def calls_ended(self, run_id: uuid.UUID, seconds: float = 20) -> store.RunRow:
        """Wait until no call of a run is out and no step of it is open."""
        return await self.until(run_id, lambda row: not row["open"], seconds)

    async def until(self, run_id: uuid.UUID, holds: Any, seconds: float = 20) -> store.RunRow:
        """Wait until something holds of a run."""
        async with asyncio.timeout(seconds):
            while not holds((row := await self.run(run_id))[0]):
                await asyncio.sleep(0.01)
        return row

    async def enriched(self, person: Person = ADA, **values: Any) -> store.RunRow:
        """Take a request in and wait for its run's end."""
        return await self.ended((await self.accept(person, **values)).run_id)


TIMES = Times(
    lease=timedelta(seconds=1.5), deadline=timedelta(seconds=60), late=timedelta(seconds=60)
)


@asynccontextmanager
async def engine(
    dsn: str,
    nats_url: str,
    sources: Sources,
    *,
    times: Times = TIMES,
    rates: Mapping[SourceName, float] | None = None,
    clock: Clock = utc_now,
    policy: Policy | None = None,
    most_runs: int = 64,
    fail_max: int = 5,
    reset_seconds: float = 0.3,
    working: bool = True,
    call_seconds: float = 10,
    tenant_id: uuid.UUID | None = None,
    pool_of: Callable[[Pool], Any] = lambda pool: pool,
) -> AsyncIterator[Engine]:
    """Run an engine as the app's role until the block ends; `pool_of` may make its pool die."""
    real_pool = await open_pool(dsn, schema="enrichment", size=10)
    pool = pool_of(real_pool)
    client = await connect(nats_url, "engine")
    await ensure(client, topology.STREAMS)
    relay = Relay(pool, client, "enrichment_relay")
    breakers = Breakers(
        pool,
        relay,
        fail_max=fail_max,
        reset_seconds=reset_seconds,
        max_park_seconds=MAX_PARK_SECONDS,
        clock=clock,
    )
    limits = Limits(pool, {source: (rates or {}).get(source, 0.0) for source in SourceName})
    inputs = RuleInputs(
        breakers,
        limits,
        Hasher(b"secret of the tests"),
        memo_key=lambda findings: repr(sorted(findings)),
        template=lambda findings: finding(SourceName.CLAUDE),
    )
    default = policy or Policy()
    writer = Writer(pool, relay, inputs, times, default, clock)
    execute = partial(
        Execution,
        pool=pool,
        clock=clock,
        inputs=inputs,
        writer=writer,
        sources=sources.asks(),
        call_seconds=call_seconds,
    )
    worker = Worker(
        pool,
        clock,
        breakers,
        execute,
        times,
        max_runs=most_runs,
        default=default,
        drain_seconds=2,
    )

    async def wake() -> None:
        worker.wake()

    intake = Intake(pool, clock, default, inputs.hasher, worker, writer, wake)
    stopping, drained = asyncio.Event(), asyncio.Event()
    loops = [asyncio.create_task(relay.run(drained))]
    if working:
        loops.append(asyncio.create_task(worker.run(stopping)))
    try:
        yield Engine(
            pool,
            intake,
            worker,
            breakers,
            limits,
            inputs.hasher,
            relay,
            writer,
            lambda: bool(getattr(pool, "dead", False)),
            tenant_id or uuid.uuid4(),
        )
    finally:
        stopping.set()
        if working:
            await loops[1]
        drained.set()
        await loops[0]
        await client.close()
        await real_pool.close()


async def ledger(dsn: str, run_id: uuid.UUID) -> list[asyncpg.Record]:
    """Return a run's movements of money, past row level security."""
    connection = await asyncpg.connect(dsn)
    try:
        sql = "select * from enrichment.ledger where run_id = $1 order by source, attempt, kind"
        return list(await connection.fetch(sql, run_id))
    finally:
        await connection.close()
