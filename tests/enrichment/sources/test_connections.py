"""Connections to the sources: each source has its own, so that one that hangs is alone with it."""

from __future__ import annotations

import asyncio

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as rpc

from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Identity, SandboxDesk, Services

RUNS = 150
"""More than the hundred connections that an HTTP client opens by itself."""


async def test_a_source_that_hangs_takes_no_connection_from_the_others(
    services: Services, sandbox_desk: SandboxDesk, ours: Identity
) -> None:
    settings = sandbox_settings(sandbox_desk.url) | {
        "call_timeout_seconds": 20,
        "runs_in_hand": RUNS,
        "tenant_runs_in_hand": RUNS,
        "tenant_max_runs_in_hand": RUNS,
        "contactout_calls_per_second": 0,
        "exa_calls_per_second": 0,
    }
    await sandbox_desk.order("exa", "latency", value=15, times=RUNS)
    async with services.running(ServiceName.ENRICHMENT, **settings) as channel:
        stub = rpc.EnrichmentServiceStub(channel)
        requests = [
            pb.RequestEnrichmentRequest(name=f"Ada {number}", company="Analytical Engines")
            for number in range(RUNS)
        ]
        await asyncio.gather(
            *(stub.RequestEnrichment(each, metadata=ours.metadata()) for each in requests)
        )
        async with asyncio.timeout(10):
            while await sandbox_desk.calls("exa") < RUNS:
                await asyncio.sleep(0.05)
            while await sandbox_desk.calls("contactout") < RUNS:
                await asyncio.sleep(0.05)
