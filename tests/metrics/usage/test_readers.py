"""Summary, top users and export: each tells of the caller's tenant alone, and names a bad field."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb

from tests.harness import Identity, violations
from tests.metrics.calls import DAY, export, record, some_activities, summary, top, usage_of
from tests.metrics.conftest import Pair


async def test_no_reader_tells_one_tenant_of_another(
    pair: Pair, ours: Identity, theirs: Identity
) -> None:
    await record(pair, theirs, some_activities(20))
    await usage_of(pair, theirs, 20)
    assert await top(pair, ours) == []
    assert (await summary(pair, ours, start_date=DAY, end_date=DAY)).current.active_users == 0
    (chunk,) = await export(pair, ours)
    assert chunk.count(b"\r\n") == 1


@pytest.mark.parametrize(
    ("method", "fields", "field"),
    [
        ("GetTenantSummary", {"start_date": "2026-02-30"}, "start_date"),
        ("ListTopUsers", {"end_date": "2020-01-01"}, "end_date"),
        ("ListTopUsers", {"page_token": "tampered"}, "page_token"),
        ("ListTopUsers", {"counter": 77}, "counter"),
        ("ExportUsage", {"start_date": "2020-01-01"}, "end_date"),
    ],
)
async def test_a_bad_request_names_its_field(
    pair: Pair, ours: Identity, method: str, fields: dict[str, Any], field: str
) -> None:
    request = getattr(pb, f"{method}Request")(**({"start_date": DAY, "end_date": DAY} | fields))
    call = getattr(pair.metrics, method)(request, metadata=ours.metadata())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await (call.read() if method == "ExportUsage" else call)
    assert [name for name, _ in violations(refused.value)] == [field]
