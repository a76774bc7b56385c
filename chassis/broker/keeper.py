"""Keeping a service's streams and consumers on the broker while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from chassis.broker.client import BrokerClient
from chassis.broker.streams import Difference, ensure
from chassis.loops import sleep
from chassis.messaging import Consumer, Stream
from chassis.transient import TRANSIENT

PAUSE_SECONDS = 1.0
LOOK_SECONDS = 30.0
_log = structlog.get_logger()


class StreamKeeper:
    """Makes what is missing: at each new connection, when somebody misses it, and now and then."""

    def __init__(
        self,
        client: BrokerClient,
        owned: Sequence[Stream],
        consumers: Sequence[Consumer],
        needed: Sequence[Stream],
    ) -> None:
        self._client = client
        self._declared = (owned, consumers, needed)
        self._told: list[Difference] = []
        self.ready = asyncio.Event()
        """All has been there once."""
        self.renewed = asyncio.Event()
        """All is there after it was in doubt: what stood in a stream may be gone."""

    @asynccontextmanager
    async def keeping(self, seconds: float, stopping: asyncio.Event) -> AsyncIterator[None]:
        """Keep them for as long as the block lasts, which begins when all is there.

        It begins as well after so many seconds: the broker may be away.
        """
        keeping = asyncio.create_task(self._keep())
        try:
            await sleep(seconds, self.ready, stopping)
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep(self) -> None:
        doubted = False
        while True:
            await self._client.connected.wait()
            doubted = doubted or self._client.in_doubt.is_set()
            self._client.in_doubt.clear()
            made = await self._try(doubted)
            await asyncio.sleep(PAUSE_SECONDS)
            if made:
                await sleep(LOOK_SECONDS, self._client.in_doubt)
                doubted = False

    async def _try(self, doubted: bool) -> bool:
        try:
            self._tell(await ensure(self._client, *self._declared))
        except TRANSIENT as error:
            _log.warning("waits", work="streams", error=repr(error))
            return False
        except Exception:
            _log.exception("failed", work="streams")
            return False
        self.ready.set()
        if doubted:
            self.renewed.set()
        return True

    def _tell(self, differing: list[Difference]) -> None:
        """Log, once, what the operator has set otherwise than we declare."""
        for each in differing:
            if each not in self._told:
                _log.warning(
                    "operator's settings",
                    name=each.name,
                    setting=each.setting,
                    declared=each.declared,
                    found=each.found,
                )
        self._told = differing
