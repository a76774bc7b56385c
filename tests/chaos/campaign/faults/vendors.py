"""The sources misbehave as their vendors do."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

import httpx

from tests.chaos.campaign.cluster import Cluster
from tests.chaos.campaign.faults.table import fault

VENDOR_FAULTS = (
    ("contactout", "status", 503), ("contactout", "hang", None), ("contactout", "lost", None),
    ("exa", "retry_after", 2), ("exa", "cut", None), ("exa", "malformed", None),
    ("sec", "status", 500), ("sec", "html", None), ("claude", "status", 529),
    ("claude", "truncate", None), ("claude", "hang", None),
)  # fmt: skip


@fault((0, 2))
async def vendors_misbehave(cluster: Cluster, dice: random.Random) -> AsyncIterator[None]:
    async with httpx.AsyncClient(base_url=cluster.sandbox_url) as sandbox:
        for source, kind, value in dice.sample(VENDOR_FAULTS, 4):
            order = {"source": source, "kind": kind, "value": value, "times": dice.randint(1, 4)}
            answer = await sandbox.post("/_sandbox/faults", json=order)
            assert answer.status_code == 201, answer.text
    yield
