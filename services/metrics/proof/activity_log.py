"""The activity service as metrics sees it: digests and counts over gRPC, never its tables."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import grpc
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.identity.channel import RereadingChannel
from chassis.transient import RetryLater
from services.metrics.counters import ACTION_COUNTERS
from services.metrics.proof.rebuild import LogDigest
from services.metrics.store import Digest, NewerVersionNeeded

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

TIMEOUT_SECONDS = 30
_UNREACHABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
_REFUSING = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
STREAM_SECONDS = 300
"""Time for a large tenant's day, which is written down as it comes."""


class CredentialsRefused(RetryLater):
    """Activity does not let metrics read its log, until an operator gives it other credentials."""


class ActivityLog:
    """A client with the scope activity:audit; its token is read for each call, as it rotates."""

    def __init__(self, channel: RereadingChannel, token_file: Path | None) -> None:
        """Without a token file, the channel's certificate says who calls."""
        self._channel = channel
        self._token_file = token_file

    async def day_digests(self, day: date) -> dict[UUID, LogDigest] | None:
        """Return each tenant's fingerprint of the day; None where the log does not reach back."""
        with _retrying_unreachable():
            response = await self._stub().ListDayDigests(
                pb.ListDayDigestsRequest(date=day.isoformat()),
                metadata=self._metadata(),
                timeout=TIMEOUT_SECONDS,
            )
        if response.expired:
            return None
        return {
            UUID(each.tenant_id): LogDigest(
                Digest(each.activity_count, Decimal(each.digest or 0)),
                each.unpublished_events,
                each.expired,
                each.first_unpublished,
                each.last_unpublished,
                each.published_sequence,
            )
            for each in response.digests
        }

    async def count_day(
        self, tenant_id: UUID, day: date
    ) -> AsyncGenerator[Sequence[pb.ActionCount]]:
        """Yield one tenant's counts of the day in the order of users, some at a time."""
        request = pb.StreamDayCountsRequest(tenant_id=str(tenant_id), date=day.isoformat())
        call = self._stub().StreamDayCounts(
            request, metadata=self._metadata(), timeout=STREAM_SECONDS
        )
        with _retrying_unreachable():
            async for response in call:
                _refuse_unknown(response.counts)
                yield response.counts

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    def _stub(self) -> ActivityServiceAsyncStub:
        return grpc_api.ActivityServiceStub(self._channel.current())

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token_file is None:
            return ()
        token = self._token_file.read_bytes().strip().decode("ascii", "replace")
        if not (token.isascii() and token.isprintable()):
            raise CredentialsRefused("the file of PROSPECT_ACTIVITY_TOKEN_FILE holds no token")
        return (("authorization", f"Bearer {token}"),)


def _refuse_unknown(counts: Sequence[pb.ActionCount]) -> None:
    """Refuse counts of an action that this version has no counter for: a newer one has."""
    unknown = {each.action_type for each in counts} - ACTION_COUNTERS.keys()
    if unknown:
        named = ", ".join(map(str, sorted(unknown)))
        text = f"the day has actions that a newer version counts: {named}"
        raise NewerVersionNeeded(text)


@contextmanager
def _retrying_unreachable() -> Iterator[None]:
    """Have what needs a service that is away, or an operator, wait; other refusals stay so."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        text = f"activity answered {error.code().name}: {error.details()}"
        if error.code() in _UNREACHABLE:
            raise RetryLater(text) from error
        if error.code() in _REFUSING:
            raise CredentialsRefused(text) from error
        raise
