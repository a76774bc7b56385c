"""A feed ends with its reader's block, whatever its waiting does with a cancellation."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client

from services.activity.reading.feed import Feed


class Stubborn(Feed):
    """A feed whose reader loses the first cancellation, as one in asyncio.wait_for may."""

    async def _read(self) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)


async def test_a_reader_that_loses_a_cancellation_is_cancelled_again(nats: Client) -> None:
    feed = Stubborn(nats, "activity.recorded.none", 0, replaying=False, max_bytes=1_000_000)
    async with asyncio.timeout(5):
        async with feed.reading():
            await asyncio.sleep(0)
    assert feed._reader.cancelled()
