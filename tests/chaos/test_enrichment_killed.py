"""Workers, NATS and PostgreSQL killed at random while 500 runs are driven: all end, none twice."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import httpx
import nats.errors
import psutil
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import events_pb2

from chassis import embedded, messaging
from chassis.clock import new_id
from services.dev import Stack, running, start_service, wait_serving
from services.enrichment.findings import SourceName
from services.enrichment.profiles import PROFILES

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
RUNS = 500
KILLS = 10
MAY_RETRY = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
}
ENDS: dict[str, Any] = {
    "completed": events_pb2.EnrichmentCompleted,
    "failed": events_pb2.EnrichmentFailed,
}
PAID = [source.value for source in SourceName if PROFILES[source].paid]
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


class Victims:
    """What is killed: two replicas of the service, the broker and the database."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._servers: list[subprocess.Popen[bytes]] = []
        self._starts = 0
        address = f"127.0.0.1:{embedded.free_port()}"
        self._replicas = {"enrichment": stack.addresses["enrichment"], "enrichment-2": address}
        self._start("enrichment-2")

    def _start(self, replica: str) -> None:
        environment = {
            **self._stack.environments["enrichment"],
            "PROSPECT_LISTEN": self._replicas[replica],
        }
        self._starts += 1
        logs = self._stack.folder / f"{replica}-{self._starts}"
        logs.mkdir()
        process = start_service(logs, "enrichment", environment)
        self._stack.processes[replica] = process  # type: ignore[index]

    async def supervise(self) -> None:
        """Start again whatever replica is gone, as the platform does."""
        while True:
            await asyncio.sleep(0.3)
            for replica in self._replicas:
                if self._stack.processes[replica].poll() is not None:
                    self._start(replica)

    async def kill_replica(self, replica: str) -> None:
        """Kill a replica; who supervises it starts it again."""
        embedded.stop(self._stack.processes[replica], signal.SIGKILL)

    async def kill_nats(self) -> None:
        """Kill the broker and start it on the same port and store."""
        await asyncio.to_thread(self._restart, "nats-server", self._stack.folder / "nats")

    async def kill_postgres(self) -> None:
        """Kill the database's postmaster and start it on the same data and socket."""
        await asyncio.to_thread(self._restart, "postgres", self._stack.folder / "postgres")

    def _restart(self, name: str, home: Path) -> None:
        (server,) = [
            each
            for each in psutil.process_iter(["name", "cmdline"])
            if each.info["name"] == name and str(home) in " ".join(each.info["cmdline"] or ())
        ]
        command = server.cmdline()
        children = server.children()
        server.kill()
        psutil.wait_procs([server, *children], timeout=20)
        with suppress(FileNotFoundError):
            os.unlink(home / "data" / "postmaster.pid")
        prefix = self._stack.postgres.process.args if name == "postgres" else []
        assert isinstance(prefix, list)
        guarded = prefix[: prefix.index(command[0])] if command[0] in prefix else []
        with open(home / "again.log", "ab") as log:
            self._servers.append(
                subprocess.Popen([*guarded, *command], stdout=log, stderr=log, process_group=0)
            )

    async def stop(self) -> None:
        """Stop the servers that this started; the stack stops its own."""
        for replica in self._replicas:
            embedded.stop(self._stack.processes[replica], signal.SIGTERM)
        for server in reversed(self._servers):
            embedded.stop(server, signal.SIGINT)


class Client:
    """A back end that asks until it is answered, by both replicas in turn."""

    def __init__(self, stack: Stack, address: str) -> None:
        self._address = address
        token = stack.token(uuid.uuid4(), uuid.uuid4())
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.runs: set[str] = set()

    async def request(self, names: list[str]) -> None:
        """Request one after the other, each again under the same id until it is answered."""
        soon = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]
        async with grpc.aio.insecure_channel(self._address, soon) as channel:
            stub = grpc_api.EnrichmentServiceStub(channel)
            while names:
                request = pb.RequestEnrichmentRequest(
                    name=names.pop(), company="Example", request_id=str(new_id())
                )
                await self._request(stub, request)
                await asyncio.sleep(random.uniform(0, 0.1))

    async def _request(
        self, stub: grpc_api.EnrichmentServiceAsyncStub, request: pb.RequestEnrichmentRequest
    ) -> None:
        for _ in range(1_000):
            call = stub.RequestEnrichment(request, metadata=self._metadata, timeout=10)
            code = await call.code()
            if code is grpc.StatusCode.OK:
                self.runs.add((await call).run.run_id)
                return
            assert code in MAY_RETRY, await call.details()
            await asyncio.sleep(0.1)
        pytest.fail("never answered")


async def kill_now_and_then(victims: Victims, dice: random.Random) -> None:
    """Kill something at random moments."""
    for round_ in range(KILLS):
        await asyncio.sleep(dice.uniform(0.5, 2.5))
        match round_ % 5:
            case 0 | 2:
                await victims.kill_replica("enrichment")
            case 1:
                await victims.kill_nats()
            case 3:
                await victims.kill_replica("enrichment-2")
            case 4:
                await victims.kill_postgres()


async def fetch(stack: Stack, sql: str) -> list[Any]:
    """Read past row level security, however often the database has to be asked."""
    for _ in range(100):
        with suppress(OSError, asyncpg.PostgresError):
            connection = await asyncpg.connect(stack.postgres.dsn())
            try:
                return list(await connection.fetch(sql))
            finally:
                await connection.close()
        await asyncio.sleep(0.2)
    pytest.fail("the database did not come back")


async def ends(stack: Stack, wanted: int) -> Counter[str]:
    """Read the stream from its beginning until it has told of so many ends; count them by run."""
    client = await messaging.connect(stack.nats_url, "test")
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
    victims = Victims(stack)
    address = victims._replicas["enrichment-2"]
    await asyncio.to_thread(
        wait_serving, "enrichment", address, stack.processes["enrichment-2"], stack.folder
    )
    names = [f"Person {number:04}" for number in range(RUNS)]
    clients = [Client(stack, each) for each in (stack.addresses["enrichment"], address) * 2]
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
        subjects = counted["by_subject"][source]
        assert max(subjects.values()) <= 1 + sum(
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
