"""Single entries: those that many callers send one by one are checked and appended as one batch.

Work for a whole group costs a fraction of what it costs call by call. So where callers wait
already, a group waits a little for more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.errors import FieldViolation, InvalidArgument
from chassis.group_commit import GroupCommit
from chassis.transient import TRANSIENT
from chassis.validation import violations_of
from services.activity.entries.batch import Batch, Window
from services.activity.recording.recorder import LINGER_SECONDS, MAX_GROUP, Recorder

Answer = pb.RecordActivityResponse


class SingleEntryRecorder:
    """Appends entries that come one by one; each caller gets its own answer or error."""

    def __init__(self, recorder: Recorder, window: Callable[[], Window]) -> None:
        self._recorder = recorder
        self._window = window
        self._groups: GroupCommit[pb.NewActivity, Answer] = GroupCommit(
            self._commit, MAX_GROUP, max_parallel=1, linger_seconds=LINGER_SECONDS
        )

    async def append(self, tenant_id: UUID, activity: pb.NewActivity) -> Answer:
        """Return after COMMIT; raise InvalidArgument for an entry that breaks a rule."""
        if not (activity.activity_id or activity.HasField("created_at")):
            # It happened when its call came, not when its group is committed.
            activity.created_at.FromMicroseconds(self._window().now)
        return await self._groups.submit(tenant_id, activity)

    async def _commit(
        self, tenant_id: UUID, group: Sequence[pb.NewActivity]
    ) -> Sequence[Answer | Exception]:
        try:
            return await self._append_group(tenant_id, group)
        except TRANSIENT:
            raise
        except Exception as error:  # whatever is wrong with one entry, the others are appended
            if len(group) == 1:
                return [error]
            return [(await self._commit(tenant_id, [each]))[0] for each in group]

    async def _append_group(
        self, tenant_id: UUID, group: Sequence[pb.NewActivity]
    ) -> Sequence[Answer | Exception]:
        request = pb.RecordActivitiesRequest(activities=group)
        batch = Batch.of(request.activities, violations_of(request), self._window())
        recorded = await self._recorder.append_now(tenant_id, batch, partial=True)
        refused, duplicates = recorded.batch.refused, recorded.duplicate_places
        return [
            _refusal(refused[place])
            if place in refused
            else Answer(activity_id=activity_id, duplicate=place in duplicates)
            for place, activity_id in enumerate(recorded.batch.activity_ids())
        ]


def _refusal(faults: Sequence[FieldViolation]) -> InvalidArgument:
    return InvalidArgument.of(
        [FieldViolation(f"activity.{each.field}", each.rule, each.message) for each in faults]
    )
