"""The composition root of the activity service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api
from pydantic import Field

from chassis.clock import utc_now
from chassis.service import Foundation, Parts, Topology
from chassis.settings import ServiceSettings, SettingsError
from services import topology
from services.activity import checkpoint, events
from services.activity.api import CHECK_THEMSELVES, SCOPES, ActivityApi
from services.activity.keeping import Keeper
from services.activity.partitions import Partitions
from services.activity.recorder import Recorder
from services.activity.sealing import Sealer
from services.activity.tools import Tools

FOLDER = Path(__file__).parent
TOPOLOGY = Topology(topology.STREAMS, (topology.ENRICH_COMPLETED,))


class Settings(ServiceSettings):
    """What the activity service reads beside the common settings."""

    retention_days: int = Field(395, ge=31, description="how long the log is kept (activity)")
    log_signing_key_file: Path = Field(
        description="PEM Ed25519 private key that signs the log's checkpoints"
    )


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    signing_key = _signing_key(settings.log_signing_key_file)
    partitions = Partitions(foundation.pool, utc_now)
    await partitions.make_ahead()
    tools = Tools(
        pool=foundation.pool,
        relay=foundation.relay,
        nats=foundation.nats,
        partitions=partitions,
        recorder=Recorder(foundation.pool, foundation.relay, partitions),
        clock=utc_now,
        retention=timedelta(days=settings.retention_days),
        log_key=signing_key.public_key(),
    )
    api = ActivityApi(tools)  # type: ignore[abstract]
    return Parts(
        add_to=lambda server: grpc_api.add_ActivityServiceServicer_to_server(api, server),
        full_name=pb.DESCRIPTOR.services_by_name["ActivityService"].full_name,
        scopes=SCOPES,
        check_themselves=CHECK_THEMSELVES,
        handlers=events.handlers(foundation.pool, foundation.relay, partitions),
        loops=(
            Keeper(foundation.pool, partitions, utc_now).run,
            Sealer(foundation.pool, signing_key, utc_now).run,
        ),
    )


def _signing_key(path: Path) -> Ed25519PrivateKey:
    try:
        return checkpoint.private_key(path.read_bytes())
    except checkpoint.KeyFileError as error:
        raise SettingsError(f"PROSPECT_LOG_SIGNING_KEY_FILE: {path} {error}") from None
    except OSError as error:
        raise SettingsError(f"PROSPECT_LOG_SIGNING_KEY_FILE: {error}") from None
