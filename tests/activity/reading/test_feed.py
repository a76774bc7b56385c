"""A feed ends with its reader's block, whatever its waiting does with a cancellation."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg

from chassis.admission.gate import Gate
from chassis.admission.tenants import UNLIMITED, Tenant
from chassis.broker.client import BrokerClient
from services.activity.reading.feed import Backlog, Feed, Room, events_at_once

TENANT = Tenant(None, 0.5, UNLIMITED)
ROOM = Room(1_000, Gate("unread_bytes", 4_000), TENANT)


class Stubborn(Feed):
    """A feed whose reader loses the first cancellation, as one in asyncio.wait_for may."""

    async def _read(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)


async def test_a_reader_that_loses_a_cancellation_is_cancelled_again(nats: BrokerClient) -> None:
    feed = Stubborn(nats, "activity.recorded.none", 0, replaying=False, room=ROOM)
    async with asyncio.timeout(30):
        async with feed.reading():
            await asyncio.sleep(0)
    assert feed._reader.cancelled()


def a_message(size: int) -> Msg:
    return Msg(_client=None, data=b"x" * size)  # type: ignore[arg-type]


def test_a_backlog_keeps_one_event_and_then_as_many_as_have_room() -> None:
    backlog = Backlog(ROOM)
    assert [backlog.add(a_message(600)) for _ in range(3)] == [True, True, False]
    backlog.pop()
    assert backlog.add(a_message(600))
    backlog.clear()
    assert ROOM.gate.held == 0


def test_the_backlogs_of_a_tenant_take_its_share_and_leave_the_rest_to_others() -> None:
    gate, theirs = Gate("unread_bytes", 4_000), Tenant(None, 0.5, UNLIMITED)
    tails = [Backlog(Room(10_000, gate, TENANT)) for _ in range(3)]
    other = Backlog(Room(10_000, gate, theirs))
    for each in (*tails, other):
        assert each.add(a_message(1_500))
    assert [each.add(a_message(1_500)) for each in tails] == [True, False, False]
    assert other.add(a_message(1_500))
    tails[0].pop()
    assert tails[0].add(a_message(100))
    for each in (*tails, other):
        each.clear()
    assert gate.held == 0


@pytest.mark.parametrize(
    ("largest", "count"), [(0, 1), (200, 8), (90_000, 2), (150_000, 1), (1_000_000, 1)]
)
def test_large_events_are_fetched_a_few_at_once(largest: int, count: int) -> None:
    assert events_at_once(largest) == count
