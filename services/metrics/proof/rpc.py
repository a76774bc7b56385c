"""VerifyUsage and RebuildUsage: an auditor's RPCs, across tenants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from uuid import UUID

import grpc
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.errors import FailedPrecondition, Refusal, Unavailable
from chassis.interceptor import Context
from chassis.outbox import Relay
from chassis.transient import RetryLater
from services.metrics import store
from services.metrics.proof.activity_log import CredentialsRefused
from services.metrics.proof.comparison import Difference, differing_users, moved_since, uneven_days
from services.metrics.proof.rebuild import (
    DaysChanged,
    EventsNotApplied,
    LogDigest,
    Rebuilder,
    published_of,
)
from services.metrics.store import Digest, NewerVersionNeeded
from services.metrics.usage.parse import span_of

DAY = timedelta(days=1)
NOTHING = LogDigest(Digest())
DIFFERENCES_PER_MESSAGE = 1_000
"""Findings a message: some 200 KB of the 4 MiB that gRPC takes by itself."""


class ProofRpc:
    """Proves and rebuilds."""

    def __init__(self, rebuilder: Rebuilder, relay: Relay) -> None:
        self._rebuilder = rebuilder
        self._relay = relay

    async def VerifyUsage(
        self, request: pb.VerifyUsageRequest, context: Context
    ) -> AsyncIterator[pb.VerifyUsageResponse]:
        """Compare day after day."""
        only = UUID(request.tenant_id) if request.tenant_id else None
        for day in _days(*span_of(request.start_date, request.end_date)):
            try:
                async for response in self._verify(day, only, request.thorough):
                    yield response
            except (grpc.aio.AioRpcError, RetryLater) as error:
                raise _refusal_of(error) from error

    async def RebuildUsage(
        self, request: pb.RebuildUsageRequest, context: Context
    ) -> pb.RebuildUsageResponse:
        """Count a range anew."""
        days = _days(*span_of(request.start_date, request.end_date))
        try:
            done = await self._rebuilder.rebuild(UUID(request.tenant_id), days)
        except DaysChanged:
            text = "events of these days keep coming in: try again"
            raise Unavailable(text, reason="USAGE_MOVING", retry_seconds=60) from None
        except (grpc.aio.AioRpcError, RetryLater) as error:
            raise _refusal_of(error) from error
        self._relay.wake()
        return pb.RebuildUsageResponse(
            rebuilt_days=done.days,
            expired_days=done.expired,
            changed_days=done.changed,
            activity_count=done.activities,
        )

    async def _verify(
        self, day: date, only: UUID | None, thorough: bool
    ) -> AsyncIterator[pb.VerifyUsageResponse]:
        rebuilder = self._rebuilder
        logged = await rebuilder.log.day_digests(day)
        if logged is None:
            yield pb.VerifyUsageResponse(date=day.isoformat(), expired=True)
            return
        unpublished = await rebuilder.unpublished(day, logged)
        await rebuilder.wait_applied(published_of(logged))
        async with self._rebuilder.pool.acquire() as connection:
            counted = await store.day_digests(connection, day)
        uneven = await uneven_days(self._rebuilder.pool, day)
        differences = [each for each in uneven if only in (None, each.tenant_id)]
        compared = [
            tenant_id
            for tenant_id in sorted(logged.keys() | counted.keys())
            if only in (None, tenant_id) and not logged.get(tenant_id, NOTHING).expired
        ]
        for tenant_id in compared:
            log, rollup = logged.get(tenant_id, NOTHING), counted.get(tenant_id, Digest())
            if thorough or rollup != log.digest:
                late = tenant_id in unpublished
                differences += await self._compare(tenant_id, day, log, rollup, late)
            while len(differences) > DIFFERENCES_PER_MESSAGE:
                yield _part(day, differences[:DIFFERENCES_PER_MESSAGE])
                differences = differences[DIFFERENCES_PER_MESSAGE:]
        yield pb.VerifyUsageResponse(
            date=day.isoformat(),
            tenant_count=len(compared),
            activity_count=sum(logged.get(t, NOTHING).digest.activity_count for t in compared),
            findings=map(_message, differences),
        )

    async def _compare(
        self, tenant_id: UUID, day: date, log: LogDigest, rollup: Digest, late: bool
    ) -> list[Difference]:
        """Name what differs of a tenant, or say that the day is moving."""
        rebuilder = self._rebuilder
        found = [each async for each in differing_users(rebuilder, tenant_id, day)]
        moved = bool(found) and await self._has_moved(tenant_id, day, log)
        if found and not moved and rollup == log.digest:
            # It may be an erasure, which is first in the log and which no digest tells of.
            later = await rebuilder.log.day_digests(day) or {}
            await rebuilder.unpublished(day, later)
            await rebuilder.wait_applied(published_of(later))
            found = [each async for each in differing_users(rebuilder, tenant_id, day)]
            moved = await self._has_moved(tenant_id, day, log)
        late = late or (bool(found) and await rebuilder.is_behind(tenant_id, day, rollup))
        if found and (moved or (late and rollup != log.digest)):
            return _moving(tenant_id, day, log.digest, rollup)
        return found

    async def _has_moved(self, tenant_id: UUID, day: date, before: LogDigest) -> bool:
        return tenant_id in await moved_since(self._rebuilder.log, day, {tenant_id: before})


def _part(day: date, differences: list[Difference]) -> pb.VerifyUsageResponse:
    return pb.VerifyUsageResponse(
        date=day.isoformat(), findings=map(_message, differences), more=True
    )


def _moving(tenant_id: UUID, day: date, log: Digest, rollup: Digest) -> list[Difference]:
    counts = log.activity_count, rollup.activity_count
    reason = "events are on their way"
    return [Difference(pb.USAGE_FINDING_KIND_MOVING, tenant_id, None, day, *counts, reason)]


def _message(difference: Difference) -> pb.UsageFinding:
    return pb.UsageFinding(
        kind=difference.kind,
        tenant_id=str(difference.tenant_id),
        user_id=str(difference.user_id or ""),
        date=difference.date.isoformat(),
        log_count=difference.log_count,
        rollup_count=difference.rollup_count,
        reason=difference.reason,
    )


def _days(first: date, last: date) -> list[date]:
    return [first + number * DAY for number in range((last - first).days + 1)]


def _refusal_of(error: grpc.aio.AioRpcError | RetryLater) -> Refusal:
    if isinstance(error, CredentialsRefused):
        text = f"metrics may not read the log: {error}"
        return FailedPrecondition(text, reason="ACTIVITY_REFUSES_METRICS")
    if isinstance(error, EventsNotApplied):
        return Unavailable(str(error), reason="EVENTS_NOT_APPLIED")
    if isinstance(error, NewerVersionNeeded):
        return Unavailable(str(error), reason="NEWER_VERSION_NEEDED")
    if isinstance(error, RetryLater):
        text = str(error)
    else:
        text = f"activity answered {error.code().name}: {error.details()}"
    return Unavailable(text, reason="ACTIVITY_UNAVAILABLE")
