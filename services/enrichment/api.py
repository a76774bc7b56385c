"""The RPCs of the enrichment service: which object serves each, its scope, its exceptions."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.admission.tenants import Load
from chassis.interceptor import Rpc
from services.enrichment.availability.rpc import AvailabilityRpc
from services.enrichment.erasure.rpc import ErasureRpc
from services.enrichment.intake.batch_rpc import BatchRpc
from services.enrichment.intake.estimate_rpc import EstimateRpc
from services.enrichment.intake.replay_rpc import ReplayRpc
from services.enrichment.intake.request_rpc import RequestRpc
from services.enrichment.intake.steer_rpc import SteerRpc
from services.enrichment.policy.rpc import PolicyRpc
from services.enrichment.policy.suppression_rpc import SuppressionRpc
from services.enrichment.reading.get_rpc import GetRpc
from services.enrichment.reading.list_rpc import ListRpc
from services.enrichment.reading.watch_rpc import WatchRpc


def rpcs(
    *,
    availability: AvailabilityRpc,
    batch: BatchRpc,
    erasure: ErasureRpc,
    estimate: EstimateRpc,
    get: GetRpc,
    list: ListRpc,
    policy: PolicyRpc,
    replay: ReplayRpc,
    request: RequestRpc,
    steer: SteerRpc,
    suppression: SuppressionRpc,
    watch: WatchRpc,
) -> Mapping[str, Rpc]:
    """Return the table; promises stand in the contract."""
    return {
        "RequestEnrichment": Rpc(request.RequestEnrichment, "enrichment:write"),
        "BatchRequestEnrichments": Rpc(
            batch.BatchRequestEnrichments, "enrichment:write", validates_itself=True
        ),
        "WatchEnrichment": Rpc(watch.WatchEnrichment, "enrichment:read"),
        "WatchBatch": Rpc(batch.WatchBatch, "enrichment:read"),
        "GetProspect": Rpc(get.GetProspect, "enrichment:read"),
        "ListProspects": Rpc(list.ListProspects, "enrichment:read"),
        "EraseProspect": Rpc(erasure.EraseProspect, "enrichment:admin"),
        "GetRun": Rpc(get.GetRun, "enrichment:read"),
        "ListRuns": Rpc(list.ListRuns, "enrichment:read"),
        "RetrySource": Rpc(steer.RetrySource, "enrichment:write"),
        "CancelRun": Rpc(steer.CancelRun, "enrichment:write"),
        "ReplayRuns": Rpc(replay.ReplayRuns, "enrichment:write"),
        "EstimateEnrichment": Rpc(estimate.EstimateEnrichment, "enrichment:read", Load.EXPENSIVE),
        "ListSources": Rpc(availability.ListSources, "enrichment:read"),
        "PauseSource": Rpc(availability.PauseSource, "enrichment:operate"),
        "GetPolicy": Rpc(policy.GetPolicy, "enrichment:read"),
        "UpdatePolicy": Rpc(policy.UpdatePolicy, "enrichment:admin"),
        "Suppress": Rpc(suppression.Suppress, "enrichment:admin", Load.EXPENSIVE),
        "Unsuppress": Rpc(suppression.Unsuppress, "enrichment:admin", Load.EXPENSIVE),
    }
