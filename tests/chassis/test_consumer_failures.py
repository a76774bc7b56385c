"""An event whose handling fails: what comes again, how late, and what becomes a dead letter."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from nats.aio.msg import Msg
from prospect.enrichment.v1 import events_pb2

from chassis import consumer
from chassis.broker.client import BrokerClient
from chassis.broker.streams import ensure
from chassis.consumer import Handler, IncomingEvent, consume
from chassis.errors import InvalidArgument
from chassis.transient import RetryLater
from services import topology

CONSUMER = topology.ENRICH_REQUESTED


@dataclass
class Failing:
    """Fails with one error a number of times, then handles."""

    error: Exception = field(default_factory=lambda: RuntimeError("a bug"))
    failures: int = 0
    deliveries: int = 0
    handled: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        self.deliveries += 1
        if self.deliveries <= self.failures:
            raise self.error
        self.handled.set()


@pytest.fixture
async def failing(nats: BrokerClient, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Failing]:
    for pause in ("RETRY_SECONDS", "BUG_SECONDS"):
        monkeypatch.setattr(consumer, pause, 0.01)
    await ensure(nats, (), (CONSUMER,))
    failing, stopping = Failing(), asyncio.Event()
    handler = Handler(CONSUMER, events_pb2.EnrichmentRequested, failing.handle)
    consuming = asyncio.create_task(consume(nats, handler, stopping))
    yield failing
    stopping.set()
    await consuming


@pytest.fixture
async def dead(nats: BrokerClient) -> asyncio.Queue[Msg]:
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    return letters


async def publish(nats: BrokerClient, **headers: str) -> bytes:
    """Publish a valid request and return its body."""
    request = events_pb2.EnrichmentRequested(
        prospect_id=str(uuid.uuid4()),
        tenant_id=str(uuid.uuid4()),
        user_id=str(uuid.uuid4()),
        name="Ada Lovelace",
        company="Engines",
    )
    body = request.SerializeToString()
    await nats.jetstream().publish(CONSUMER.subject, body, headers=headers or None)
    return body


async def letter_of(dead: asyncio.Queue[Msg]) -> tuple[Msg, dict[str, str]]:
    """Return the next dead letter and its headers."""
    letter = await asyncio.wait_for(dead.get(), 60)
    assert letter.headers is not None
    return letter, letter.headers


async def test_an_event_that_fails_eight_times_by_a_bug_is_a_dead_letter(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.failures = 100
    body = await publish(nats)
    letter, headers = await letter_of(dead)
    assert letter.data == body
    assert headers["Prospect-Dead-Reason"] == "failed 8 times: RuntimeError"
    assert failing.deliveries == 8


async def test_an_event_that_became_a_dead_letter_does_not_come_again(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.failures = 8
    await publish(nats)
    await letter_of(dead)
    await publish(nats)
    await asyncio.wait_for(failing.handled.wait(), 60)
    assert failing.deliveries == 9


async def test_an_event_that_fails_seven_times_by_a_bug_is_handled_at_the_eighth(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.failures = 7
    await publish(nats)
    await asyncio.wait_for(failing.handled.wait(), 60)
    assert dead.empty()


@pytest.mark.parametrize("error", [RetryLater("enrichment"), ConnectionError("the database")])
async def test_a_transient_error_makes_no_dead_letter_however_often_it_happens(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg], error: Exception
) -> None:
    failing.error, failing.failures = error, 2 * CONSUMER.max_deliver
    await publish(nats)
    await asyncio.wait_for(failing.handled.wait(), 60)
    assert dead.empty()


async def test_an_event_that_is_refused_is_a_dead_letter_at_once(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.error, failing.failures = InvalidArgument.field("name", "rule", "is no name"), 1
    await publish(nats)
    _, headers = await letter_of(dead)
    assert headers["Prospect-Dead-Reason"] == "name: is no name"
    assert failing.deliveries == 1


async def test_a_dead_letter_names_its_event_and_the_consumer_that_gave_it_up(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.error, failing.failures = InvalidArgument.field("name", "rule", "is no name"), 1
    event_id = str(uuid.uuid4())
    await publish(nats, **{"Nats-Msg-Id": event_id, "ce-type": "a.type"})
    _, headers = await letter_of(dead)
    assert headers["Prospect-Original-Id"] == event_id
    assert headers["Prospect-Original-Subject"] == CONSUMER.subject
    assert headers["Prospect-Dead-Consumer"] == CONSUMER.name
    assert headers["ce-type"] == "a.type"
    # Not the event's own id, with which the broker would drop it as a repeat.
    assert headers["Nats-Msg-Id"] == f"{CONSUMER.name}/{CONSUMER.stream}/1"


async def test_the_reason_of_a_dead_letter_is_one_line_of_five_hundred_characters_at_most(
    nats: BrokerClient, failing: Failing, dead: asyncio.Queue[Msg]
) -> None:
    failing.error, failing.failures = InvalidArgument("a\n  b" + "c" * 2_000, reason="BAD"), 1
    await publish(nats)
    _, headers = await letter_of(dead)
    assert headers["Prospect-Dead-Reason"] == "a b" + "c" * 497


@pytest.mark.parametrize(
    ("delivered", "seconds"), [(1, 0.5), (2, 1), (3, 2), (7, 32), (8, 60), (5_000, 60)]
)
def test_each_pause_is_twice_the_last_up_to_the_longest(delivered: int, seconds: float) -> None:
    assert consumer._backoff(delivered, 60) == seconds


def test_a_bug_gets_longer_than_a_transient_error_before_the_event_comes_again() -> None:
    assert (consumer.RETRY_SECONDS, consumer.BUG_SECONDS) == (5, 60)
