"""The RPCs that record: one entry, a batch, a stream of chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.admission.requests import Requests
from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.errors import InvalidArgument
from chassis.interceptor import Context
from chassis.outbox import Relay
from chassis.validation import violations_of, violations_of_batch
from services.activity.entries.batch import Batch, Window
from services.activity.recording import store
from services.activity.recording.recorder import Recorded, Recorder
from services.activity.recording.single_entries import SingleEntryRecorder

# Chunks of a stream that are appended in parallel.
MAX_CHUNKS = 4


class RecordingRpc:
    """Appends to the log of the caller's tenant."""

    def __init__(
        self, pool: Pool, relay: Relay, recorder: Recorder, window: Callable[[], Window]
    ) -> None:
        """`window` gives when an entry that is recorded now may have happened."""
        self._pool = pool
        self._relay = relay
        self._recorder = recorder
        self._single_entries = SingleEntryRecorder(recorder, window)
        self._window = window

    async def RecordActivity(
        self, request: pb.RecordActivityRequest, context: Context
    ) -> pb.RecordActivityResponse:
        """Append one entry."""
        if not request.HasField("activity"):
            raise InvalidArgument.of(violations_of(request))
        return await self._single_entries.append(current_caller().tenant_id, request.activity)

    async def RecordActivities(
        self, request: pb.RecordActivitiesRequest, context: Context
    ) -> pb.RecordActivitiesResponse:
        """Append a batch, all or what is valid."""
        tenant_id = current_caller().tenant_id
        partial = request.partial_success
        batch = await self._batch(request, partial=partial)
        if not request.request_id:
            return _response(await self._recorder.append(tenant_id, batch, partial=partial))
        return await self._append_idempotently(
            tenant_id,
            UUID(request.request_id),
            request,
            batch,
            partial=request.partial_success,
        )

    async def StreamActivities(
        self, requests: Requests[pb.StreamActivitiesRequest], context: Context
    ) -> AsyncIterator[pb.StreamActivitiesResponse]:
        """Append chunk after chunk, a few of them in parallel, and acknowledge them in order."""
        tenant_id = current_caller().tenant_id
        chunks: asyncio.Queue[asyncio.Task[pb.StreamActivitiesResponse] | None]
        chunks = asyncio.Queue(MAX_CHUNKS - 1)
        reader = asyncio.create_task(self._read_chunks(tenant_id, requests, chunks))
        total = 0
        try:
            while chunk := await chunks.get():
                response = await chunk
                total += response.recorded_count
                response.total_recorded_count = total
                yield response
            await reader  # raises what ended the reading early
        finally:
            reader.cancel()
            while not chunks.empty():
                left = chunks.get_nowait()
                if left:
                    left.cancel()

    async def _read_chunks(
        self,
        tenant_id: UUID,
        requests: Requests[pb.StreamActivitiesRequest],
        chunks: asyncio.Queue[asyncio.Task[pb.StreamActivitiesResponse] | None],
    ) -> None:
        try:
            async for request in requests:
                chunk = asyncio.create_task(self._append_chunk(tenant_id, request))
                chunk.add_done_callback(requests.keep())
                await chunks.put(chunk)
        finally:
            await chunks.put(None)

    async def _append_chunk(
        self, tenant_id: UUID, request: pb.StreamActivitiesRequest
    ) -> pb.StreamActivitiesResponse:
        batch = await self._batch(request, partial=True)
        answer = await self._append_idempotently(
            tenant_id, UUID(request.request_id), request, batch, partial=True
        )
        return pb.StreamActivitiesResponse(
            request_id=request.request_id,
            recorded_count=answer.recorded_count,
            duplicate_count=answer.duplicate_count,
            refused_entries=answer.refused_entries,
            is_repeat=answer.is_repeat,
        )

    async def _batch(
        self, request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest, *, partial: bool
    ) -> Batch:
        violations = await violations_of_batch(request, "activities", first_only=partial)
        return Batch.of(request.activities, violations, self._window())

    async def _append_idempotently(
        self,
        tenant_id: UUID,
        request_id: UUID,
        request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest,
        batch: Batch,
        *,
        partial: bool,
    ) -> pb.RecordActivitiesResponse:
        """Append a batch once, however often it is sent; its answer commits with the entries."""
        if batch.refused and not partial:
            raise batch.refusal()
        content = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()

        async def transaction() -> pb.RecordActivitiesResponse:
            async with tenant_transaction(self._pool, tenant_id) as connection:
                before = await store.find_answer(connection, tenant_id, request_id)
                if before:
                    return _repeat(before, content, request)
                answer = _response(
                    await self._recorder.append_in(connection, tenant_id, batch, partial=partial)
                )
                kept = _kept(answer, request)
                if not await store.save_answer(connection, tenant_id, request_id, content, kept):
                    raise _AnsweredMeanwhile
            self._relay.wake()
            return answer

        while True:
            try:
                return await self._recorder.covering(batch, transaction)
            except _AnsweredMeanwhile:
                continue
            except store.UNSTORABLE as error:
                batch = await self._recorder.without_unstorable(batch, error, partial=partial)


class _AnsweredMeanwhile(Exception):
    """Another call with the same request id was faster: its answer is the one to give."""


def _response(recorded: Recorded) -> pb.RecordActivitiesResponse:
    return pb.RecordActivitiesResponse(
        activity_ids=recorded.batch.activity_ids(),
        recorded_count=recorded.added_count,
        duplicate_count=len(recorded.duplicate_places),
        refused_entries=recorded.batch.refused_entries(),
    )


def _kept(
    answer: pb.RecordActivitiesResponse,
    request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest,
) -> bytes:
    """Return what is kept of an answer; ids that the request has are not kept twice."""
    if not all(each.activity_id for each in request.activities):
        return answer.SerializeToString()
    kept = pb.RecordActivitiesResponse()
    kept.CopyFrom(answer)
    kept.ClearField("activity_ids")
    return kept.SerializeToString()


def _repeat(
    before: asyncpg.Record,
    content: bytes,
    request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest,
) -> pb.RecordActivitiesResponse:
    if before["content_hash"] != content:
        text = "was used before for a request with other content"
        raise InvalidArgument.field("request_id", "request_id.taken", text)
    answer = pb.RecordActivitiesResponse.FromString(before["answer"])
    answer.is_repeat = True
    if not answer.activity_ids:
        refused = {each.index for each in answer.refused_entries}
        answer.activity_ids.extend(
            "" if place in refused else each.activity_id.lower()
            for place, each in enumerate(request.activities)
        )
    return answer
