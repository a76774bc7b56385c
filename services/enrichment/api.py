"""The RPCs of the enrichment service, each in the file of its noun; the contract promises."""

from __future__ import annotations

from prospect.enrichment.v1 import enrichment_service_pb2_grpc as grpc_api

from services.enrichment.availability.rpc import Operating
from services.enrichment.erasure.rpc import Erasing
from services.enrichment.intake.batch_rpc import Batching
from services.enrichment.intake.estimate_rpc import Estimating
from services.enrichment.intake.replay_rpc import Replaying
from services.enrichment.intake.request_rpc import Requesting
from services.enrichment.intake.steer_rpc import Controlling
from services.enrichment.policy.rpc import Policing
from services.enrichment.policy.suppression_rpc import Suppressing
from services.enrichment.reading.get_rpc import Reading
from services.enrichment.reading.list_rpc import Listing
from services.enrichment.reading.watch_rpc import Watching
from services.enrichment.tools import Tools

SCOPES = {
    "RequestEnrichment": "enrichment:write",
    "BatchRequestEnrichments": "enrichment:write",
    "WatchEnrichment": "enrichment:read",
    "WatchBatch": "enrichment:read",
    "GetProspect": "enrichment:read",
    "ListProspects": "enrichment:read",
    "EraseProspect": "enrichment:admin",
    "GetRun": "enrichment:read",
    "ListRuns": "enrichment:read",
    "RetrySource": "enrichment:write",
    "CancelRun": "enrichment:write",
    "ReplayRuns": "enrichment:write",
    "EstimateEnrichment": "enrichment:read",
    "ListSources": "enrichment:read",
    "PauseSource": "enrichment:operate",
    "GetPolicy": "enrichment:read",
    "UpdatePolicy": "enrichment:admin",
    "Suppress": "enrichment:admin",
    "Unsuppress": "enrichment:admin",
}
# Its chunks are checked request by request, so that the good ones can stand.
CHECK_THEMSELVES = frozenset({"BatchRequestEnrichments"})


class EnrichmentApi(
    Requesting,
    Reading,
    Watching,
    Batching,
    Listing,
    Controlling,
    Replaying,
    Estimating,
    Operating,
    Policing,
    Suppressing,
    Erasing,
    grpc_api.EnrichmentServiceServicer,
):
    """Serves the prospects of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
