"""BatchRequestEnrichments and WatchBatch: up to 10,000 requests in by chunks, progress out."""

from __future__ import annotations

import re
import struct
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from uuid import UUID

from prospect.enrichment.v1 import enrichment_service_pb2 as pb

from chassis.auth import Caller, current_caller
from chassis.clock import Clock
from chassis.database import Pool, tenant_transaction
from chassis.errors import FieldViolation, InvalidArgument, Refusal
from chassis.interceptor import Context
from chassis.outbox import Relay
from chassis.tokens import ContinuationTokens, TokenKeys
from chassis.validation import violations_of
from services.enrichment.intake.batch import BatchFollower, close_batch
from services.enrichment.intake.intake import Intake
from services.enrichment.intake.parse import request_of
from services.enrichment.intake.request_ids import place_taken
from services.enrichment.run.plan import Accepted, Priority, Request
from services.enrichment.sql import SQL

MAX_PLACES = 10_000
_OF_REQUEST = re.compile(r"requests\[(\d+)\]\.?(.*)")
_POSITION = struct.Struct(">q")


class BatchRpc:
    """Takes in and follows batches of the caller's tenant."""

    def __init__(
        self,
        pool: Pool,
        relay: Relay,
        clock: Clock,
        intake: Intake,
        follower: BatchFollower,
        token_keys: TokenKeys,
    ) -> None:
        self._pool = pool
        self._relay = relay
        self._clock = clock
        self._intake = intake
        self._follower = follower
        self._token_keys = token_keys

    async def BatchRequestEnrichments(
        self, requests: AsyncIterator[pb.BatchRequestEnrichmentsRequest], context: Context
    ) -> AsyncIterator[pb.BatchRequestEnrichmentsResponse]:
        """Answer each chunk after COMMIT; when the caller is done, follow the batch's progress."""
        batch: _Batch | None = None
        async for chunk in requests:
            faults = _faults_of(chunk)
            batch = batch or _Batch(current_caller(), UUID(chunk.batch_id))
            accepted = await self._accept(batch, chunk, faults)
            yield pb.BatchRequestEnrichmentsResponse(accepted=accepted)
        if batch is None:
            return
        await self._close(batch)
        following = self._follower.follow(batch.caller.tenant_id, batch.batch_id, 0)
        async with aclosing(following) as all_news:
            async for news in all_news:
                yield pb.BatchRequestEnrichmentsResponse(progress=news.progress)

    async def WatchBatch(
        self, request: pb.WatchBatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchBatchResponse]:
        """Follow a batch's progress and the runs that have ended, until the last has."""
        tenant_id, batch_id = current_caller().tenant_id, UUID(request.batch_id)
        question = pb.WatchBatchRequest(batch_id=str(batch_id))
        tokens = ContinuationTokens(self._token_keys, "batch", tenant_id, question)
        position = 0
        if request.resume_token:
            (position,) = tokens.read("resume_token", request.resume_token, _POSITION.unpack)
        async with aclosing(self._follower.follow(tenant_id, batch_id, position)) as all_news:
            async for news in all_news:
                token = tokens.issue(_POSITION.pack(news.position))
                yield pb.WatchBatchResponse(
                    progress=news.progress, ended=news.ended, resume_token=token
                )

    async def _accept(
        self, batch: _Batch, chunk: pb.BatchRequestEnrichmentsRequest, faults: Faults
    ) -> pb.AcceptedChunk:
        """Accept the good requests of a chunk, and name the fault of each other."""
        batch.take_places(chunk)
        good = {}
        for index, message in enumerate(chunk.requests):
            if index not in faults:
                try:
                    good[chunk.first_index + index] = batch.request(message)
                except InvalidArgument as error:
                    faults[index] = error.violations[0]
        answers = await self._commit(batch, good)
        for place in good:
            answer = answers.get(place)
            if not isinstance(answer, Accepted):
                fault = answer.violations[0] if answer else _CLOSED
                faults[place - chunk.first_index] = fault
        accepted = {place: each for place, each in answers.items() if isinstance(each, Accepted)}
        return _answer(chunk, accepted, faults)

    async def _commit(
        self, batch: _Batch, requests: dict[int, Request]
    ) -> Mapping[int, Accepted | Refusal]:
        if not requests:
            return {}
        key = (batch.caller.tenant_id, batch.batch_id)
        async with tenant_transaction(self._pool, batch.caller.tenant_id) as connection:
            row = await connection.fetchrow(SQL.get_batch, *key)
            if row and row["closed_at"]:
                rows = await connection.fetch(SQL.find_batch_places, *key, list(requests))
                return {row["place"]: place_taken(row) for row in rows}
        return await self._intake.accept_batch(batch.batch_id, requests)

    async def _close(self, batch: _Batch) -> None:
        """Close the batch, to which no more chunks come."""
        caller, batch_id, now = batch.caller, batch.batch_id, self._clock()
        async with tenant_transaction(self._pool, caller.tenant_id) as connection:
            # A batch of which every request was refused has no row yet.
            await connection.execute(
                SQL.open_batch, caller.tenant_id, batch_id, caller.user_id, now
            )
            await close_batch(connection, caller.tenant_id, batch_id, now)
        self._relay.wake()


Faults = dict[int, FieldViolation]
"""Each request's first fault, by its index in the chunk."""


@dataclass(slots=True)
class _Batch:
    """A batch that is being sent; `seen` are the places of the chunks so far."""

    caller: Caller
    batch_id: UUID
    seen: set[int] = field(default_factory=set)

    def take_places(self, chunk: pb.BatchRequestEnrichmentsRequest) -> None:
        """Note the places of a chunk; refuse one that does not go with the chunks before."""
        if UUID(chunk.batch_id) != self.batch_id:
            text = "must be the same in every chunk of a call"
            raise InvalidArgument.field("batch_id", "batch.same", text)
        end = chunk.first_index + len(chunk.requests)
        if end > MAX_PLACES:
            text = f"a batch has at most {MAX_PLACES:,} requests; this chunk would end at {end:,}"
            raise InvalidArgument.field("first_index", "batch.most", text)
        places = range(chunk.first_index, end)
        if not self.seen.isdisjoint(places):
            text = "must lie beyond the chunks before: each place of a batch is sent once"
            raise InvalidArgument.field("first_index", "batch.overlap", text)
        self.seen.update(places)

    def request(self, message: pb.RequestEnrichmentRequest) -> Request:
        """Return a message of the batch as a request."""
        caller = self.caller
        return request_of(message, caller.tenant_id, caller.user_id, default=Priority.LOW)


_CLOSED = FieldViolation(
    "batch_id", "batch.closed", "is closed: nothing can be added, what it has stays"
)


def _faults_of(chunk: pb.BatchRequestEnrichmentsRequest) -> Faults:
    """Return the first fault of each request; refuse a chunk that is at fault itself."""
    faults: Faults = {}
    of_chunk: list[FieldViolation] = []
    for each in violations_of(chunk):
        of_request = _OF_REQUEST.fullmatch(each.field)
        if of_request:
            faults.setdefault(int(of_request[1]), replace(each, field=of_request[2]))
        else:
            of_chunk.append(each)
    if of_chunk:
        raise InvalidArgument.of(of_chunk)
    return faults


def _answer(
    chunk: pb.BatchRequestEnrichmentsRequest, accepted: dict[int, Accepted], faults: Faults
) -> pb.AcceptedChunk:
    first = chunk.first_index
    by_index = [accepted.get(first + index) for index in range(len(chunk.requests))]
    return pb.AcceptedChunk(
        first_index=first,
        accepted=len(accepted),
        joined=sum(each.joined for each in accepted.values()),
        refused=_refused(first, faults),
        prospect_ids=[str(each.prospect_id) if each else "" for each in by_index],
    )


def _refused(first_index: int, faults: Faults) -> Sequence[pb.RefusedRequest]:
    return [
        pb.RefusedRequest(
            index=first_index + index, field=fault.field, rule=fault.rule, message=fault.message
        )
        for index, fault in sorted(faults.items())
    ]
