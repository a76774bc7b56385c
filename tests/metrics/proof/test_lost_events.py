"""What the broker has lost is on its way: it is told again, and must not be counted twice."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from chassis.broker.streams import ensure
from services import topology
from services.metrics.events import wait_applied
from services.metrics.proof.rebuild import EventsNotApplied


async def declare(client: Client) -> None:
    """Make what is missing of metrics' streams and consumers."""
    await ensure(client, topology.STREAMS, topology.METRICS.consumers)


async def test_a_stream_that_ends_before_what_was_published_has_lost_events(nats: Client) -> None:
    await declare(nats)
    with pytest.raises(EventsNotApplied, match="lost"):
        await wait_applied(nats, published=1)


async def test_a_stream_that_begins_anew_while_its_events_are_waited_for_has_lost_them(
    nats: Client,
) -> None:
    await declare(nats)
    jetstream = nats.jetstream()
    await jetstream.publish("activity.recorded.tenant", b"not handled")
    waiting = asyncio.create_task(wait_applied(nats, published=1))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await jetstream.delete_consumer("ACTIVITY", topology.ACTIVITY_RECORDED.name)
    await jetstream.delete_stream("ACTIVITY")
    await declare(nats)
    with pytest.raises((EventsNotApplied, NotFoundError)):
        await waiting
