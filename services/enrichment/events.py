"""The events that the enrichment service handles: one function an event."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

import structlog
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.enrichment.v1 import events_pb2

from chassis import inbox
from chassis.consumer import RETRY_SECONDS, Handler, IncomingEvent
from chassis.database import Pool, tenant_transaction
from chassis.errors import FailedPrecondition, InvalidArgument
from chassis.transient import RetryLater
from services import topology
from services.enrichment.erasure.forget_user import forget_user
from services.enrichment.erasure.stored_events import erase_user_letters
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.parse import request_of
from services.enrichment.intake.request_ids import GONE
from services.enrichment.run.plan import BEING_CANCELLED, UNDER_WAY
from services.enrichment.worker.hints import Hints

_log = structlog.get_logger()
Request = Callable[[IncomingEvent[events_pb2.EnrichmentRequested]], Awaitable[None]]


class RetryRoom:
    """Limits how many events of a tenant wait for runs under way.

    The consumer has a fixed number of unacknowledged events for all tenants. An event that waits is
    delivered again within RETRY_SECONDS, so those that came in that time are those that wait.
    """

    def __init__(self, max_waiting: int = 64) -> None:
        self._max_waiting = max_waiting
        self._came: dict[UUID, deque[float]] = {}

    def has_room(self, tenant_id: UUID) -> bool:
        """Whether one more event of the tenant may wait."""
        now = time.monotonic()
        came = self._came.setdefault(tenant_id, deque(maxlen=self._max_waiting))
        if len(came) == self._max_waiting and now - came[0] < RETRY_SECONDS:
            return False
        came.append(now)
        return True


def handlers(
    pool: Pool, client: Client, intake: Intake, hints: Hints, plain_requests: bool
) -> Sequence[Handler[Any]]:
    """Return the handlers, one a consumer; `plain_requests` need no tenant in their subject."""

    retries = RetryRoom()

    async def request(event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        """Accept a run; the event's id is its request id, so that a repeat finds the same run."""
        message = event.message
        tenant_id, user_id = UUID(message.tenant_id), UUID(message.user_id)
        wanted = request_of(message, tenant_id, user_id, request_id=event.event_id)
        try:
            await intake.accept(wanted)
        except FailedPrecondition as refusal:
            if refusal.reason in (UNDER_WAY, BEING_CANCELLED) and retries.has_room(tenant_id):
                # Not the event's fault: it is delivered again until the run has ended.
                raise RetryLater(refusal.message) from None
            if refusal.reason != GONE:
                raise
            _log.info("request of an erased prospect repeated", event_id=str(event.event_id))

    async def erase_user(event: IncomingEvent[activity_events.UserErased]) -> None:
        """Forget who asked: in the tables, in runs in hand, in pending events and dead letters."""
        message = event.message
        tenant_id, user_id = UUID(message.tenant_id), UUID(message.user_id)
        async with tenant_transaction(pool, tenant_id) as connection:
            await forget_user(connection, tenant_id, user_id)
        await hints.forget(user_id)
        async with tenant_transaction(pool, tenant_id) as connection:
            # Again, for what workers wrote meanwhile; the inbox makes a repeat do nothing.
            consumer = topology.ENRICHMENT_ERASED.name
            if await inbox.first_time(connection, tenant_id, consumer, event.event_id):
                await forget_user(connection, tenant_id, user_id)
        await erase_user_letters(client, tenant_id, user_id)

    return (
        *_of_requests(request, plain_requests),
        Handler(
            topology.ENRICHMENT_ERASED,
            activity_events.UserErased,
            erase_user,
            tenant_in_subject=True,
        ),
    )


def _of_requests(request: Request, plain_requests: bool) -> Sequence[Handler[Any]]:
    """Return the handlers of requests with a tenant in their subject, and of those without."""

    async def plain(event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        if not plain_requests:
            text = f"a request is published on {topology.REQUESTED}.<tenant> here"
            raise InvalidArgument(text, reason="TENANT_SUBJECT_NEEDED")
        await request(event)

    kind = events_pb2.EnrichmentRequested
    return (
        Handler(topology.ENRICH_REQUESTED, kind, plain, from_outside=True),
        Handler(
            topology.ENRICH_REQUESTED_BY_TENANT,
            kind,
            request,
            tenant_in_subject=True,
            from_outside=True,
        ),
    )
