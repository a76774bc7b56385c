"""Pulling events from a consumer, and noticing when it is gone.

nats-py's own pull takes "the consumer is deleted" for "nothing came", and a request that went with
its connection is waited for to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats.errors
from nats.aio.msg import Msg
from nats.js.errors import APIError

from chassis.broker.client import BrokerClient

LATE_SECONDS = 1.0
_NOTHING = frozenset({"404", "408"})


class Pull:
    """Asks one consumer for events, with one request at a time."""

    def __init__(self, client: BrokerClient, stream: str, consumer: str) -> None:
        self._client = client
        self._asked_on = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = client.new_inbox()
        self._came: asyncio.Queue[Msg | None] = asyncio.Queue()
        self._number = self._on_its_way = 0
        self._until = 0.0
        self._error: APIError | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Pull]:
        """Listen for as long as the block lasts."""
        subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._came.put)
        self._client.when_connected.add(self._forget_request)
        try:
            yield self
        finally:
            self._client.when_connected.discard(self._forget_request)
            with contextlib.suppress(nats.errors.Error, OSError):
                await subscription.unsubscribe()

    async def hand_back(self) -> None:
        """Let other replicas have at once what came and was not fetched."""
        for message in self._take_all():
            await message.nak()

    async def fetch(self, count: int, seconds: float) -> list[Msg]:
        """Return the events that are there, else the next that come in time.

        Raises APIError where the consumer is gone, or does not answer as it should.
        """
        if not self._on_its_way or time.monotonic() > self._until:
            await self._ask(count, seconds)
        came = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self._until - time.monotonic(), 0)):
                came = await self._came.get()
        messages = self._take_all(came)
        error, self._error = self._error, None
        if error and not messages:
            self._client.in_doubt.set()
            raise error
        return messages

    async def _ask(self, count: int, seconds: float) -> None:
        self._number += 1
        body = {"batch": count, "expires": int(seconds * 10**9)}
        reply = f"{self._inbox}.{self._number}"
        await self._client.publish(self._asked_on, json.dumps(body).encode(), reply)
        self._on_its_way, self._until = count, time.monotonic() + seconds + LATE_SECONDS

    def _forget_request(self) -> None:
        """Ask again: what was asked for on another connection does not come."""
        self._on_its_way = 0
        self._came.put_nowait(None)

    def _take_all(self, first: Msg | None = None) -> list[Msg]:
        messages = [first] if first else []
        while not self._came.empty():
            message = self._came.get_nowait()
            if message:
                messages.append(message)
        return [each for each in messages if self._is_event(each)]

    def _is_event(self, message: Msg) -> bool:
        """Whether this is an event, which can be acknowledged; else it ends a request."""
        if message.reply:
            self._on_its_way = max(self._on_its_way - 1, 0)
            return True
        headers = message.headers or {}
        status = headers.get("Status", "")
        if message.subject == f"{self._inbox}.{self._number}":
            self._on_its_way = 0
            if status not in _NOTHING:
                told = headers.get("Description", "").partition("\n")[0]
                self._error = APIError(int(status or 0), told or "no such consumer")
        return False
