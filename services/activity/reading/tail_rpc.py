"""TailActivities: entries as they are recorded; events tell which, PostgreSQL has their content."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

import asyncpg
import structlog
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.admission.gate import Gate
from chassis.admission.tenants import Tenants
from chassis.auth import current_caller
from chassis.broker.client import BrokerClient
from chassis.database import Pool
from chassis.errors import InvalidArgument, Limit, ResourceExhausted
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.activity.entries.actions import ACTION_NUMBERS, ActionNumbers
from services.activity.entries.encoding import response_of
from services.activity.entries.filters import Filter, parse_filter
from services.activity.reading import store
from services.activity.reading.feed import STREAM, Feed, FeedEvent, Room, TooSlow

MAX_KEYS = 1_000
_log = structlog.get_logger()
_POSITION = struct.Struct(">q")


@dataclass(frozen=True, slots=True)
class TailRpc:
    """Follows the log of the caller's tenant; `pool` is that for pages."""

    pool: Pool
    actions: ActionNumbers
    nats: BrokerClient
    stopping: asyncio.Event
    backlog_bytes: int
    unread: Gate
    tenants: Tenants
    rest_seconds: float
    token_keys: TokenKeys

    async def TailActivities(
        self, request: pb.TailActivitiesRequest, context: Context
    ) -> AsyncIterator[pb.TailActivitiesResponse]:
        """Stream entries as they are recorded."""
        tenant_id = current_caller().tenant_id
        wanted = parse_filter(request.filter)
        await store.check_metadata(self.pool, wanted)
        tokens = ContinuationTokens(self.token_keys, "tail", tenant_id, request.filter)
        tail = _Tail(self, tenant_id, wanted, tokens)
        async with aclosing(tail.follow(request.resume_token)) as responses:
            async for response in responses:
                yield response


@dataclass(slots=True)
class _Tail:
    """One call: whose log, which entries, and up to which event its client has them."""

    rpc: TailRpc
    tenant_id: UUID
    wanted: Filter
    tokens: ContinuationTokens
    position: int = 0

    async def follow(self, resume_token: str) -> AsyncGenerator[pb.TailActivitiesResponse, None]:
        """Yield a first token, then entries as they come, until one side ends the call."""
        self.position = await self._start(resume_token)
        feed = Feed(
            self.rpc.nats,
            f"activity.recorded.{self.tenant_id}",
            self.position,
            replaying=bool(resume_token),
            room=Room(self.rpc.backlog_bytes, self.rpc.unread, self.rpc.tenants.of(self.tenant_id)),
        )
        yield self._response()
        async with feed.reading(), aclosing(self._deliver_all(feed)) as responses:
            try:
                async for response in responses:
                    yield response
            except TooSlow:
                text = "the client reads too slowly; resume from the resume_token"
                raise ResourceExhausted.beyond(
                    Limit("unread_bytes", "stream", self.rpc.backlog_bytes),
                    text,
                    reason="TOO_SLOW",
                    metadata={"resume_token": self._token()},
                ) from None

    async def _start(self, resume_token: str) -> int:
        """Return the sequence of the event after which to begin."""
        position = None
        if resume_token:
            (position,) = self.tokens.read("resume_token", resume_token, _POSITION.unpack)
        state = (await self.rpc.nats.jetstream().stream_info(STREAM)).state
        if position is None:
            return state.last_seq
        if not state.first_seq - 1 <= position <= state.last_seq:
            text = "is older than the events that are kept; list the entries since then"
            raise InvalidArgument.field("resume_token", "resume_token.expired", text)
        return int(position)

    async def _deliver_all(self, feed: Feed) -> AsyncGenerator[pb.TailActivitiesResponse, None]:
        now = asyncio.get_running_loop().time
        rest = self.rpc.rest_seconds
        silent_since = now()
        while True:
            event = await feed.next(self.rpc.stopping, max(silent_since + rest - now(), 0))
            if event:
                async with aclosing(self._deliver(event)) as responses:
                    async for response in responses:
                        yield response
                        silent_since = now()
                self.position = event.sequence
            if now() - silent_since >= rest:
                yield self._response()
                silent_since = now()

    async def _deliver(self, event: FeedEvent) -> AsyncGenerator[pb.TailActivitiesResponse, None]:
        """Yield an event's entries, in responses that fit; only the last one's token is past it."""
        waiting: pb.TailActivitiesResponse | None = None
        keys = _keys(event, self.wanted)
        while piece := list(islice(keys, MAX_KEYS)):
            for response in await self._read_known(piece):
                if waiting:
                    yield waiting
                waiting = response
        if waiting:
            self.position = event.sequence
            waiting.resume_token = self._token()
            yield waiting

    async def _read_known(self, keys: list[tuple[str, int]]) -> list[pb.TailActivitiesResponse]:
        """Read the entries of these keys; none where one is no key that the log can have."""
        try:
            return await self._read(keys)
        except asyncpg.DataError as error:
            _log.warning("no keys of the log", tenant=str(self.tenant_id), error=repr(error))
            return []

    async def _read(self, keys: list[tuple[str, int]]) -> list[pb.TailActivitiesResponse]:
        """Read the entries of these keys that match, as responses that fit into a message."""
        pool = self.rpc.pool
        rows = await self.rpc.actions.learning(
            pool, lambda: store.list_keys(pool, self.tenant_id, self.wanted, keys)
        )
        responses = []
        while rows:
            content, fits = response_of(rows)
            response = pb.TailActivitiesResponse.FromString(content)
            response.resume_token = self._token()
            responses.append(response)
            rows = rows[fits:]
        return responses

    def _response(self) -> pb.TailActivitiesResponse:
        return pb.TailActivitiesResponse(resume_token=self._token())

    def _token(self) -> str:
        return self.tokens.issue(_POSITION.pack(self.position))


def _keys(event: FeedEvent, wanted: Filter) -> Iterator[tuple[str, int]]:
    """Yield the keys of an event's entries, but those that its columns show not to match."""
    columns = event.event
    users = set(wanted.user_ids or ())
    actions = {ACTION_NUMBERS[name] for name in wanted.action_types or ()}
    for activity_id, user_id, action, moment in zip(
        columns.activity_ids,
        columns.user_ids,
        columns.action_types,
        columns.created_at_micros,
        strict=True,
    ):
        if (
            wanted.start <= moment < wanted.end
            and (not users or user_id in users)
            and (not actions or action in actions)
        ):
            yield activity_id, moment
