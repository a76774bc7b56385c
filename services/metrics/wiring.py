"""The composition root of the metrics service."""

from __future__ import annotations

import asyncio

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import utc_now
from chassis.service import Foundation, Parts, Topology
from services import topology
from services.metrics import events
from services.metrics.api import rpcs
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.dead_letters import dead_letters
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.schedule import Schedule
from services.metrics.settings import Settings
from services.metrics.sql import SQL
from services.metrics.tools import Tools
from services.metrics.usage.today import Today

TOPOLOGY = Topology(
    topology.STREAMS, (topology.ACTIVITY_RECORDED, topology.DAILY, topology.METRICS_ERASED)
)


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    await foundation.pool.execute(SQL.drop_old_shadows)
    log = ActivityLog(
        settings.activity_address, settings.activity_token_file, settings.activity_ca_file
    )
    rebuilder = Rebuilder(
        foundation.pool,
        log,
        lambda: events.wait_applied(foundation.nats),
        lambda tenant_id: dead_letters(foundation.nats, tenant_id),
    )
    tools = Tools(
        pool=foundation.pool,
        relay=foundation.relay,
        rebuilder=rebuilder,
        today=Today(foundation.pool, utc_now),
        clock=utc_now,
        stopping=foundation.stopping,
        exports=asyncio.Semaphore(foundation.pool.get_max_size() // 2),
    )
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["MetricsService"],
        rpcs=rpcs(tools),
        handlers=events.handlers(tools),
        loops=(Schedule(foundation.nats).run,),
        close=(log.close,),
    )
