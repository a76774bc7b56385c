"""Single entries: what many callers send one by one is checked and recorded as one batch.

What is done for a whole group at once costs a fraction of what it costs call by call. So a group
waits a little for more, where others wait already.
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
from services.activity.recording.recorder import LINGER_SECONDS, MOST_TOGETHER, Recorder

Answer = pb.RecordActivityResponse


class Singles:
    """Records entries of a tenant that come one by one; each has its own answer and error."""

    def __init__(self, recorder: Recorder, window: Callable[[], Window]) -> None:
        self._recorder = recorder
        self._window = window
        self._groups: GroupCommit[pb.NewActivity, Answer] = GroupCommit(
            self._commit, MOST_TOGETHER, max_parallel=1, linger_seconds=LINGER_SECONDS
        )

    async def record(self, tenant_id: UUID, activity: pb.NewActivity) -> Answer:
        """Return after COMMIT; raise InvalidArgument for an entry that breaks a rule."""
        if not (activity.activity_id or activity.HasField("created_at")):
            # It happened when it came, and not when its group is recorded.
            activity.created_at.FromMicroseconds(self._window().now)
        return await self._groups.submit(tenant_id, activity)

    async def _commit(
        self, tenant_id: UUID, group: Sequence[pb.NewActivity]
    ) -> Sequence[Answer | Exception]:
        try:
            return await self._record_batch(tenant_id, group)
        except TRANSIENT:
            raise
        except Exception as error:  # whatever is wrong with one, the others are recorded
            if len(group) == 1:
                return [error]
            return [(await self._commit(tenant_id, [each]))[0] for each in group]

    async def _record_batch(
        self, tenant_id: UUID, group: Sequence[pb.NewActivity]
    ) -> Sequence[Answer | Exception]:
        request = pb.RecordActivitiesRequest(activities=group)
        batch = Batch(request.activities, violations_of(request), self._window())
        await self._recorder.record_alone(tenant_id, batch, partial=True)
        return [
            _refusal(batch.refused[place])
            if place in batch.refused
            else Answer(activity_id=activity_id, duplicate=place in batch.duplicates)
            for place, activity_id in enumerate(batch.activity_ids())
        ]


def _refusal(faults: Sequence[FieldViolation]) -> InvalidArgument:
    return InvalidArgument.of(
        [FieldViolation(f"activity.{each.field}", each.rule, each.message) for each in faults]
    )
