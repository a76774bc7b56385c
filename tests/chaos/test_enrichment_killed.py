"""Workers, NATS and PostgreSQL killed at random while 500 runs are driven: all end, none twice."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import grpc
import httpx
import nats.errors
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import events_pb2

from chassis.broker.client import connect
from chassis.clock import new_id
from devstack.stack import Stack, running
from services.enrichment.sources.catalogue import SOURCES, SourceName
from tests.chaos.killing import RECONNECT_SOON, Victims, fetch, until_answered

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
RUNS = 500
KILLS = 10
ORDER = ("enrichment", "nats-server", "enrichment", "enrichment-2", "postgres")
ENDS: dict[str, Any] = {
    "completed": events_pb2.EnrichmentCompleted,
    "failed": events_pb2.EnrichmentFailed,
}
PAID = [source.value for source in SourceName if SOURCES[source].is_paid]
SETTINGS = {
    "PROSPECT_LEASE_SECONDS": "2",
    # So that the rates do not make the test long, and calls are out whenever something dies.
    "PROSPECT_CONTACTOUT_CALLS_PER_SECOND": "0",
    "PROSPECT_EXA_CALLS_PER_SECOND": "0",
    "PROSPECT_CLAUDE_CALLS_PER_SECOND": "0",
    "PROSPECT_RUN_DEADLINE_SECONDS": "300",
    "PROSPECT_TENANT_RUNS_IN_HAND": "16",
}


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with running(folder, services=("enrichment",), latency_ms=150, extra=SETTINGS) as stack:
        yield stack


class Client:
    """A back end that asks until it is answered, by both replicas in turn."""

    def __init__(self, stack: Stack, address: str) -> None:
        self._address = address
        token = stack.token(uuid.uuid4(), uuid.uuid4())
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.runs: set[str] = set()

    async def request(self, names: list[str]) -> None:
        """Request one after the other, each again under the same id until it is answered."""
        async with grpc.aio.insecure_channel(self._address, RECONNECT_SOON) as channel:
            stub = grpc_api.EnrichmentServiceStub(channel)
            while names:
                request = pb.RequestEnrichmentRequest(
                    name=names.pop(), company="Example", request_id=str(new_id())
                )
                response = await until_answered(
                    partial(stub.RequestEnrichment, request, metadata=self._metadata, timeout=10)
                )
                self.runs.add(response.run.run_id)
                await asyncio.sleep(random.uniform(0, 0.1))


async def kill_now_and_then(victims: Victims, dice: random.Random) -> None:
    """Kill something at random moments."""
    for round_ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        await victims.kill(ORDER[round_ % len(ORDER)])


async def ends(stack: Stack, wanted: int) -> Counter[str]:
    """Read the stream from its beginning until it has told of so many ends; count them by run."""
    client = await connect(stack.nats_url, "test")
    subscription = await client.jetstream().pull_subscribe("prospect.enrich.*.*", "reader")
    told: dict[str, str] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(60):
            while len(told) < wanted:
                with suppress(nats.errors.TimeoutError):
                    for message in await subscription.fetch(100, timeout=1):
                        kind = ENDS.get(message.subject.split(".")[2])
                        if kind:
                            event_id = (message.headers or {})["Nats-Msg-Id"]
                            told[event_id] = kind.FromString(message.data).run_id
                        await message.ack()
    await client.close()
    return Counter(told.values())


async def test_every_run_ends_once_and_nothing_is_paid_for_twice(stack: Stack) -> None:
    victims = Victims(stack, {"enrichment": "enrichment", "enrichment-2": "enrichment"})
    await victims.wait_serving()
    names = [f"Person {number:04}" for number in range(RUNS)]
    clients = [Client(stack, each) for each in list(victims.addresses.values()) * 2]
    supervising = asyncio.create_task(victims.supervise())
    try:
        await asyncio.gather(
            kill_now_and_then(victims, random.Random(7)),
            *(client.request(names) for client in clients),
        )
        async with asyncio.timeout(300):
            while await fetch(stack, "select 1 from enrichment.runs where open limit 1"):
                await asyncio.sleep(0.5)
        runs = set().union(*(client.runs for client in clients))
        assert len(runs) == RUNS
        rows = await fetch(stack, "select run_id::text as id, status from enrichment.runs")
        assert {row["id"] for row in rows} == runs
        assert Counter(row["status"] for row in rows)["complete"] > RUNS * 0.9
        assert await ends(stack, RUNS) == Counter(dict.fromkeys(runs, 1))
        await check_calls(stack)
        await check_ledger(stack)
    finally:
        supervising.cancel()
        await victims.stop()


async def check_calls(stack: Stack) -> None:
    """Hold what the vendors have counted against what was written down."""
    attempts = Counter(
        {
            (row["source"], row["status"]): row["n"]
            for row in await fetch(
                stack,
                "select source, status, count(*) as n from enrichment.attempts group by 1, 2",
            )
        }
    )
    async with httpx.AsyncClient(base_url=stack.sandbox_url) as sandbox:
        counted = (await sandbox.get("/_sandbox/calls")).json()
    for source in PAID:
        assert not attempts[source, "started"]
        uncertain = attempts[source, "uncertain"]
        ended = sum(n for (name, _), n in attempts.items() if name == source) - uncertain
        print(f"{source}: {ended} ended, {uncertain} uncertain, {counted[source]} counted")
        # A worker that died between its commit and its call is uncertain of one that never left.
        assert ended <= counted[source] <= ended + uncertain
        by_person = counted["about"][source]
        assert max(by_person.values()) <= 1 + sum(
            n for (name, status), n in attempts.items() if name == source and status == "failed"
        )


async def check_ledger(stack: Stack) -> None:
    """Hold the ledger, the steps' costs and the day's sums against each other."""
    (ledger,) = await fetch(
        stack,
        "select sum(case kind when 'reserve' then amount_micros when 'refund' then -amount_micros"
        " else 0 end)::bigint as committed from enrichment.ledger",
    )
    (steps,) = await fetch(stack, "select sum(cost_micros)::bigint as cost from enrichment.steps")
    (day,) = await fetch(
        stack,
        "select sum(committed_micros)::bigint as committed from enrichment.spending"
        " where source = 'all'",
    )
    assert ledger["committed"] == steps["cost"] == day["committed"]
