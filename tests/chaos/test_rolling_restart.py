"""Replicas are restarted in turn under load, and no call fails, also of clients that try once."""

from __future__ import annotations

import asyncio
import json
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.clock import new_id
from tests.chaos.campaign.cluster import cluster

NAME = "prospect.activity.v1.ActivityService"
BALANCED = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": NAME},
}
RETRIES = {
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
# gRPC itself waits for up to two minutes before it dials a replica again that was away.
RECONNECT_SOON = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
CALLS_PER_SECOND = 50
CALL_SECONDS = 20.0
RESTARTS = 4


@asynccontextmanager
async def calling(
    addresses: Sequence[str], token: str, config: dict[str, Any]
) -> AsyncIterator[Counter[str]]:
    """Record entries until the block ends, then see all answered; yield how calls ended."""
    ends: Counter[str] = Counter()
    options = [("grpc.service_config", json.dumps(config)), *RECONNECT_SOON]
    async with grpc.aio.insecure_channel(f"ipv4:{','.join(addresses)}", options) as channel:
        stub = grpc_api.ActivityServiceStub(channel)

        async def record() -> None:
            entry = pb.NewActivity(
                activity_id=str(new_id()),
                user_id=str(uuid.uuid4()),
                action_type=pb.ACTION_TYPE_LOGIN,
            )
            request = pb.RecordActivityRequest(activity=entry)
            metadata = (("authorization", f"Bearer {token}"),)
            try:
                await stub.RecordActivity(request, metadata=metadata, timeout=CALL_SECONDS)
                ends["OK"] += 1
            except grpc.aio.AioRpcError as error:
                ends[f"{error.code().name} {error.details()}"] += 1

        async def call(calls: asyncio.TaskGroup) -> None:
            while True:
                calls.create_task(record())
                await asyncio.sleep(1 / CALLS_PER_SECOND)

        async with asyncio.TaskGroup() as calls:
            calling = asyncio.create_task(call(calls))
            yield ends
            calling.cancel()


@pytest.mark.chaos
@pytest.mark.timeout(300)
async def test_no_call_fails_while_replicas_are_restarted_in_turn(tmp_path: Path) -> None:
    as_deployed = {"PROSPECT_DRAIN_PAUSE_SECONDS": "5"}
    async with cluster(tmp_path / "cluster", settings=as_deployed) as running:
        replicas = [each for each in running.replicas.values() if each.service == "activity"]
        addresses = [each.address for each in replicas]
        token = running.stack.token(uuid.uuid4(), uuid.uuid4(), lifetime=timedelta(hours=1))
        async with (
            calling(addresses, token, BALANCED | RETRIES) as patient,
            calling(addresses, token, BALANCED) as plain,
        ):
            await asyncio.sleep(2)
            for number in range(RESTARTS):
                replica = replicas[number % len(replicas)]
                before = replica.running
                before.send_signal(signal.SIGTERM)
                await running.started_again(replica, before)
                assert before.poll() == 0
                await running.wait_serving()
                await asyncio.sleep(2)
    print(f"calls with retries {dict(patient)}, without {dict(plain)}")
    assert set(patient) == {"OK"}
    assert set(plain) == {"OK"}
