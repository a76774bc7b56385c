"""Completed enrichments: logged once, and only when they happened in a time that the log takes."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from prospect.enrichment.v1 import events_pb2

from chassis.clock import to_timestamp, utc_now
from tests.harness import Database, Identity


async def publish(nats: Client, who: Identity, completed_at: datetime) -> None:
    """Publish that an enrichment completed."""
    event = events_pb2.EnrichmentCompleted(
        tenant_id=str(who.tenant_id),
        run_id=str(uuid.uuid4()),
        prospect_id=str(uuid.uuid4()),
        user_id=str(who.user_id),
        complete=["exa"],
        completed_at=to_timestamp(completed_at),
    )
    subject = f"prospect.enrich.completed.{who.tenant_id}"
    await nats.jetstream().publish(subject, event.SerializeToString())


@pytest.mark.usefixtures("activity")
@pytest.mark.parametrize(
    ("completed_at", "why"),
    [
        (datetime(2001, 5, 6, tzinfo=UTC), "must not be older than the log is kept"),
        (datetime(2099, 5, 6, tzinfo=UTC), "must not be more than 24 hours ahead"),
        (datetime(1, 1, 1, tzinfo=UTC), "must not be older than the log is kept"),
    ],
)
async def test_an_enrichment_of_an_impossible_time_is_a_dead_letter_and_makes_no_month(
    ours: Identity, database: Database, nats: Client, completed_at: datetime, why: str
) -> None:
    months = await database.fetch("select month from activity.partitions()")
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    await publish(nats, ours, completed_at)
    letter = await asyncio.wait_for(letters.get(), 30)
    assert f"completed_at: {why}" in (letter.headers or {})["Prospect-Dead-Reason"]
    assert await database.fetch("select month from activity.partitions()") == months


@pytest.mark.usefixtures("activity")
async def test_an_enrichment_of_a_time_that_the_log_takes_is_logged(
    ours: Identity, database: Database, nats: Client
) -> None:
    told = await nats.subscribe(f"activity.recorded.{ours.tenant_id}")
    await publish(nats, ours, utc_now() - timedelta(days=60))
    await told.next_msg(timeout=30)
    (entry,) = await database.fetch("select action_type, user_id from activity.activity_log")
    assert (entry["action_type"], entry["user_id"]) == ("profile_enriched", ours.user_id)
