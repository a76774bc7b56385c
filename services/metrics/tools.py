"""What the parts of the API stand on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from chassis.clock import Clock
from chassis.database import Pool
from chassis.outbox import Relay
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.usage.today import Today


@dataclass(frozen=True, slots=True)
class Tools:
    """The pool, the relay, what rebuilds, what reads today, and the clock."""

    pool: Pool
    relay: Relay
    rebuilder: Rebuilder
    today: Today
    clock: Clock
    stopping: asyncio.Event
    # How many exports may run at once: each holds a connection for as long as its client reads.
    exports: asyncio.Semaphore
