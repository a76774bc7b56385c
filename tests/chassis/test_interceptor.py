"""A service's table of RPCs and its contract name the same RPCs, or the service does not start."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.admission.admission import Admission
from chassis.auth import Caller
from chassis.identity.service_callers import ServiceCallers
from chassis.interceptor import ContractMismatchError, Interceptor, Rpc
from chassis.settings import ServiceSettings

SETTINGS: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x"}
CONTRACT = pb.DESCRIPTOR.services_by_name["MetricsService"]
EVERY_RPC = {name: Rpc(lambda request, context: None, "any") for name in CONTRACT.methods_by_name}


async def verify(authorization: str | bytes | None) -> Caller:
    raise AssertionError("no call comes")


def register(rpcs: dict[str, Rpc]) -> None:
    admission = Admission(ServiceSettings(**SETTINGS), 1)
    interceptor = Interceptor(verify, ServiceCallers(""), admission, 1.0, 1.0, 1.0)
    interceptor.register(grpc.aio.server(), CONTRACT, rpcs)


async def test_a_table_with_every_rpc_of_the_contract_is_served() -> None:
    register(EVERY_RPC)


async def test_a_table_that_lacks_an_rpc_is_refused_by_its_name() -> None:
    with pytest.raises(ContractMismatchError, match=r"lacks \['GetUsage'\]"):
        register({name: rpc for name, rpc in EVERY_RPC.items() if name != "GetUsage"})


async def test_a_table_with_an_rpc_too_many_is_refused_by_its_name() -> None:
    with pytest.raises(ContractMismatchError, match=r"\['GetTea'\] too many"):
        register(EVERY_RPC | {"GetTea": EVERY_RPC["GetUsage"]})
