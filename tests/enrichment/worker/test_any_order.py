"""The real engine under requests, crashes, cancels, late answers and erasures in any order."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from prospect.enrichment.v1 import events_pb2

from chassis.broker.client import connect
from chassis.errors import FailedPrecondition
from devstack import servers
from services.enrichment.run.plan import Request
from services.enrichment.sources.call import Answer, ErrorClass, SourceCall, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Person
from tests.enrichment.crashing import CrashingPool
from tests.enrichment.engine import ADA, COST, TIMES, Engine, Sources, engine, finding
from tests.harness import Database

QUICK = replace(
    TIMES,
    lease=timedelta(seconds=0.4),
    deadline=timedelta(seconds=0.8),
    late=timedelta(seconds=1.5),
)
ENDS: dict[str, Any] = {
    "completed": events_pb2.EnrichmentCompleted,
    "failed": events_pb2.EnrichmentFailed,
}
PROSPECTS = [uuid.UUID(int=number) for number in range(1, 5)]
OUTCOMES = ("found", "nothing", "transient", "throttled", "auth", "invalid", "slow", "late", "hang")
CALM = st.one_of(
    st.tuples(st.just("request"), st.sampled_from(PROSPECTS), st.booleans(), st.booleans()),
    st.tuples(st.just("repeat"), st.integers(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("outcome"), st.sampled_from(SourceName), st.sampled_from(OUTCOMES)),
    st.tuples(st.just("wait"), st.sampled_from((0.02, 0.2, 0.5))),
)
STORMY = st.one_of(
    CALM,
    st.tuples(st.just("erase"), st.sampled_from(PROSPECTS)),
    st.tuples(st.just("crash"), st.integers(1, 6), st.booleans()),
)


@dataclass
class World:
    """Workers that die, sources that answer as they are told, and what was asked of them."""

    dsn: str
    url: str
    tenant_id: uuid.UUID = field(default_factory=uuid.uuid4)
    sources: Sources = field(default_factory=Sources)
    outcomes: dict[SourceName, str] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    runs: list[uuid.UUID] = field(default_factory=list)
    all_runs: set[str] = field(default_factory=set)
    left: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    out: Counter[tuple[SourceName, Person]] = field(default_factory=Counter)
    paid_at_once: list[tuple[SourceName, Person]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sources.answers.update({source: self._ask(source) for source in SourceName})

    def _ask(self, source: SourceName) -> Any:
        async def ask(call: SourceCall) -> Answer:
            key = source, call.person
            if self.out[key] and SOURCES[source].is_paid:
                self.paid_at_once.append(key)
            self.left[source.value] += 1
            self.out[key] += 1
            try:
                return await answer()
            finally:
                self.out[key] -= 1

        async def answer() -> Answer:
            match self.outcomes.get(source, "found"):
                case "nothing" if source is not SourceName.CLAUDE:
                    return Answer(None, COST)
                case "transient":
                    raise SourceError(ErrorClass.TRANSIENT, "no")
                case "throttled":
                    raise SourceError(ErrorClass.THROTTLED, "no", retry_after=0.3)
                case "auth":
                    raise SourceError(ErrorClass.AUTH, "no")
                case "invalid":
                    raise SourceError(ErrorClass.INVALID_ANSWER, "no", cost_micros=7)
                case "slow":
                    await asyncio.sleep(0.1)
                case "late":
                    await asyncio.sleep(1.1)
                case "hang":
                    await asyncio.sleep(60)
            return Answer(finding(source), COST)

        return ask

    async def listen(self, stack: AsyncExitStack) -> None:
        """Count the ends that are told of, by run; a repeat of an event is the same event."""
        client = await connect(self.url, "listener")
        stack.push_async_callback(client.close)
        seen: set[str] = set()

        async def count(message: Any) -> None:
            kind = ENDS.get(message.subject.split(".")[2])
            if kind and message.headers["Nats-Msg-Id"] not in seen:
                seen.add(message.headers["Nats-Msg-Id"])
                self.told[kind.FromString(message.data).run_id] += 1

        await client.subscribe(f"prospect.enrich.*.{self.tenant_id}", cb=count)

    async def engine(self, stack: AsyncExitStack, at: int, *, after: bool) -> Engine:
        """Start a worker that dies at a commit."""
        return await stack.enter_async_context(
            engine(
                self.dsn,
                self.url,
                self.sources,
                times=QUICK,
                tenant_id=self.tenant_id,
                call_seconds=1.2,
                fail_max=50,
                pool_of=lambda pool: CrashingPool(pool, at, after=after),
            )
        )


async def perform(world: World, one: Engine, operation: Any, database: Database) -> None:
    """Do one operation as the outside world does it."""
    match operation:
        case ("request", prospect_id, force, other_words):
            email = "ada@engines.example" if other_words else ""
            person = replace(ADA, name=f"Ada {prospect_id}", email=email)
            request = one.request(
                person, prospect_id=prospect_id, force=force, request_id=uuid.uuid4()
            )
            with suppress(FailedPrecondition):  # a run that is cancelled, or has other words
                run_id = (await one.intake.accept(request)).run_id
                world.requests.append(request)
                world.runs.append(run_id)
                world.all_runs.add(str(run_id))
        case ("repeat", number) if world.requests:
            run_id = world.runs[number % len(world.runs)]
            known = await database.fetch("select from enrichment.runs where run_id = $1", run_id)
            try:
                accepted = await one.intake.accept(world.requests[number % len(world.requests)])
            except FailedPrecondition:
                assert not known
            else:
                assert known
                assert accepted.run_id == run_id
        case ("cancel", number) if world.runs:
            await database.fetch(
                "update enrichment.runs set cancel_requested_at = now(), wake_at = now()"
                " where run_id = $1",
                world.runs[number % len(world.runs)],
            )
        case ("erase", prospect_id):
            await database.fetch(
                "delete from enrichment.prospects where tenant_id = $1 and prospect_id = $2",
                world.tenant_id,
                prospect_id,
            )
        case ("outcome", source, outcome):
            world.outcomes[source] = outcome
        case ("wait", seconds):
            await asyncio.sleep(seconds)


async def live(world: World, operations: list[Any], database: Database) -> None:
    """Perform the operations on two replicas, of which one dies now and then; then let all end."""
    async with AsyncExitStack() as stack:
        await world.listen(stack)
        one = await world.engine(stack, 1_000_000, after=False)
        for operation in operations:
            if operation[0] == "crash":
                await world.engine(stack, operation[1], after=operation[2])
            else:
                await perform(world, one, operation, database)
        async with asyncio.timeout(30):
            while await database.fetch(
                "select from enrichment.runs where open and tenant_id = $1", world.tenant_id
            ):
                await asyncio.sleep(0.05)
        runs = await runs_of(world, database)
        with suppress(TimeoutError):  # then the check says what is missing
            async with asyncio.timeout(30):
                while not runs <= set(world.told):
                    await asyncio.sleep(0.05)


async def check(world: World, database: Database) -> None:
    """Hold everything that was written against each other, and against what left."""
    runs = await database.fetch(
        "select * from enrichment.runs where tenant_id = $1", world.tenant_id
    )
    assert all(run["ended_at"] for run in runs)
    attempts = await database.fetch(
        "select * from enrichment.attempts where tenant_id = $1", world.tenant_id
    )
    assert not [each for each in attempts if each["status"] == "started"]
    steps = await database.fetch(
        "select * from enrichment.steps where tenant_id = $1", world.tenant_id
    )
    for step in steps:
        mine = [
            each
            for each in attempts
            if (each["run_id"], each["source"]) == (step["run_id"], step["source"])
        ]
        assert len(mine) == step["attempts"]
        complete = [each for each in mine if each["status"] == "complete"]
        # Only the summary is ever made anew.
        assert len(complete) <= 1 or step["source"] == "claude"
        assert step["cost_micros"] == sum(each["cost_micros"] for each in mine)
    await check_money(world, database)


async def check_money(world: World, database: Database) -> None:
    """The ledger outlives erasures: it equals what left, call by call."""
    entries = await database.fetch(
        "select source, kind, count(*) as n, sum(amount_micros)::bigint as amount"
        " from enrichment.ledger where tenant_id = $1 group by 1, 2",
        world.tenant_id,
    )
    counted = {(each["source"], each["kind"]): each["n"] for each in entries}
    for source in SourceName:
        if SOURCES[source].is_paid:
            reserved = counted.get((source.value, "reserve"), 0)
            settled = counted.get((source.value, "settle"), 0)
            # What was reserved and never settled is uncertain: it left, or died before.
            assert settled <= world.left[source.value] <= reserved
    committed = sum(
        {"reserve": 1, "refund": -1}.get(each["kind"], 0) * each["amount"] for each in entries
    )
    (day,) = await database.fetch(
        "select coalesce(sum(committed_micros), 0)::bigint as amount from enrichment.spending"
        " where tenant_id = $1 and source = 'all'",
        world.tenant_id,
    )
    assert day["amount"] == committed


async def check_events(world: World, database: Database) -> None:
    """Each end is told of once, and nothing that was not committed."""
    assert all(number == 1 for number in world.told.values())
    assert await runs_of(world, database) <= set(world.told) <= world.all_runs


async def runs_of(world: World, database: Database) -> set[str]:
    """Return the runs that are not erased."""
    runs = await database.fetch(
        "select run_id::text as id from enrichment.runs where tenant_id = $1", world.tenant_id
    )
    return {run["id"] for run in runs}


@settings(
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(
    operations=[
        ("outcome", SourceName.CONTACTOUT, "late"),
        ("request", PROSPECTS[0], False, False),
        *[("wait", 0.5), ("wait", 0.2), ("wait", 0.2)],  # the run has ended, the call is out
        ("request", PROSPECTS[0], True, False),
        ("wait", 0.5),
        ("request", PROSPECTS[0], True, True),
    ]
)
@given(
    operations=st.lists(STORMY, min_size=5, max_size=20) | st.lists(CALM, min_size=5, max_size=20)
)
def test_runs_end_once_and_the_books_balance_in_any_order(
    shared_database: Database, nats_server: servers.Nats, operations: list[Any]
) -> None:
    async def run() -> None:
        world = World(shared_database.dsn("enrichment_app"), nats_server.url)
        await live(world, operations, shared_database)
        await check(world, shared_database)
        await check_events(world, shared_database)
        if not {"crash", "erase"} & {operation[0] for operation in operations}:
            assert world.paid_at_once == []

    asyncio.run(run())
