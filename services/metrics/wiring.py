"""The composition root of the metrics service."""

from __future__ import annotations

from prospect.metrics.v1 import metrics_service_pb2 as pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as grpc_api

from chassis.service import Foundation, Parts, Topology
from services import topology
from services.metrics import events
from services.metrics.activity_log import ActivityLog
from services.metrics.api import SCOPES, MetricsApi
from services.metrics.settings import Settings

TOPOLOGY = Topology(topology.STREAMS, (topology.ACTIVITY_RECORDED, topology.DAILY))


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
