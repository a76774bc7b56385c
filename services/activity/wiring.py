"""The composition root of the activity service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.clock import utc_now
from chassis.database import open_pool
from chassis.service import Foundation, Parts, Topology
from chassis.settings import SettingsError
from services import topology
from services.activity import events, sql
from services.activity.api import rpcs
from services.activity.entries.batch import Window
from services.activity.entries.encoding import write_entries
from services.activity.months.partitions import Partitions
from services.activity.proof.checkpoint import KeyFileError, private_key, public_keys
from services.activity.proof.sealer import Sealer
from services.activity.recording.recorder import Recorder
from services.activity.recording.single_entries import Singles
from services.activity.retention.keeper import Keeper
from services.activity.settings import Settings
from services.activity.tools import Tools

T = TypeVar("T")
TOPOLOGY = Topology(topology.STREAMS, (topology.ENRICH_COMPLETED,))


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    signing_key = _key("LOG_SIGNING_KEY_FILE", settings.log_signing_key_file, private_key)
    former = settings.log_former_keys_file
    former_keys = _key("LOG_FORMER_KEYS_FILE", former, public_keys) if former else ()
    partitions = Partitions(foundation.pool, utc_now)
    await partitions.make_ahead()
    recorder = Recorder(foundation.pool, foundation.relay, partitions)
    reading = await open_pool(
        settings.postgres_dsn.get_secret_value(),
        schema="activity",
        size=settings.postgres_reading_pool_size,
        plans=sql.IN_ORDER,
        init=write_entries,
    )
    retention = timedelta(days=settings.retention_days)

    def window() -> Window:
        return Window.at(utc_now(), retention)

    tools = Tools(
        pool=foundation.pool,
        reading=reading,
        relay=foundation.relay,
        nats=foundation.nats,
        partitions=partitions,
        recorder=recorder,
        singles=Singles(recorder, window),
        window=window,
        clock=utc_now,
        retention=retention,
        stopping=foundation.stopping,
        tail_backlog_bytes=settings.tail_backlog_bytes,
        tail_rest_seconds=settings.tail_rest_seconds,
        exports=asyncio.Semaphore(foundation.pool.get_max_size() // 2),
        log_keys=(signing_key.public_key(), *former_keys),
    )
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["ActivityService"],
        rpcs=rpcs(tools),
        handlers=events.handlers(foundation.pool, foundation.relay, partitions, window),
        loops=(
            Keeper(foundation.pool, partitions, utc_now, tools.broken_off).run,
            Sealer(foundation.pool, signing_key, utc_now, former_keys).run,
        ),
        close=(reading.close,),
    )


def _key(name: str, path: Path, read: Callable[[bytes], T]) -> T:
    """Read keys from a file, or say in one line which setting names no such file."""
    try:
        return read(path.read_bytes())
    except KeyFileError as error:
        raise SettingsError(f"PROSPECT_{name}: {path} {error}") from None
    except OSError as error:
        raise SettingsError(f"PROSPECT_{name}: {error}") from None
