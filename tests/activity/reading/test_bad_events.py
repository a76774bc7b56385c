"""A tail passes over what is no event of the log, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from nats.aio.client import Client

from tests.activity.log import record
from tests.activity.reading.test_tail import a_tail, an_entry, ids
from tests.bad_events import BAD, recorded
from tests.harness import Identity

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub


@pytest.mark.parametrize("what", BAD)
async def test_a_tail_goes_on_after_an_event_that_is_none_of_the_log(
    activity: ActivityServiceAsyncStub, ours: Identity, nats: Client, what: str
) -> None:
    call, token = await a_tail(activity, ours)
    body = BAD[what](ours.tenant_id)
    await nats.jetstream().publish(f"activity.recorded.{ours.tenant_id}", body)
    sent = await record(activity, ours, [an_entry()])
    assert await ids(call, 1) == sent
    resumed, _ = await a_tail(activity, ours, token)
    assert await ids(resumed, 1) == sent


async def test_a_forged_event_brings_a_tail_nothing_of_another_tenant(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity, nats: Client
) -> None:
    call, _ = await a_tail(activity, ours)
    stream = nats.jetstream()
    (secret,) = await record(activity, theirs, [an_entry()])
    told = await nats.subscribe(f"activity.recorded.{theirs.tenant_id}")
    await record(activity, theirs, [an_entry()])
    await told.next_msg(timeout=30)
    message = await stream.get_last_msg("ACTIVITY", f"activity.recorded.{theirs.tenant_id}")
    forged = recorded(ours.tenant_id, activity_ids=[secret])
    for body in (message.data or b"", forged):
        await stream.publish(f"activity.recorded.{ours.tenant_id}", body)
    sent = await record(activity, ours, [an_entry()])
    assert await ids(call, 1) == sent
