"""The composition root of the metrics service."""

from __future__ import annotations

from functools import partial

from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.identity.certificates import PemFiles
from chassis.identity.channel import RereadingChannel
from chassis.service import Foundation, Parts
from chassis.settings import SettingsError
from services import topology
from services.metrics import events
from services.metrics.api import rpcs
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.dead_letters import dead_letters
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.retried_events import has_retried_events
from services.metrics.proof.schedule import Schedule
from services.metrics.settings import Settings
from services.metrics.sql import SQL

TOPOLOGY = topology.METRICS


async def build(foundation: Foundation, settings: Settings) -> Parts:
    """Put the service together."""
    pool, relay = foundation.pool, foundation.relay
    await pool.execute(SQL.drop_old_shadows)
    log = _activity_log(settings)
    rebuilder = Rebuilder(
        pool,
        log,
        partial(events.wait_applied, foundation.nats),
        lambda tenant_id: dead_letters(foundation.nats, tenant_id),
        lambda tenant_id: has_retried_events(foundation.nats, pool, tenant_id),
    )
    return Parts(
        service=pb.DESCRIPTOR.services_by_name["MetricsService"],
        rpcs=rpcs(pool, relay, rebuilder, pool.now, foundation.stopping, foundation.token_keys),
        handlers=events.handlers(pool, foundation.nats, relay, rebuilder, pool.now),
        loops=(Schedule(foundation.nats, foundation.streams.renewed).run,),
        close=(log.close,),
    )


def _activity_log(settings: Settings) -> ActivityLog:
    files = PemFiles.of(settings, "activity")
    if not (settings.activity_token_file or files.certificate):
        text = "neither PROSPECT_ACTIVITY_TOKEN_FILE nor PROSPECT_ACTIVITY_CERTIFICATE_FILE is set"
        raise SettingsError(text)
    channel = RereadingChannel(settings.activity_address, files)
    return ActivityLog(channel, settings.activity_token_file)
