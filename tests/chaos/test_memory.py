"""A service stays under its pod's memory, whatever legal calls come at once."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from devstack.stack import Stack, running
from tests.activity.recording.test_record_batch import an_activity

pytestmark = pytest.mark.chaos
POD_BYTES = 512_000_000
BATCHES, TAILS = 32, 40
METHOD = "/prospect.activity.v1.ActivityService/RecordActivities"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The activity service as a process of its own."""
    folder: Path = tmp_path_factory.mktemp("memory")
    with running(folder, services=("activity",)) as stack:
        yield stack


class Memory:
    """The most memory that the service had while it was looked at."""

    most = 0

    @contextmanager
    def of(self, stack: Stack) -> Iterator[None]:
        """Look at the memory until the block ends."""
        process = psutil.Process(stack.processes["activity"].pid)
        done = threading.Event()

        def look() -> None:
            while not done.wait(0.02):
                self.most = max(self.most, process.memory_info().rss)

        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield
        finally:
            done.set()
            looking.join()


def large_batch() -> bytes:
    """Return a legal request of about 3.5 MB."""
    large = an_activity(user_agent="x" * 500, metadata_json=f'{{"text": "{"y" * 100}"}}')
    large.activity_id = ""
    large.ClearField("created_at")
    return pb.RecordActivitiesRequest(activities=[large] * 5_000).SerializeToString()


async def test_many_large_batches_at_once_are_recorded_within_the_pods_memory(
    stack: Stack,
) -> None:
    metadata = (("authorization", f"Bearer {stack.token(uuid.uuid4(), uuid.uuid4())}"),)
    batch, memory = large_batch(), Memory()
    assert 3_000_000 < len(batch) < 4_000_000
    with memory.of(stack):
        async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
            record: Any = channel.unary_unary(METHOD)
            calls = [record(batch, metadata=metadata, timeout=30) for _ in range(BATCHES)]
            await asyncio.gather(*calls)
    assert memory.most < POD_BYTES


async def test_many_tails_that_nobody_reads_stay_within_the_pods_memory(stack: Stack) -> None:
    metadata = (("authorization", f"Bearer {stack.token(uuid.uuid4(), uuid.uuid4())}"),)
    batch, memory = large_batch(), Memory()
    with memory.of(stack):
        async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
            activity = grpc_api.ActivityServiceStub(channel)
            request = pb.TailActivitiesRequest()
            tails = [activity.TailActivities(request, metadata=metadata) for _ in range(TAILS)]
            for tail in tails:
                await tail.read()
            record: Any = channel.unary_unary(METHOD)
            for _ in range(BATCHES):
                await record(batch, metadata=metadata, timeout=30)
            for tail in tails:
                tail.cancel()
    assert memory.most < POD_BYTES
