"""The table of faults: a row is a function that breaks something for as long as it is held."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from tests.chaos.campaign.cluster import Cluster

Held = AbstractAsyncContextManager[None]
Strike = Callable[[Cluster, random.Random], AsyncIterator[None]]


@dataclass(frozen=True, slots=True)
class Fault:
    """What a fault is called, how it is made, and for how many seconds it is held."""

    name: str
    strike: Callable[[Cluster, random.Random], Held]
    seconds: tuple[float, float]


FAULTS: list[Fault] = []


def fault(seconds: tuple[float, float] = (0, 0)) -> Callable[[Strike], Strike]:
    """Add a row to the table of faults, named after its function."""

    def add(strike: Strike) -> Strike:
        name = strike.__name__.replace("_", " ")
        FAULTS.append(Fault(name, asynccontextmanager(strike), seconds))
        return strike

    return add


def drawn_from(names: Sequence[str]) -> list[Fault]:
    """Return the faults whose names contain one of these, or all."""
    return [each for each in FAULTS if not names or any(name in each.name for name in names)]
