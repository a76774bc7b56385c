"""Verifying and rebuilding by RPC: damage is named and mended, and counting goes on meanwhile."""

from __future__ import annotations

import asyncio

import grpc
import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb

from tests.harness import Database, Identity, Services, error_info
from tests.metrics.calls import AUDIT, DAY, USERS, record, some_activities, usage, usage_of, verify
from tests.metrics.conftest import Pair

QUARTERS = "update metrics.usage_metrics_quarter_hours set "


@pytest.mark.parametrize(
    ("damage", "thorough", "kind"),
    [
        ("digest = digest + 1", False, pb.USAGE_FINDING_KIND_DIFFERENT),
        ("total_logins = total_logins + 5, total_activities = total_activities + 5", False,
         pb.USAGE_FINDING_KIND_EXCESS),
        ("user_id = '00000000-0000-0000-0000-00000000abcd' where user_id = 'USER'", True,
         pb.USAGE_FINDING_KIND_EXCESS),
    ],
)  # fmt: skip
async def test_damaged_quarters_are_named_and_rebuilt(
    pair: Pair, ours: Identity, database: Database, damage: str, thorough: bool, kind: int
) -> None:
    await record(pair, ours, some_activities(100))
    right = await usage_of(pair, ours, 100)
    assert await verify(pair, ours, thorough=True) == []
    await database.fetch(QUARTERS + damage.replace("USER", USERS[0]))
    findings = await verify(pair, ours, thorough=thorough)
    assert kind in {each.kind for each in findings}
    assert {each.tenant_id for each in findings} == {str(ours.tenant_id)}
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    done = await pair.metrics.RebuildUsage(request, metadata=ours.metadata(AUDIT))
    assert (done.rebuilt_days, done.activity_count) == (1, 100)
    assert await usage(pair, ours) == right
    assert await verify(pair, ours, thorough=True) == []


async def test_what_is_counted_during_rebuilds_is_neither_lost_nor_doubled(
    pair: Pair, ours: Identity
) -> None:
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)

    async def rebuild() -> None:
        for _ in range(10):
            call = pair.metrics.RebuildUsage(request, metadata=ours.metadata(AUDIT))
            assert await call.code() in {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}

    async def work() -> None:
        for seed in range(30):
            await record(pair, ours, some_activities(20, seed))

    await asyncio.gather(rebuild(), work())
    await usage_of(pair, ours, 600)
    assert await verify(pair, ours, thorough=True) == []


@pytest.mark.parametrize("token", ["", "nonsense", "two\nlines", "\u00e9", None])
async def test_a_log_that_metrics_may_not_read_is_told_to_the_operator(
    pair: Pair, services: Services, ours: Identity, token: str | None
) -> None:
    of_a_user = ours.metadata()[0][1].split()[1]
    services.audit_token_file().write_text(of_a_user if token is None else token)
    request = pb.VerifyUsageRequest(start_date=DAY, end_date=DAY)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in pair.metrics.VerifyUsage(request, metadata=ours.metadata(AUDIT)):
            pass
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error_info(refused.value).reason == "ACTIVITY_REFUSES_METRICS"


async def test_an_audit_needs_its_scope(pair: Pair, ours: Identity) -> None:
    request = pb.RebuildUsageRequest(tenant_id=str(ours.tenant_id), start_date=DAY, end_date=DAY)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pair.metrics.RebuildUsage(request, metadata=ours.metadata())
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
