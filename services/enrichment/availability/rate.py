"""How many calls a second a source gets, from all replicas together.

The state is one timestamp a source in Postgres, the next free slot (GCRA with a burst of one: calls
leave evenly spaced). One statement takes slots for all calls of this process that wait, in the
order in which they came. A slot is never taken far ahead, so that a crash wastes little.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from datetime import timedelta

from chassis.database import Pool
from services.enrichment.availability import call_timeout, store
from services.enrichment.sources.catalogue import SourceName

HORIZON = 1.0
"""How many seconds ahead slots are taken."""

SPACING = {SourceName.SEC: 1.1}
"""By what factor a source's slots lie further apart than its rate says. EDGAR counts the requests
of each second and blocks for ten minutes: were they evenly spaced, the least delay on the way would
put one too many into a second.
"""


class Limits:
    """Gives calls to a source their slots; a rate of 0 is no limit."""

    def __init__(self, pool: Pool, rates: Mapping[SourceName, float]) -> None:
        self._pool = pool
        self._rates = rates
        self._waiting: dict[SourceName, deque[asyncio.Future[float]]] = {
            source: deque() for source in SourceName
        }
        self._givers: dict[SourceName, asyncio.Task[None]] = {}

    def is_free(self, source: SourceName) -> bool:
        """Whether a call needs no slot to begin: no rate, or each of its requests takes its own."""
        return not self._rates[source] or source is SourceName.SEC

    async def wait(self, source: SourceName) -> float:
        """Wait for a slot; return the seconds that it took, which count towards no timeout."""
        if not self._rates[source]:
            return 0.0
        loop = asyncio.get_running_loop()
        begun = loop.time()
        slot = loop.create_future()
        self._waiting[source].append(slot)
        if source not in self._givers:
            self._givers[source] = asyncio.create_task(self._give(source))
        with call_timeout.waiting():
            at = await slot
            await asyncio.sleep(at - loop.time())
        return loop.time() - begun

    async def _give(self, source: SourceName) -> None:
        """Give slots until no call waits; an error is raised in all that wait."""
        waiting = self._waiting[source]
        try:
            while waiting:
                while waiting and waiting[0].done():
                    waiting.popleft()  # cancelled
                await self._give_some(source)
        except Exception as error:
            for slot in waiting:
                if not slot.done():
                    slot.set_exception(error)
            waiting.clear()
        finally:
            del self._givers[source]

    async def _give_some(self, source: SourceName) -> None:
        rate, waiting = self._rates[source], self._waiting[source]
        wanted = min(len(waiting), max(int(rate * HORIZON), 1))
        if not wanted:
            return
        seconds = SPACING.get(source, 1.0) / rate
        interval = timedelta(seconds=seconds)
        delay = await store.take_slots(
            self._pool, source, wanted, interval, timedelta(seconds=HORIZON)
        )
        if delay is None:  # other replicas have taken all slots within the horizon
            await asyncio.sleep(HORIZON / 2)
            return
        first = asyncio.get_running_loop().time() + delay
        given = 0
        while given < wanted and waiting:
            slot = waiting.popleft()
            if not slot.done():
                slot.set_result(first + given * seconds)
                given += 1
