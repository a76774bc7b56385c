"""Replicas whose clocks are minutes apart drive each other's runs by the clock of the database."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import prospect_pb2

from devstack import servers
from devstack.stack import Stack, running, start_service, wait_serving
from tests import clock

RUNS = 12
# The wrong clock is further off than a run may take.
SETTINGS = {"PROSPECT_RUN_DEADLINE_SECONDS": "120", "PROSPECT_RUNS_IN_HAND": "1"}
SHIFT = 300


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), latency_ms=50, extra=SETTINGS) as stack:
        yield stack


@contextmanager
def replica_with_clock(stack: Stack, shift: float) -> Iterator[None]:
    """Run a second enrichment whose clock is off by so many seconds."""
    address = f"127.0.0.1:{servers.free_port()}"
    shifted = float(os.environ.get(clock.SHIFT, "0")) + shift
    environment = dict(stack.environments["enrichment"]) | {
        "PROSPECT_LISTEN": address,
        "PROSPECT_RUNS_IN_HAND": str(RUNS),
        clock.SHIFT: str(shifted),
        "PYTHONPATH": os.pathsep.join(clock.found_by_subprocesses()),
    }
    process = start_service(stack.folder, "enrichment", environment)
    try:
        wait_serving("enrichment", address, process, stack.folder)
        yield
    finally:
        servers.stop(process, signal.SIGTERM, grace=20)


@pytest.fixture
async def enrichment(stack: Stack) -> AsyncIterator[grpc_api.EnrichmentServiceAsyncStub]:
    async with grpc.aio.insecure_channel(stack.addresses["enrichment"]) as channel:
        yield grpc_api.EnrichmentServiceStub(channel)


@pytest.mark.parametrize("shift", [SHIFT, -SHIFT])
async def test_a_replica_with_a_wrong_clock_fails_no_run(
    stack: Stack, enrichment: grpc_api.EnrichmentServiceAsyncStub, shift: float
) -> None:
    metadata = (("authorization", f"Bearer {stack.token(uuid.uuid4(), uuid.uuid4())}"),)

    async def enrich(number: int) -> int:
        request = pb.RequestEnrichmentRequest(name=f"Ada Nr {number}", company="Apple Inc.")
        begun = (await enrichment.RequestEnrichment(request, metadata=metadata)).run
        watch = pb.WatchEnrichmentRequest(prospect_id=begun.prospect_id)
        async for _ in enrichment.WatchEnrichment(watch, metadata=metadata, timeout=60):
            pass
        wanted = pb.GetProspectRequest(prospect_id=begun.prospect_id)
        found = (await enrichment.GetProspect(wanted, metadata=metadata)).prospect
        return found.enrichment_status

    with replica_with_clock(stack, shift):
        ended = await asyncio.gather(*map(enrich, range(RUNS)))
    assert ended == [prospect_pb2.ENRICHMENT_STATUS_COMPLETE] * RUNS
