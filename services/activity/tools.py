"""What the RPCs of the activity service are built from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from nats.aio.client import Client

from chassis.clock import Clock
from chassis.database import Pool
from chassis.outbox import Relay
from services.activity.entries.batch import Window
from services.activity.months.partitions import Partitions
from services.activity.recording.recorder import Recorder
from services.activity.recording.single_entries import Singles


@dataclass(frozen=True, slots=True)
class Tools:
    """One of each for the process."""

    pool: Pool
    # For pages and single entries.
    reading: Pool
    relay: Relay
    nats: Client
    partitions: Partitions
    recorder: Recorder
    singles: Singles
    # When an entry that is recorded now may have happened.
    window: Callable[[], Window]
    clock: Clock
    retention: timedelta
    stopping: asyncio.Event
    tail_backlog_bytes: int
    tail_rest_seconds: float
    # How many exports may run at once.
    exports: asyncio.Semaphore
    # The keys that checkpoints may be signed with, the one that signs now first.
    log_keys: tuple[Ed25519PublicKey, ...]
    # A verification holds a connection for as long as it takes: two at a time leave others some.
    verifying: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(2))
    # Set where a call left an erasure unfinished: the keeper goes on with it.
    broken_off: asyncio.Event = field(default_factory=asyncio.Event)
