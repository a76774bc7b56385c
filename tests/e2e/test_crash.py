"""A worker killed in the middle of a run: the run ends all the same, and nothing is paid twice."""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
import httpx
import pytest
from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api
from prospect.enrichment.v1 import prospect_pb2

from devstack import servers
from devstack.stack import Stack, running, start_service, wait_serving
from tests.harness import SandboxDesk

if TYPE_CHECKING:
    from prospect.enrichment.v1.enrichment_service_pb2_grpc import EnrichmentServiceAsyncStub

NAME = "Katherine Adams"
EXA_QUERY = f"{NAME} Apple Inc."
COMPLETE = prospect_pb2.SOURCE_STATUS_COMPLETE
IN_PROGRESS = prospect_pb2.SOURCE_STATUS_IN_PROGRESS


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings = {"PROSPECT_LEASE_SECONDS": "2", "PROSPECT_CALL_TIMEOUT_SECONDS": "60"}
    with running(tmp_path_factory.mktemp("stack"), extra=settings) as stack:
        yield stack


@dataclass
class Enrichment:
    """The enrichment service as a process that can be killed and started again."""

    stack: Stack
    desk: SandboxDesk
    metadata: tuple[tuple[str, str], ...]

    def kill(self) -> None:
        """Kill the process at once."""
        servers.stop(self.stack.processes["enrichment"], signal.SIGKILL)

    def start(self, extra: Mapping[str, str] = {}) -> None:
        """Start it again, as the platform does."""
        environment = dict(self.stack.environments["enrichment"]) | dict(extra)
        process = start_service(self.stack.folder, "enrichment", environment)
        self.stack.processes["enrichment"] = process  # type: ignore[index]
        wait_serving("enrichment", self.address, process, self.stack.folder)

    @property
    def address(self) -> str:
        """Where it listens, before and after."""
        return self.stack.addresses["enrichment"]

    async def ask(
        self, call: Callable[[EnrichmentServiceAsyncStub], Awaitable[prospect_pb2.Prospect]]
    ) -> prospect_pb2.Prospect:
        """Make a call over a connection of its own."""
        async with grpc.aio.insecure_channel(self.address) as channel:
            return await call(grpc_api.EnrichmentServiceStub(channel))

    async def request(self) -> str:
        """Ask for an enrichment and return the prospect's id."""
        prospect_id = str(uuid.uuid4())
        request = pb.RequestEnrichmentRequest(
            prospect_id=prospect_id,
            name=NAME,
            company="Apple Inc.",
            is_public_company=True,
            company_cik="320193",
        )
        async with grpc.aio.insecure_channel(self.address) as channel:
            stub = grpc_api.EnrichmentServiceStub(channel)
            await stub.RequestEnrichment(request, metadata=self.metadata)
        return prospect_id

    async def wait(
        self, prospect_id: str, until: Callable[[prospect_pb2.Prospect], bool]
    ) -> prospect_pb2.Prospect:
        """Look at the prospect until it is as wanted."""
        request = pb.GetProspectRequest(prospect_id=prospect_id)
        async with asyncio.timeout(40), grpc.aio.insecure_channel(self.address) as channel:
            stub = grpc_api.EnrichmentServiceStub(channel)
            while True:
                found = (await stub.GetProspect(request, metadata=self.metadata)).prospect
                if until(found):
                    return found
                await asyncio.sleep(0.05)


@pytest.fixture
async def enrichment(stack: Stack) -> AsyncIterator[Enrichment]:
    token = stack.token(uuid.uuid4(), uuid.uuid4())
    async with httpx.AsyncClient(base_url=stack.sandbox_url) as client:
        await client.delete("/_sandbox/calls")
        await client.delete("/_sandbox/faults")
        yield Enrichment(stack, SandboxDesk(client), (("authorization", f"Bearer {token}"),))


def steps(prospect: prospect_pb2.Prospect) -> dict[str, prospect_pb2.Step]:
    """Return the steps by source."""
    return {step.source: step for step in prospect.enrichment_source_status}


def ended(prospect: prospect_pb2.Prospect) -> bool:
    """Whether the run has ended."""
    return prospect.enrichment_status in (
        prospect_pb2.ENRICHMENT_STATUS_COMPLETE,
        prospect_pb2.ENRICHMENT_STATUS_FAILED,
    )


def only_in_progress(source: str) -> Callable[[prospect_pb2.Prospect], bool]:
    """Whether every step but `source`, which is under way, has been answered (or not begun)."""

    def holds(prospect: prospect_pb2.Prospect) -> bool:
        by_name = steps(prospect)
        others = [by_name[name].status for name in ("contactout", "exa", "sec") if name != source]
        return by_name[source].status == IN_PROGRESS and set(others) == {COMPLETE}

    return holds


async def test_a_run_whose_worker_was_killed_ends_and_asks_no_finished_source_again(
    enrichment: Enrichment,
) -> None:
    await enrichment.desk.order("claude", "hang")
    prospect_id = await enrichment.request()
    await enrichment.wait(prospect_id, only_in_progress("claude"))
    sec_calls = await enrichment.desk.calls("sec")
    enrichment.kill()
    enrichment.start()
    prospect = await enrichment.wait(prospect_id, ended)
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE
    assert await enrichment.desk.calls("contactout", NAME) == 1
    assert await enrichment.desk.calls("exa", EXA_QUERY) == 1
    assert await enrichment.desk.calls("sec") == sec_calls


async def test_a_paid_call_whose_reply_was_lost_is_shown_and_not_bought_again(
    enrichment: Enrichment,
) -> None:
    await enrichment.desk.order("exa", "hang")
    prospect_id = await enrichment.request()
    await enrichment.wait(prospect_id, only_in_progress("exa"))
    enrichment.kill()
    enrichment.start()
    prospect = await enrichment.wait(prospect_id, ended)
    lost = steps(prospect)["exa"]
    assert (lost.status, lost.uncertain_attempts) == (prospect_pb2.SOURCE_STATUS_FAILED, 1)
    assert await enrichment.desk.calls("exa", EXA_QUERY) == 1
    assert prospect.enrichment_status == prospect_pb2.ENRICHMENT_STATUS_COMPLETE


async def test_a_paid_call_is_bought_once_more_where_the_setting_allows_it(
    enrichment: Enrichment,
) -> None:
    await enrichment.desk.order("exa", "hang")
    prospect_id = await enrichment.request()
    await enrichment.wait(prospect_id, only_in_progress("exa"))
    enrichment.kill()
    enrichment.start({"PROSPECT_ASK_PAID_AGAIN": "true"})
    step = steps(await enrichment.wait(prospect_id, ended))["exa"]
    assert step.status == COMPLETE
    assert await enrichment.desk.calls("exa", EXA_QUERY) == 1 + step.uncertain_attempts
