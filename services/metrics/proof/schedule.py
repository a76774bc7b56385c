"""The daily event's schedule: kept by the broker, one for the deployment.

Every replica publishes it, at the start, once a day and when the stream may be another one: on one
subject the last one counts, and the broker would otherwise forget it with the stream's age limit.
"""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from chassis.loops import repeat
from services import topology

EVERY_DAY = "0 15 0 * * *"
"""Six fields, UTC: at 0:15, when what happened before midnight has mostly come in."""
REFRESH_SECONDS = 86_400.0


class Schedule:
    """Keeps the daily event's schedule in the broker; `cron` has six fields."""

    def __init__(self, client: Client, renewed: asyncio.Event, cron: str = EVERY_DAY) -> None:
        self._client = client
        self._renewed = renewed
        self._cron = cron

    async def run(self, stopping: asyncio.Event) -> None:
        """Publish the schedule until told to stop."""
        await repeat(
            self.publish,
            stopping,
            name="schedule",
            every_seconds=REFRESH_SECONDS,
            early=self._renewed,
        )

    async def publish(self) -> None:
        """Make or replace the schedule."""
        headers = {
            "Nats-Schedule": self._cron,
            "Nats-Schedule-Target": topology.AGGREGATE_DAILY,
        }
        await self._client.jetstream().publish(
            topology.DAILY_SCHEDULE, b"", headers=headers, timeout=5
        )
