"""A service's table of RPCs and its contract name the same RPCs, or the service does not start."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub

from chassis.admission.admission import Admission
from chassis.admission.drain import OpenCalls
from chassis.auth import Caller, Verify
from chassis.identity.service_callers import ServiceCallers
from chassis.interceptor import ContractMismatchError, Interceptor, Rpc
from chassis.settings import ServiceSettings

SETTINGS: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x"}
CONTRACT = pb.DESCRIPTOR.services_by_name["MetricsService"]
EVERY_RPC = {name: Rpc(lambda request, context: None, "any") for name in CONTRACT.methods_by_name}


async def verify(authorization: str | bytes | None) -> Caller:
    raise AssertionError("no call comes")


def register(
    rpcs: dict[str, Rpc], server: grpc.aio.Server | None = None, verify: Verify = verify
) -> None:
    admission = Admission(ServiceSettings(**SETTINGS), 1)
    interceptor = Interceptor(verify, ServiceCallers(""), admission, OpenCalls(), 60.0, 60.0, 60.0)
    interceptor.register(server or grpc.aio.server(), CONTRACT, rpcs)


async def test_a_table_with_every_rpc_of_the_contract_is_served() -> None:
    register(EVERY_RPC)


async def test_a_table_that_lacks_an_rpc_is_refused_by_its_name() -> None:
    with pytest.raises(ContractMismatchError, match=r"lacks \['GetUsage'\]"):
        register({name: rpc for name, rpc in EVERY_RPC.items() if name != "GetUsage"})


async def test_a_table_with_an_rpc_too_many_is_refused_by_its_name() -> None:
    with pytest.raises(ContractMismatchError, match=r"\['GetTea'\] too many"):
        register(EVERY_RPC | {"GetTea": EVERY_RPC["GetUsage"]})


@pytest.mark.parametrize(("scope", "served"), [("metrics:read", 2), ("metrics:write", 1)])
async def test_only_an_rpc_that_reads_is_served_again_where_its_transaction_was_given_up(
    scope: str, served: int
) -> None:
    calls = 0

    async def serve(request: pb.GetUsageRequest, context: object) -> pb.GetUsageResponse:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncpg.SerializationError("given up for another one")
        return pb.GetUsageResponse()

    async def anybody(authorization: str | bytes | None) -> Caller:
        return Caller(UUID(int=1), UUID(int=2), frozenset({scope}))

    server = grpc.aio.server()
    register(EVERY_RPC | {"GetUsage": Rpc(serve, scope, validates_itself=True)}, server, anybody)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        code = await MetricsServiceStub(channel).GetUsage(pb.GetUsageRequest()).code()
    await server.stop(None)
    assert calls == served
    assert (code is grpc.StatusCode.OK) is (served == 2)
