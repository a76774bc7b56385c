"""VerifyUsage and RebuildUsage: an auditor's RPCs, across tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import UUID

import grpc
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.errors import DependencyAwayError, Unavailable
from chassis.server import Context
from services.metrics import store
from services.metrics.comparing import Finding, differing_users, moved_since, uneven_days
from services.metrics.messages import span_of
from services.metrics.rebuilding import LogDigest, MovingError
from services.metrics.store import Digest
from services.metrics.tools import Tools

DAY = timedelta(days=1)
NOTHING = LogDigest(Digest())


class Auditing:
    """Proves and rebuilds."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def VerifyUsage(
        self, request: pb.VerifyUsageRequest, context: Context
    ) -> AsyncIterator[pb.VerifyUsageResponse]:
        """Compare day after day."""
        only = UUID(request.tenant_id) if request.tenant_id else None
        for day in _days(*span_of(request.start_date, request.end_date)):
            try:
                yield await self._verify(day, only, request.thorough)
            except (grpc.aio.AioRpcError, DependencyAwayError) as error:
                raise _away(error) from error

    async def RebuildUsage(
        self, request: pb.RebuildUsageRequest, context: Context
    ) -> pb.RebuildUsageResponse:
        """Count a range anew."""
        days = _days(*span_of(request.start_date, request.end_date))
        try:
            done = await self._tools.rebuilder.rebuild(UUID(request.tenant_id), days)
        except MovingError:
            text = "events of these days keep coming in: try again"
            raise Unavailable(text, reason="usage.moving") from None
        except (grpc.aio.AioRpcError, DependencyAwayError) as error:
            raise _away(error) from error
        self._tools.relay.wake()
        return pb.RebuildUsageResponse(
            rebuilt_days=done.days,
            expired_days=done.expired,
            changed_days=done.changed,
            activity_count=done.activities,
        )

    async def _verify(self, day: date, only: UUID | None, thorough: bool) -> pb.VerifyUsageResponse:
        rebuilder, response = self._tools.rebuilder, pb.VerifyUsageResponse(date=day.isoformat())
        logged = await rebuilder.log.day_digests(day)
        if logged is None:
            response.expired = True
            return response
        unpublished = await rebuilder.unpublished(day, logged)
        await rebuilder.wait_applied()
        async with self._tools.pool.acquire() as connection:
            counted = await store.day_digests(connection, day)
        uneven = await uneven_days(self._tools.pool, day)
        findings = [each for each in uneven if only in (None, each.tenant_id)]
        pairs = {
            tenant_id: (logged.get(tenant_id, NOTHING), counted.get(tenant_id, Digest()))
            for tenant_id in sorted(logged.keys() | counted.keys())
            if only in (None, tenant_id) and not logged.get(tenant_id, NOTHING).expired
        }
        response.tenant_count = len(pairs)
        response.activity_count = sum(log.digest.activity_count for log, _ in pairs.values())
        differing = {
            tenant_id: [each async for each in differing_users(rebuilder, tenant_id, day)]
            for tenant_id, (log, rollup) in pairs.items()
            if thorough or rollup != log.digest
        }
        moved = await moved_since(rebuilder.log, day, logged) if any(differing.values()) else set()
        for tenant_id, found in differing.items():
            log, rollup = pairs[tenant_id]
            moving = tenant_id in moved or (tenant_id in unpublished and rollup != log.digest)
            findings += _moving(tenant_id, day, log.digest, rollup) if found and moving else found
        response.findings.extend(map(_message, findings))
        return response


def _moving(tenant_id: UUID, day: date, log: Digest, rollup: Digest) -> list[Finding]:
    counts = log.activity_count, rollup.activity_count
    reason = "events are on their way"
    return [Finding(pb.USAGE_FINDING_KIND_MOVING, tenant_id, None, day, *counts, reason)]


def _message(finding: Finding) -> pb.UsageFinding:
    return pb.UsageFinding(
        kind=finding.kind,
        tenant_id=str(finding.tenant_id),
        user_id=str(finding.user_id or ""),
        date=finding.date.isoformat(),
        log_count=finding.log_count,
        rollup_count=finding.rollup_count,
        reason=finding.reason,
    )


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]


def _away(error: grpc.aio.AioRpcError | DependencyAwayError) -> Unavailable:
    if isinstance(error, DependencyAwayError):
        return Unavailable(str(error))
    return Unavailable(f"activity answered {error.code().name}: {error.details()}")
