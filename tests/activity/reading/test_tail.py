"""Tailing: entries come as they are recorded, a tail can be resumed, and none is left behind."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING

import grpc
import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api
from prospect.activity.v1 import events_pb2

from chassis import messaging
from chassis.messaging import OutgoingEvent
from services.activity.reading import feed
from services.cli.operate.services import ServiceName
from tests.activity.log import METADATA, record
from tests.harness import Database, Identity, Services, error_info, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

ANA, BEN = str(uuid.uuid4()), str(uuid.uuid4())
# An entry that stands in the log and of which no event tells.
UNTOLD = """
insert into activity.activity_log (tenant_id, activity_id, user_id, action_type, created_at)
values ($1, uuidv7(), $2, 'login', now())
returning activity_id::text as activity_id,
  (extract(epoch from created_at) * 1000000)::bigint as created_at
"""
Tail = grpc.aio.UnaryStreamCall[pb.TailActivitiesRequest, pb.TailActivitiesResponse]


def an_entry(**fields: object) -> pb.NewActivity:
    """Return an entry of now."""
    values = {"user_id": ANA, "action_type": pb.ACTION_TYPE_LOGIN} | fields
    return pb.NewActivity(**values)  # type: ignore[arg-type]


async def a_tail(
    activity: ActivityServiceAsyncStub,
    who: Identity,
    token: str = "",
    wanted: pb.ActivityFilter | None = None,
) -> tuple[Tail, str]:
    """Start a tail; return it when it is on, with its first token."""
    request = pb.TailActivitiesRequest(filter=wanted, resume_token=token)
    call = activity.TailActivities(request, metadata=who.metadata())
    first = await told(call)
    assert not first.activities
    return call, first.resume_token


async def told(call: Tail) -> pb.TailActivitiesResponse:
    """Return the next response."""
    response = await asyncio.wait_for(call.read(), 30)
    assert isinstance(response, pb.TailActivitiesResponse)
    return response


async def ids(call: Tail, count: int) -> list[str]:
    """Return the ids of the next entries, `count` at least."""
    found: list[str] = []
    while len(found) < count:
        found += [each.activity_id for each in (await told(call)).activities]
    return found


async def test_entries_come_as_they_are_recorded_in_order(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    call, _ = await a_tail(activity, ours)
    sent = [await record(activity, ours, [an_entry(), an_entry()]) for _ in range(3)]
    assert await ids(call, 6) == [each for batch in sent for each in batch]


async def test_an_entry_comes_when_its_event_does_and_no_one_looks_for_it(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database, nats: Client
) -> None:
    call, _ = await a_tail(activity, ours)
    event = events_pb2.ActivitiesRecorded(tenant_id=str(ours.tenant_id), user_ids=[ANA])
    for row in await database.fetch(UNTOLD, ours.tenant_id, ANA):
        event.activity_ids.append(row["activity_id"])
        event.created_at_micros.append(row["created_at"])
        event.action_types.append(pb.ACTION_TYPE_LOGIN)
    told_of = await record(activity, ours, [an_entry()])
    assert await ids(call, 1) == told_of
    subject = f"activity.recorded.{ours.tenant_id}"
    await messaging.publish(nats, OutgoingEvent.of(subject, event, "test"))
    assert await ids(call, 1) == event.activity_ids


async def test_an_entry_comes_with_all_that_was_recorded(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    call, _ = await a_tail(activity, ours)
    await record(activity, ours, [an_entry(metadata_json='{"query": "cfo"}', target_id="list-7")])
    (entry,) = (await told(call)).activities
    assert (entry.metadata_json, entry.target_id) == ('{"query": "cfo"}', "list-7")


@pytest.mark.parametrize(
    "wanted",
    [
        pb.ActivityFilter(user_ids=[BEN]),
        pb.ActivityFilter(action_types=[pb.ACTION_TYPE_NOTE_ADDED]),
        pb.ActivityFilter(target_ids=["list-7"]),
        pb.ActivityFilter(metadata_json=json.dumps(METADATA[2])),
    ],
)
async def test_only_what_the_filter_matches_comes(
    activity: ActivityServiceAsyncStub, ours: Identity, wanted: pb.ActivityFilter
) -> None:
    call, _ = await a_tail(activity, ours, wanted=wanted)
    match = an_entry(
        user_id=BEN,
        action_type=pb.ACTION_TYPE_NOTE_ADDED,
        target_id="list-7",
        metadata_json=json.dumps(METADATA[2] | {"more": 1}),
    )
    await record(activity, ours, [an_entry(), an_entry()])
    _, expected, _ = await record(activity, ours, [an_entry(), match, an_entry()])
    assert await ids(call, 1) == [expected]


async def test_another_tenants_entries_do_not_come(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    call, _ = await a_tail(activity, ours)
    await record(activity, theirs, [an_entry()])
    mine = await record(activity, ours, [an_entry()])
    assert await ids(call, 1) == mine


async def test_a_tail_resumed_goes_on_after_the_response_of_its_token(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    call, start = await a_tail(activity, ours)
    first = await record(activity, ours, [an_entry()])
    token = (await told(call)).resume_token
    call.cancel()
    second = await record(activity, ours, [an_entry()])
    resumed, _ = await a_tail(activity, ours, token)
    assert await ids(resumed, 1) == second
    from_the_start, _ = await a_tail(activity, ours, start)
    assert await ids(from_the_start, 2) == first + second


async def test_a_large_batch_comes_in_pieces_and_only_the_last_goes_on_after_it(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    call, start = await a_tail(activity, ours)
    sent = await record(activity, ours, [an_entry() for _ in range(2_500)])
    pieces = [await told(call) for _ in range(3)]
    assert [each.activity_id for piece in pieces for each in piece.activities] == sent
    assert [piece.resume_token == start for piece in pieces] == [True, True, False]


async def test_a_tail_at_rest_says_that_it_is_there(services: Services, ours: Identity) -> None:
    async with services.running(ServiceName.ACTIVITY, tail_rest_seconds=0.1) as channel:
        call, token = await a_tail(grpc_api.ActivityServiceStub(channel), ours)
        at_rest = await told(call)
        call.cancel()
    assert (list(at_rest.activities), at_rest.resume_token) == ([], token)


@pytest.mark.parametrize("change", ["tamper", "tenant", "filter"])
async def test_a_token_that_does_not_belong_to_the_question_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, change: str
) -> None:
    _, token = await a_tail(activity, ours)
    who = theirs if change == "tenant" else ours
    wanted = pb.ActivityFilter(user_ids=[ANA] if change == "filter" else [])
    token = ("A" if token[0] != "A" else "B") + token[1:] if change == "tamper" else token
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await a_tail(activity, who, token, wanted)
    assert violations(refused.value) == [("resume_token", "resume_token")]


async def test_a_token_from_before_the_events_that_are_kept_is_refused(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    call, token = await a_tail(activity, ours)
    await record(activity, ours, [an_entry()])
    await ids(call, 1)
    await nats.jetstream().purge_stream("ACTIVITY")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await a_tail(activity, ours, token)
    assert violations(refused.value) == [("resume_token", "resume_token.expired")]


async def test_a_client_that_reads_too_slowly_is_cut_off_with_the_token_to_go_on_from(
    services: Services, ours: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "PATIENCE_SECONDS", 0.1)
    async with services.running(ServiceName.ACTIVITY, tail_backlog_bytes=20_000) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        call, _ = await a_tail(activity, ours)
        sent: list[str] = []
        large = json.dumps({"text": "x" * 8_000})
        for _ in range(60):  # more than gRPC's own windows hold, and nobody reads
            sent += await record(activity, ours, [an_entry(metadata_json=large) for _ in range(40)])
        await asyncio.sleep(0.3)
        delivered, token = await until_cut_off(call, len(sent))
        assert token
        while token:  # once more where it comes to the end before all is published
            resumed, _ = await a_tail(activity, ours, token)
            more, token = await until_cut_off(resumed, len(sent) - len(delivered))
            delivered += more
        resumed.cancel()
    assert delivered == sent


async def test_a_client_that_reads_is_not_cut_off_by_a_burst(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY, tail_backlog_bytes=1) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        call, _ = await a_tail(activity, ours, wanted=pb.ActivityFilter(user_ids=[BEN]))
        for _ in range(100):
            await record(activity, ours, [an_entry()])
        sent = await record(activity, ours, [an_entry(user_id=BEN)])
        assert await ids(call, 1) == sent
        call.cancel()


async def test_a_replay_waits_for_its_client_instead_of_cutting_it_off(
    services: Services, ours: Identity, nats: Client
) -> None:
    async with services.running(ServiceName.ACTIVITY, tail_backlog_bytes=1) as channel:
        activity = grpc_api.ActivityServiceStub(channel)
        first, start = await a_tail(activity, ours)
        first.cancel()
        published = await nats.subscribe("activity.recorded.*")
        sent = [(await record(activity, ours, [an_entry()]))[0] for _ in range(50)]
        for _ in sent:
            await published.next_msg(timeout=30)
        call, _ = await a_tail(activity, ours, start)
        assert await ids(call, 50) == sent
        call.cancel()


async def test_a_tail_that_is_cancelled_leaves_no_consumer_on_the_broker(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client
) -> None:
    gone = await nats.subscribe("$JS.EVENT.ADVISORY.CONSUMER.DELETED.ACTIVITY.*")
    call, _ = await a_tail(activity, ours)
    await record(activity, ours, [an_entry()])
    await ids(call, 1)
    call.cancel()
    await gone.next_msg(timeout=30)
    names = {each.name for each in await nats.jetstream().consumers_info("ACTIVITY")}
    assert names == set()


async def test_a_tail_ends_with_a_reason_when_the_service_stops(
    services: Services, ours: Identity
) -> None:
    async with services.running(ServiceName.ACTIVITY):
        # A channel of its own, since the other is closed before the service stops.
        channel = grpc.aio.insecure_channel(services.addresses[ServiceName.ACTIVITY])
        call, _ = await a_tail(grpc_api.ActivityServiceStub(channel), ours)
        reading = asyncio.create_task(told(call))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await reading
    await channel.close()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(ended.value).reason == "STOPPING"


async def until_cut_off(call: Tail, count: int) -> tuple[list[str], str]:
    """Read up to `count` ids; return them, and the token to go on from where the tail was cut."""
    delivered: list[str] = []
    try:
        while len(delivered) < count:
            delivered += [each.activity_id for each in (await told(call)).activities]
    except grpc.aio.AioRpcError as error:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 -- the end of a loop
        return delivered, error_info(error).metadata["resume_token"]
    return delivered, ""
