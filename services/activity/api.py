"""The RPCs of the activity service, each in the file of its noun; the contract has the promises."""

from __future__ import annotations

from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from services.activity.audit.rpc import Auditing
from services.activity.proof.rpc import Proving
from services.activity.reading.count_rpc import Counting
from services.activity.reading.export_rpc import Exporting
from services.activity.reading.rpc import Reading
from services.activity.reading.tail_rpc import Tailing
from services.activity.recording.rpc import Recording
from services.activity.retention.erase_rpc import Erasing
from services.activity.retention.rpc import Retaining
from services.activity.tools import Tools

SCOPES = {
    "RecordActivity": "activity:write",
    "RecordActivities": "activity:write",
    "StreamActivities": "activity:write",
    "GetActivity": "activity:read",
    "ListActivities": "activity:read",
    "CountActivities": "activity:read",
    "TailActivities": "activity:read",
    "ExportActivities": "activity:read",
    "GetCheckpoint": "activity:read",
    "GetLogProof": "activity:read",
    "VerifyLog": "activity:read",
    "EraseUser": "activity:admin",
    "GetRetention": "activity:read",
    "UpdateRetention": "activity:admin",
    "ListPartitions": "activity:audit",
    "ListDayDigests": "activity:audit",
    "CountDay": "activity:audit",
    "StreamDayCounts": "activity:audit",
}
# What records batches checks each entry by itself, so that the good ones can stand.
CHECK_THEMSELVES = frozenset({"RecordActivity", "RecordActivities", "StreamActivities"})


class ActivityApi(
    Recording,
    Reading,
    Counting,
    Tailing,
    Exporting,
    Proving,
    Erasing,
    Retaining,
    Auditing,
    grpc_api.ActivityServiceServicer,
):
    """Serves the log of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
