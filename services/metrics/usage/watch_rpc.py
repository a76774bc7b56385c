"""WatchUsage: a tenant's totals of today, as they grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.auth import current_caller
from chassis.errors import Unavailable
from chassis.interceptor import Context
from chassis.loops import sleep
from chassis.tokens import ContinuationTokens, TokenKeys
from services.metrics.usage.today import Today

EVERY_SECONDS = 1.0


class WatchRpc:
    """Follows the usage of the caller's tenant."""

    def __init__(self, today: Today, stopping: asyncio.Event, token_keys: TokenKeys) -> None:
        self._today = today
        self._stopping = stopping
        self._token_keys = token_keys

    async def WatchUsage(
        self, request: pb.WatchUsageRequest, context: Context
    ) -> AsyncIterator[pb.WatchUsageResponse]:
        """Send the totals whenever they differ from those that the watcher has."""
        tenant_id = current_caller().tenant_id
        tokens = ContinuationTokens(self._token_keys, "watch", tenant_id, pb.WatchUsageRequest())
        known = request.resume_token
        if known:
            tokens.read("resume_token", known, bytes)
        try:
            while True:
                day = await self._today.of(tenant_id)
                token = tokens.issue(day.fingerprint)
                if token != known:
                    known, response = token, pb.WatchUsageResponse(resume_token=token)
                    response.MergeFrom(day.totals)
                    yield response
                await _pause(self._stopping)
        finally:
            self._today.forget(tenant_id)


async def _pause(stopping: asyncio.Event) -> None:
    await sleep(EVERY_SECONDS, stopping)
    if stopping.is_set():
        raise Unavailable("this replica is stopping; watch again", reason="STOPPING")
