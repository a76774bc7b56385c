"""The RPCs of the metrics service: which object serves each, its scope, its exceptions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from chassis.admission.tenants import Load
from chassis.clock import Clock
from chassis.database import Pool
from chassis.interceptor import Rpc
from chassis.outbox import Relay
from chassis.tokens import TokenKeys
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.rpc import ProofRpc
from services.metrics.quotas.rpc import QuotasRpc
from services.metrics.usage.calendar import Calendar
from services.metrics.usage.export_rpc import ExportRpc
from services.metrics.usage.get_rpc import GetRpc
from services.metrics.usage.summary_rpc import SummaryRpc
from services.metrics.usage.time_zone_rpc import TimeZoneRpc
from services.metrics.usage.today import Today
from services.metrics.usage.watch_rpc import WatchRpc


def rpcs(
    pool: Pool,
    relay: Relay,
    rebuilder: Rebuilder,
    clock: Clock,
    stopping: asyncio.Event,
    token_keys: TokenKeys,
) -> Mapping[str, Rpc]:
    """Return the table; what each RPC promises stands in the contract."""
    proof = ProofRpc(rebuilder, relay)
    quotas = QuotasRpc(pool, relay, clock)
    export = ExportRpc(pool)
    calendar = Calendar()
    get = GetRpc(pool, token_keys, calendar)
    summary = SummaryRpc(pool, token_keys, calendar)
    time_zone = TimeZoneRpc(pool)
    watch = WatchRpc(Today(pool, clock), stopping, token_keys)
    return {
        "GetUsage": Rpc(get.GetUsage, "metrics:read"),
        "GetTenantSummary": Rpc(summary.GetTenantSummary, "metrics:read"),
        "ListTopUsers": Rpc(summary.ListTopUsers, "metrics:read"),
        "WatchUsage": Rpc(watch.WatchUsage, "metrics:read"),
        "ExportUsage": Rpc(export.ExportUsage, "metrics:read", Load.EXPENSIVE),
        "CheckQuota": Rpc(quotas.CheckQuota, "metrics:read"),
        "ListQuotas": Rpc(quotas.ListQuotas, "metrics:read"),
        "GetSettings": Rpc(time_zone.GetSettings, "metrics:read"),
        "SetQuota": Rpc(quotas.SetQuota, "metrics:admin"),
        "DeleteQuota": Rpc(quotas.DeleteQuota, "metrics:admin"),
        "SetTimeZone": Rpc(time_zone.SetTimeZone, "metrics:admin", no_deadline=True),
        "VerifyUsage": Rpc(proof.VerifyUsage, "metrics:audit", Load.EXPENSIVE),
        "RebuildUsage": Rpc(proof.RebuildUsage, "metrics:audit", Load.EXPENSIVE, no_deadline=True),
    }
