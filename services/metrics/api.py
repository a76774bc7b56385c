"""The RPCs of the metrics service; promises stand in metrics_service.proto."""

from __future__ import annotations

from prospect.metrics.v1 import metrics_service_pb2_grpc as grpc_api

from services.metrics.proof.rpc import Auditing
from services.metrics.quotas.rpc import Quotas
from services.metrics.tools import Tools
from services.metrics.usage.export_rpc import Exporting
from services.metrics.usage.get_rpc import Reading
from services.metrics.usage.summary_rpc import Summarizing
from services.metrics.usage.time_zone_rpc import Zones
from services.metrics.usage.watch_rpc import Watching

# VerifyUsage and RebuildUsage work across tenants; every other RPC is the token's tenant's own.
SCOPES = {
    "GetUsage": "metrics:read",
    "GetTenantSummary": "metrics:read",
    "ListTopUsers": "metrics:read",
    "WatchUsage": "metrics:read",
    "ExportUsage": "metrics:read",
    "CheckQuota": "metrics:read",
    "ListQuotas": "metrics:read",
    "GetSettings": "metrics:read",
    "SetQuota": "metrics:admin",
    "DeleteQuota": "metrics:admin",
    "SetTimeZone": "metrics:admin",
    "VerifyUsage": "metrics:audit",
    "RebuildUsage": "metrics:audit",
}
# What counts anew takes as long as there is much to count; it ends with its caller.
LASTING = frozenset({"SetTimeZone", "RebuildUsage"})


class MetricsApi(
    Reading,
    Summarizing,
    Watching,
    Exporting,
    Quotas,
    Zones,
    Auditing,
    grpc_api.MetricsServiceServicer,
):
    """Serves usage, quotas and settings, and their audit."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
