"""The daily event comes from the broker's schedule, once however many replicas publish it."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from services import topology
from services.metrics.proof.schedule import Schedule


async def test_two_replicas_make_one_schedule_that_fires(nats: Client) -> None:
    await asyncio.gather(
        *(Schedule(nats, asyncio.Event(), "* * * * * *").publish() for _ in range(2))
    )
    jetstream = nats.jetstream()
    info = await jetstream.stream_info("METRICS", subjects_filter=">")
    assert (info.state.subjects or {}).get(topology.DAILY_SCHEDULE) == 1
    subscription = await jetstream.pull_subscribe(topology.AGGREGATE_DAILY, "reader")
    (message,) = await subscription.fetch(1, timeout=30)
    assert message.data == b""
