"""What the parts of the API stand on."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.clock import Clock, utc_now
from chassis.database import Pool
from chassis.outbox import Relay
from services.metrics.rebuilding import Rebuilder


@dataclass(frozen=True, slots=True)
class Tools:
    """The pool, the relay, what rebuilds, and the clock."""

    pool: Pool
    relay: Relay
    rebuilder: Rebuilder
    clock: Clock = utc_now
