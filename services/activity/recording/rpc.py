"""The RPCs that record: one entry, a batch, a stream of chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import asyncpg
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.database import tenant_transaction
from chassis.errors import FieldViolation, InvalidArgument
from chassis.interceptor import Context
from chassis.validation import violations_of
from services.activity.entries.batch import Batch
from services.activity.recording import store
from services.activity.tools import Tools

CHUNKS_IN_HAND = 4


class RecordingRpc:
    """Appends to the log of the tenant in the token."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def RecordActivity(
        self, request: pb.RecordActivityRequest, context: Context
    ) -> pb.RecordActivityResponse:
        """Append one entry."""
        if not request.HasField("activity"):
            raise InvalidArgument.of(violations_of(request))
        return await self._tools.singles.record(current_caller().tenant_id, request.activity)

    async def RecordActivities(
        self, request: pb.RecordActivitiesRequest, context: Context
    ) -> pb.RecordActivitiesResponse:
        """Append a batch, all or what is valid."""
        tenant_id = current_caller().tenant_id
        batch = self._batch(request.activities, violations_of(request))
        if not request.request_id:
            await self._tools.recorder.record(tenant_id, batch, partial=request.partial_success)
            return _response(batch)
        return await self._record_once(
            tenant_id,
            UUID(request.request_id),
            request,
            batch,
            partial=request.partial_success,
        )

    async def StreamActivities(
        self, requests: AsyncIterator[pb.StreamActivitiesRequest], context: Context
    ) -> AsyncIterator[pb.StreamActivitiesResponse]:
        """Append chunk after chunk, a few of them side by side, and acknowledge them in order."""
        tenant_id = current_caller().tenant_id
        chunks: asyncio.Queue[asyncio.Task[pb.StreamActivitiesResponse] | None]
        chunks = asyncio.Queue(CHUNKS_IN_HAND - 1)
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
        requests: AsyncIterator[pb.StreamActivitiesRequest],
        chunks: asyncio.Queue[asyncio.Task[pb.StreamActivitiesResponse] | None],
    ) -> None:
        try:
            async for request in requests:
                await chunks.put(asyncio.create_task(self._record_chunk(tenant_id, request)))
        finally:
            await chunks.put(None)

    async def _record_chunk(
        self, tenant_id: UUID, request: pb.StreamActivitiesRequest
    ) -> pb.StreamActivitiesResponse:
        batch = self._batch(request.activities, violations_of(request))
        answer = await self._record_once(
            tenant_id, UUID(request.request_id), request, batch, partial=True
        )
        return pb.StreamActivitiesResponse(
            request_id=request.request_id,
            recorded_count=answer.recorded_count,
            duplicate_count=answer.duplicate_count,
            refused_entries=answer.refused_entries,
            is_repeat=answer.is_repeat,
        )

    def _batch(
        self, activities: Sequence[pb.NewActivity], violations: Sequence[FieldViolation]
    ) -> Batch:
        return Batch(activities, violations, self._tools.window())

    async def _record_once(
        self,
        tenant_id: UUID,
        request_id: UUID,
        request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest,
        batch: Batch,
        *,
        partial: bool,
    ) -> pb.RecordActivitiesResponse:
        """Append a batch once however often it is sent; the answer commits with the entries."""
        if batch.refused and not partial:
            raise batch.refusal()
        recorder = self._tools.recorder
        content = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()

        async def transaction() -> pb.RecordActivitiesResponse:
            async with tenant_transaction(self._tools.pool, tenant_id) as connection:
                before = await store.find_answer(connection, tenant_id, request_id)
                if before:
                    return _answer_again(before, content, request)
                await recorder.record_in(connection, tenant_id, batch, partial=partial)
                answer = _response(batch)
                kept = _kept(answer, request)
                if not await store.save_answer(connection, tenant_id, request_id, content, kept):
                    raise _AnsweredMeanwhile
            self._tools.relay.wake()
            return answer

        while True:
            try:
                return await recorder.covering(batch, transaction)
            except _AnsweredMeanwhile:
                continue
            except store.UNSTORABLE as error:
                await recorder.refuse_unstorable(batch, error)
                if not partial:
                    raise batch.refusal() from None


class _AnsweredMeanwhile(Exception):
    """Another call with the same request id was faster: take its answer."""


def _response(batch: Batch) -> pb.RecordActivitiesResponse:
    return pb.RecordActivitiesResponse(
        activity_ids=batch.activity_ids(),
        recorded_count=batch.recorded_count,
        duplicate_count=len(batch.duplicates),
        refused_entries=batch.refused_entries(),
    )


def _kept(
    answer: pb.RecordActivitiesResponse,
    request: pb.RecordActivitiesRequest | pb.StreamActivitiesRequest,
) -> bytes:
    """Return what to keep of an answer: the ids only where the server made any."""
    if not all(each.activity_id for each in request.activities):
        return answer.SerializeToString()
    kept = pb.RecordActivitiesResponse()
    kept.CopyFrom(answer)
    kept.ClearField("activity_ids")
    return kept.SerializeToString()


def _answer_again(
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
