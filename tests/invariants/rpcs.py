"""Every RPC of every service, found from the contracts, and how a test calls it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from importlib import import_module
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from chassis.clock import utc_now
from services.cli.operate.services import ServiceName
from tests.enrichment.test_service import sandbox_settings
from tests.harness import Services

DAY = utc_now().date().isoformat()
DAYS = {"start_date": DAY, "end_date": DAY}
LOGIN = {"action_type": "ACTION_TYPE_LOGIN"}
MALLORY = {"name": "Mallory", "company": "Us"}
ADA = {"name": "Ada Lovelace", "company": "Analytical Engines"}
PEOPLE = [{"email": "ada@engines.example"}]
QUOTA = {"counter": "COUNTER_TOTAL_LOGINS", "period": "QUOTA_PERIOD_DAY"}

NEEDED: dict[str, dict[str, Any]] = {
    "RecordActivity": {"activity": LOGIN},
    "RecordActivities": {"activities": [LOGIN]},
    "StreamActivities": {"activities": [LOGIN]},
    "UpdateRetention": {"retention_days": 90},
    "ListDayDigests": {"date": DAY},
    "CountDay": {"date": DAY},
    "StreamDayCounts": {"date": DAY},
    "RequestEnrichment": MALLORY,
    "BatchRequestEnrichments": {"requests": [MALLORY]},
    "RetrySource": {"source": "exa"},
    "EstimateEnrichment": {"prospects": [ADA]},
    "PauseSource": {"source": "exa", "resume": True},
    "UpdatePolicy": {
        "policy": {"debounce_seconds": 1},
        "update_mask": {"paths": ["debounce_seconds"]},
    },
    "Suppress": {"people": PEOPLE},
    "Unsuppress": {"people": PEOPLE},
    "GetUsage": DAYS,
    "GetTenantSummary": DAYS,
    "ListTopUsers": DAYS,
    "ExportUsage": DAYS,
    "CheckQuota": {"counter": "COUNTER_TOTAL_LOGINS"},
    "SetQuota": {"quota": QUOTA | {"soft_limit": 7}},
    "DeleteQuota": QUOTA,
    "SetTimeZone": {"time_zone": "Europe/Paris"},
    "VerifyUsage": DAYS,
    "RebuildUsage": DAYS,
}
"""What a valid request needs beside its ids."""


def rpcs_of(name: ServiceName) -> list[MethodDescriptor]:
    """Return the RPCs of a service's contract."""
    contract = import_module(f"prospect.{name}.v1.{name}_service_pb2").DESCRIPTOR
    return list(contract.services_by_name[f"{name.capitalize()}Service"].methods)


EVERY_RPC = pytest.mark.parametrize(
    ("name", "method"),
    [
        pytest.param(name, method, id=method.name)
        for name in ServiceName
        for method in rpcs_of(name)
    ],
)


def settings_of(name: ServiceName, services: Services) -> dict[str, Any]:
    """Return the settings that a service needs to start; nobody answers behind it."""
    if name is ServiceName.ENRICHMENT:
        return sandbox_settings("http://127.0.0.1:1")
    if name is ServiceName.ACTIVITY:
        return {}
    return {
        "activity_address": "127.0.0.1:1",
        "activity_token_file": services.audit_token_file(),
    }


def call_of(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    request: Any,
    metadata: tuple[tuple[str, str], ...],
) -> Any:
    """Begin a call; `request` is a message, or an iterator of them where the caller streams."""
    kind = "_".join(
        "stream" if streaming else "unary"
        for streaming in (method.client_streaming, method.server_streaming)
    )
    begin = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    return begin(request, metadata=metadata)


async def first_answer(call: Any) -> Any:
    """Return the answer of a call, of a stream the first; None where a stream ends without one."""
    if not isinstance(call, AsyncIterable):
        return await call
    answers: AsyncIterator[Any] = aiter(call)
    return await anext(answers, None)
