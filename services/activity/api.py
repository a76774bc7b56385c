"""The RPCs of the activity service: which object serves each, its scope, its exceptions."""

from __future__ import annotations

from collections.abc import Mapping

from chassis.admission.tenants import Load
from chassis.interceptor import Rpc
from services.activity.audit.rpc import AuditRpc
from services.activity.proof.rpc import ProofRpc
from services.activity.reading.count_rpc import CountRpc
from services.activity.reading.export_rpc import ExportRpc
from services.activity.reading.rpc import ReadingRpc
from services.activity.reading.tail_rpc import TailRpc
from services.activity.recording.rpc import RecordingRpc
from services.activity.retention.erase_rpc import EraseRpc
from services.activity.retention.rpc import RetentionRpc


def rpcs(
    recording: RecordingRpc,
    reading: ReadingRpc,
    count: CountRpc,
    tail: TailRpc,
    export: ExportRpc,
    proof: ProofRpc,
    erase: EraseRpc,
    retention: RetentionRpc,
    audit: AuditRpc,
) -> Mapping[str, Rpc]:
    """Return the table; promises stand in the contract."""
    return {
        "RecordActivity": Rpc(recording.RecordActivity, "activity:write", validates_itself=True),
        "RecordActivities": Rpc(
            recording.RecordActivities, "activity:write", validates_itself=True
        ),
        "StreamActivities": Rpc(
            recording.StreamActivities, "activity:write", validates_itself=True
        ),
        "GetActivity": Rpc(reading.GetActivity, "activity:read"),
        "ListActivities": Rpc(reading.ListActivities, "activity:read"),
        "CountActivities": Rpc(count.CountActivities, "activity:read", Load.EXPENSIVE),
        "TailActivities": Rpc(tail.TailActivities, "activity:read"),
        "ExportActivities": Rpc(export.ExportActivities, "activity:read", Load.EXPENSIVE),
        "GetCheckpoint": Rpc(proof.GetCheckpoint, "activity:read"),
        "GetLogProof": Rpc(proof.GetLogProof, "activity:read"),
        "VerifyLog": Rpc(proof.VerifyLog, "activity:read", Load.EXPENSIVE),
        "EraseUser": Rpc(erase.EraseUser, "activity:admin"),
        "GetRetention": Rpc(retention.GetRetention, "activity:read"),
        "UpdateRetention": Rpc(retention.UpdateRetention, "activity:admin"),
        "ListPartitions": Rpc(retention.ListPartitions, "activity:audit"),
        "ListDayDigests": Rpc(audit.ListDayDigests, "activity:audit", Load.EXPENSIVE),
        "CountDay": Rpc(audit.CountDay, "activity:audit", Load.EXPENSIVE),
        "StreamDayCounts": Rpc(audit.StreamDayCounts, "activity:audit", Load.EXPENSIVE),
    }
