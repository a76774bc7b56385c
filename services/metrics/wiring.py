"""The composition root of the metrics service."""

from __future__ import annotations

from pathlib import Path

from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as grpc_api
from pydantic import Field

from chassis.service import Foundation, Parts, Topology
from chassis.settings import ServiceSettings
from services import topology
from services.metrics import events
from services.metrics.activity_log import ActivityLog
from services.metrics.api import SCOPES, MetricsApi

FOLDER = Path(__file__).parent
TOPOLOGY = Topology(topology.STREAMS, (topology.ACTIVITY_RECORDED, topology.DAILY))


class Settings(ServiceSettings):
    """What the metrics service reads beside the common settings."""

    activity_address: str = Field(description="host:port of the activity service (metrics)")
    activity_token_file: Path = Field(
        description="file with a token that has the scope activity:audit (metrics)"
    )
    activity_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed activity's certificate (metrics)"
    )


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    log = ActivityLog(
        settings.activity_address, settings.activity_token_file, settings.activity_ca_file
    )
    api = MetricsApi(foundation.pool)
    return Parts(
        add_to=lambda server: grpc_api.add_MetricsServiceServicer_to_server(api, server),
        full_name=pb.DESCRIPTOR.services_by_name["MetricsService"].full_name,
        scopes=SCOPES,
        handlers=events.handlers(foundation.pool, foundation.nats, log),
        close=(log.close,),
    )
