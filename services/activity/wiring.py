"""The composition root of the activity service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.admission.gate import Gate
from chassis.admission.tenants import Tenants
from chassis.database import Patience, open_pool
from chassis.service import Foundation, Parts
from chassis.settings import SettingsError
from services import topology
from services.activity import events, sql
from services.activity.api import rpcs
from services.activity.audit.rpc import AuditRpc
from services.activity.entries.actions import ActionNumbers
from services.activity.entries.batch import Window
from services.activity.entries.encoding import EntryEncoder
from services.activity.months.partitions import Partitions
from services.activity.proof.checkpoint import KeyFileError, private_key, public_keys
from services.activity.proof.rpc import ProofRpc
from services.activity.proof.sealer import Sealer
from services.activity.reading.count_rpc import CountRpc
from services.activity.reading.export_rpc import ExportRpc
from services.activity.reading.rpc import ReadingRpc
from services.activity.reading.tail_rpc import TailRpc
from services.activity.recording.recorder import Recorder
from services.activity.recording.rpc import RecordingRpc
from services.activity.retention.erase_rpc import EraseRpc
from services.activity.retention.keeper import Keeper
from services.activity.retention.rpc import RetentionRpc
from services.activity.settings import Settings

T = TypeVar("T")
TOPOLOGY = topology.ACTIVITY


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    pool, relay, token_keys = foundation.pool, foundation.relay, foundation.token_keys
    signing_key = _key("LOG_SIGNING_KEY_FILE", settings.log_signing_key_file, private_key)
    former = settings.log_former_keys_file
    former_keys = _key("LOG_FORMER_KEYS_FILE", former, public_keys) if former else ()
    retention = timedelta(days=settings.retention_days)
    partitions = Partitions(pool, pool.now)
    await partitions.make_ahead()
    actions = ActionNumbers()
    pages = await open_pool(
        settings.postgres_dsn.get_secret_value(),
        schema="activity",
        size=settings.postgres_reading_pool_size,
        plans=sql.IN_ORDER,
        init=EntryEncoder(actions).prepare,
        tls=foundation.postgres_tls,
        patience=Patience.of(settings),
    )
    broken_off = asyncio.Event()

    def window() -> Window:
        return Window.at(pool.now(), retention)

    recorder = Recorder(pool, relay, partitions)
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["ActivityService"],
        rpcs=rpcs(
            recording=RecordingRpc(pool, relay, recorder, window),
            reading=ReadingRpc(pages, actions, token_keys),
            count=CountRpc(pool, actions, token_keys),
            tail=TailRpc(
                pages,
                actions,
                foundation.nats,
                foundation.stopping,
                settings.tail_backlog_bytes,
                Gate("unread_bytes", settings.tails_backlog_bytes),
                Tenants(settings.tenant_share),
                settings.tail_rest_seconds,
                token_keys,
            ),
            export=ExportRpc(pool, relay, partitions, pool.now, retention),
            proof=ProofRpc(pool, pool.now, retention, (signing_key.public_key(), *former_keys)),
            erase=EraseRpc(pool, foundation.nats, relay, pool.now, broken_off),
            retention=RetentionRpc(pool, pool.now, retention),
            audit=AuditRpc(pool, actions, pool.now, retention),
        ),
        handlers=events.handlers(pool, relay, partitions, window),
        loops=(
            Keeper(pool, foundation.nats, partitions, pool.now, broken_off).run,
            Sealer(pool, signing_key, pool.now, former_keys).run,
        ),
        close=(pages.close,),
    )


def _key(name: str, path: Path, read: Callable[[bytes], T]) -> T:
    """Read keys from a file; raise SettingsError, which names the setting, where it has none."""
    try:
        return read(path.read_bytes())
    except KeyFileError as error:
        raise SettingsError(f"PROSPECT_{name}: {path} {error}") from None
    except OSError as error:
        raise SettingsError(f"PROSPECT_{name}: {error}") from None
