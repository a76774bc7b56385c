"""A dead letter that is put back is counted once, whether its day was rebuilt meanwhile or not."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis.clock import to_timestamp
from services.metrics.events import wait_applied
from services.metrics.proof.dead_letters import dead_letters
from tests.harness import Database, Identity
from tests.metrics.calls import AUDIT, DAY, NOON, USERS, record, total, usage, verify
from tests.metrics.conftest import Pair

FORGET = (
    "delete from metrics.inbox",
    "delete from metrics.usage_metrics_quarter_hours",
    "delete from metrics.usage_metrics_daily",
    "delete from metrics.usage_metrics_daily_totals",
)


def logins(moments: list[datetime]) -> list[activity_pb.NewActivity]:
    return [
        activity_pb.NewActivity(
            user_id=USERS[0],
            action_type=activity_pb.ACTION_TYPE_LOGIN,
            created_at=to_timestamp(each),
        )
        for each in moments
    ]


async def dying(
    pair: Pair, who: Identity, nats: Client, database: Database, moments: list[datetime]
) -> Any:
    """Record a batch of which counting made a dead letter; return its message."""
    await record(pair, who, logins(moments))
    jetstream, subject = nats.jetstream(), f"activity.recorded.{who.tenant_id}"
    while not (await jetstream.stream_info("ACTIVITY")).state.messages:
        pass
    await wait_applied(nats)
    for statement in FORGET:
        await database.fetch(statement)
    message = await jetstream.get_last_msg("ACTIVITY", subject)
    headers = {k: v for k, v in (message.headers or {}).items() if k != "Nats-Msg-Id"}
    message.headers = headers
    await jetstream.publish(f"dead.{subject}", message.data or b"", headers=headers)
    return message


async def put_back(nats: Client, message: Any) -> None:
    await nats.jetstream().publish(message.subject, message.data, headers=message.headers)
    await wait_applied(nats)


async def rebuild(pair: Pair, who: Identity) -> None:
    request = pb.RebuildUsageRequest(tenant_id=str(who.tenant_id), start_date=DAY, end_date=DAY)
    await pair.metrics.RebuildUsage(request, metadata=who.metadata(AUDIT))


@pytest.mark.parametrize("rebuilt", ["never", "before it is put back", "after it is put back"])
async def test_a_dead_letter_put_back_is_counted_once(
    pair: Pair, ours: Identity, nats: Client, database: Database, rebuilt: str
) -> None:
    letter = await dying(pair, ours, nats, database, [NOON] * 5)
    assert await total(pair, ours) == 0
    if rebuilt == "before it is put back":
        await rebuild(pair, ours)
        assert await total(pair, ours) == 5
    await put_back(nats, letter)
    if rebuilt == "after it is put back":
        await rebuild(pair, ours)
    await put_back(nats, letter)
    assert await total(pair, ours) == 5
    assert await verify(pair, ours, thorough=True) == []


async def test_a_dead_letter_of_days_that_were_not_all_rebuilt_is_counted_for_the_others(
    pair: Pair, ours: Identity, nats: Client, database: Database
) -> None:
    before = NOON - timedelta(days=1)
    letter = await dying(pair, ours, nats, database, [NOON, before])
    await rebuild(pair, ours)
    await put_back(nats, letter)
    (row,) = await usage(pair, ours, start_date=str(before.date()), end_date=str(before.date()))
    assert row.total_logins == 1
    assert [each.kind for each in await verify(pair, ours)] == [pb.USAGE_FINDING_KIND_EXCESS]
    await rebuild(pair, ours)
    assert await verify(pair, ours, thorough=True) == []


async def test_what_is_no_event_among_dead_letters_stops_no_rebuild(
    pair: Pair, ours: Identity, theirs: Identity, nats: Client, database: Database
) -> None:
    letter = await dying(pair, ours, nats, database, [NOON])
    jetstream, subject = nats.jetstream(), f"dead.activity.recorded.{ours.tenant_id}"
    await jetstream.publish(subject, b"\xff", headers={"ce-id": "x"})
    await jetstream.publish(subject, letter.data)
    assert await dead_letters(nats, theirs.tenant_id) == {}
    (days,) = (await dead_letters(nats, ours.tenant_id)).values()
    assert days == {date.fromisoformat(DAY)}
    await rebuild(pair, ours)
    assert await total(pair, ours) == 1
