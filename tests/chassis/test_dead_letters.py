"""A dead letter is one that the broker takes, whatever the event was like."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import AsyncIterator

import pytest
from google.protobuf import json_format
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError
from prospect.enrichment.v1 import events_pb2
from structlog.testing import capture_logs

from chassis import dead_letters, messaging
from chassis.broker.client import BrokerClient
from chassis.broker.streams import ensure
from chassis.consumer import Handler, IncomingEvent, consume
from chassis.dead_letters import dead_letter, sequence_of
from services import topology

CONSUMER = topology.ENRICH_REQUESTED
TYPED = "typed-by-a-user@secret.example"


def a_request(**fields: str) -> events_pb2.EnrichmentRequested:
    ids = {name: str(uuid.uuid4()) for name in ("prospect_id", "tenant_id", "user_id")}
    values = ids | {"name": "Ada Lovelace", "company": "Analytical Engines"} | fields
    return events_pb2.EnrichmentRequested(**values)  # type: ignore[arg-type]


@pytest.fixture
async def handled(
    nats: BrokerClient,
) -> AsyncIterator[asyncio.Queue[events_pb2.EnrichmentRequested]]:
    """Handle events; yield those that were handled."""
    await ensure(nats, topology.STREAMS, (CONSUMER,))
    queue, stopping = asyncio.Queue[events_pb2.EnrichmentRequested](), asyncio.Event()

    async def handle(event: IncomingEvent[events_pb2.EnrichmentRequested]) -> None:
        await queue.put(event.message)

    handler = Handler(CONSUMER, events_pb2.EnrichmentRequested, handle, from_outside=True)
    consuming = asyncio.create_task(consume(nats, handler, stopping))
    yield queue
    stopping.set()
    await consuming


@pytest.fixture
async def dead(nats: BrokerClient) -> asyncio.Queue[Msg]:
    letters: asyncio.Queue[Msg] = asyncio.Queue()
    await nats.subscribe("dead.>", cb=letters.put)
    return letters


async def publish(nats: BrokerClient, body: bytes, headers: dict[str, str] | None = None) -> None:
    await nats.jetstream().publish(CONSUMER.subject, body, headers=headers)


async def letter_of(dead: asyncio.Queue[Msg]) -> tuple[dict[str, str], bytes]:
    letter = await asyncio.wait_for(dead.get(), 30)
    return dict(letter.headers or {}), letter.data


async def nothing_left(nats: BrokerClient) -> None:
    """Return once the queue holds no event."""
    async with asyncio.timeout(30):
        while (await nats.jetstream().stream_info(CONSUMER.stream)).state.messages:
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("room", [0, 100, 400, 5_000])
async def test_an_event_of_the_largest_size_becomes_a_dead_letter_without_its_body(
    nats: BrokerClient, dead: asyncio.Queue[Msg], room: int
) -> None:
    body = b"\x0f" * (nats.max_payload - room)
    await publish(nats, body)
    headers, kept = await letter_of(dead)
    if room < 5_000:
        assert kept == b""
        assert headers["Prospect-Body-Size"] == str(len(body))
        assert headers["Prospect-Body-Sha256"] == hashlib.sha256(body).hexdigest()
    else:
        assert kept == body
    assert headers["Prospect-Original-Sequence"] == "ENRICH_REQUESTS/1"
    await nothing_left(nats)
    assert nats.is_connected


@pytest.mark.parametrize("header", ["Prospect-Original-Sequence", "Prospect-Original-Place"])
def test_a_dead_letter_of_this_release_or_the_one_before_names_its_event(header: str) -> None:
    assert sequence_of({header: "ACTIVITY/17"}) == "ACTIVITY/17"


def delivered(body: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
    """Return the 17th event of the stream ACTIVITY, as a consumer gets it."""
    reply = "$JS.ACK.ACTIVITY.metrics.1.17.3.1764590400000000000.0"
    return Msg(None, "activity.recorded", reply, body, headers)  # type: ignore[arg-type]


def test_a_dead_letter_says_whose_it_is_why_and_of_which_event() -> None:
    headers = {"nats-msg-id": "one", "Ce-Type": "t", "X": "y"}
    letter = dead_letter(delivered(b"body", headers), "metrics", "wrong", 10_000)
    assert (letter.subject, letter.body) == ("dead.activity.recorded", b"body")
    assert letter.headers == {
        "ce-type": "t",
        "Prospect-Dead-Reason": "wrong",
        "Prospect-Dead-Consumer": "metrics",
        "Prospect-Original-Subject": "activity.recorded",
        "Prospect-Original-Id": "one",
        "Prospect-Original-Sequence": "ACTIVITY/17",
        "Nats-Msg-Id": "metrics/ACTIVITY/17",
    }
    assert dead_letter(delivered(), "metrics", "", 10_000).headers["Prospect-Original-Id"] == ""


def test_a_value_stands_on_one_line_of_500_characters() -> None:
    reason = "a\r\n\tb\0c" + "x" * 500
    letter = dead_letter(delivered(), "metrics", reason, 10_000)
    assert letter.headers["Prospect-Dead-Reason"] == "a b c" + "x" * 495


def test_a_body_is_kept_while_it_has_room_beside_the_headers_and_what_is_added() -> None:
    body, reason = b"x" * 1_000, "\u00e9" * 100
    headers = dead_letter(delivered(body), "metrics", reason, 10**6).headers
    wire = sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items())
    room = len(body) + wire + 512
    assert dead_letter(delivered(body), "metrics", reason, room).body == body
    without = dead_letter(delivered(body), "metrics", reason, room - 1)
    assert (without.body, without.headers["Prospect-Body-Size"]) == (b"", "1000")


@pytest.mark.usefixtures("handled")
async def test_a_dead_letter_is_counted_and_logged_with_its_reason(
    nats: BrokerClient, dead: asyncio.Queue[Msg]
) -> None:
    counter = dead_letters.BURIED.labels(CONSUMER.name)
    before = counter._value.get()
    with capture_logs() as logged:
        await publish(nats, b"\xff")
        headers, _ = await letter_of(dead)
        await nothing_left(nats)
    assert [each for each in logged if each["event"] == "dead letter"] == [
        {
            "event": "dead letter",
            "log_level": "warning",
            "consumer": CONSUMER.name,
            "subject": f"dead.{CONSUMER.subject}",
            "reason": headers["Prospect-Dead-Reason"],
        }
    ]
    assert counter._value.get() == before + 1


@pytest.mark.usefixtures("handled")
async def test_a_dead_letter_carries_the_headers_of_cloudevents_and_no_others(
    nats: BrokerClient, dead: asyncio.Queue[Msg]
) -> None:
    sent = {
        "Ce-Id": "one",
        "X-Name": TYPED,
        "ce-x-more": "?",
        "Nats-Expected-Stream": CONSUMER.stream,
    }
    with capture_logs() as logged:
        await publish(nats, b"\xff", sent)
        headers, _ = await letter_of(dead)
        await nothing_left(nats)
    buried = [each for each in logged if each["event"] == "dead letter"]
    assert [each["consumer"] for each in buried] == [CONSUMER.name]
    assert headers["ce-id"] == "one"
    ours = {name for name in headers if not name.startswith("Prospect-")}
    assert ours == {"ce-id", "Nats-Msg-Id"}


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize(
    "body",
    [
        {"name": {"x": TYPED}},
        {"email": f"{TYPED} x"},
        {"sources": [TYPED]},
        {"tenant_id": TYPED},
    ],
)
async def test_nothing_that_a_user_typed_stands_in_the_headers_of_a_dead_letter(
    nats: BrokerClient, dead: asyncio.Queue[Msg], body: dict[str, object]
) -> None:
    message = json_format.MessageToDict(a_request(), preserving_proto_field_name=True) | body
    await publish(nats, json.dumps(message).encode(), {"Content-Type": "application/json"})
    headers, _ = await letter_of(dead)
    assert TYPED not in str(headers)


async def test_an_event_that_the_broker_refuses_as_a_dead_letter_is_ended_and_counted(
    nats: BrokerClient,
    handled: asyncio.Queue[events_pb2.EnrichmentRequested],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    refused = dead_letters.DeadLetter("dead.letter", b"", {"Nats-Expected-Stream": "ANOTHER"})

    def for_another_stream(*values: object) -> dead_letters.DeadLetter:
        return refused

    monkeypatch.setattr(dead_letters, "dead_letter", for_another_stream)
    before = dead_letters.DROPPED.labels(CONSUMER.name)._value.get()
    with capture_logs() as logged:
        await publish(nats, b"\xff")
        await nothing_left(nats)
    dropped = [each for each in logged if each["event"] == "event dropped"]
    assert [(each["consumer"], each["subject"]) for each in dropped] == [
        (CONSUMER.name, "dead.letter")
    ]
    assert "BadRequestError" in dropped[0]["error"]
    assert dead_letters.DROPPED.labels(CONSUMER.name)._value.get() == before + 1
    with pytest.raises(BadRequestError):
        await nats.jetstream().publish(
            "dead.letter", b"", headers={"Nats-Expected-Stream": "ANOTHER"}
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "application/json"},
        {"Content-Type": "application/json; charset=utf-8"},
        {"CONTENT-TYPE": "APPLICATION/JSON"},
        {"ce-datacontenttype": "application/json"},
        {"Content-Type": "application/cloudevents+json"},
        None,
    ],
)
async def test_json_is_known_by_its_header_in_any_case_and_without_one(
    nats: BrokerClient,
    handled: asyncio.Queue[events_pb2.EnrichmentRequested],
    headers: dict[str, str] | None,
) -> None:
    message = a_request()
    await publish(nats, json_format.MessageToJson(message).encode(), headers)
    assert await asyncio.wait_for(handled.get(), 30) == message


async def test_json_with_a_field_that_this_version_does_not_know_is_taken(
    nats: BrokerClient, handled: asyncio.Queue[events_pb2.EnrichmentRequested]
) -> None:
    message = a_request()
    body = json_format.MessageToDict(message) | {"newField": 1}
    await publish(nats, json.dumps(body).encode(), {"content-type": "application/json"})
    assert await asyncio.wait_for(handled.get(), 30) == message


@pytest.mark.usefixtures("handled")
async def test_a_misspelt_name_of_an_enum_in_json_is_a_dead_letter_that_names_the_field(
    nats: BrokerClient, dead: asyncio.Queue[Msg]
) -> None:
    body = json_format.MessageToDict(a_request()) | {"priority": TYPED, "newField": 1}
    await publish(nats, json.dumps(body).encode(), {"content-type": "application/json"})
    headers, _ = await letter_of(dead)
    text = "priority: must be the name or the number of a value of Priority"
    assert headers["Prospect-Dead-Reason"] == text
    await nothing_left(nats)


@pytest.mark.usefixtures("handled")
async def test_an_id_is_replaced_in_the_letters_that_have_it_and_all_else_of_them_stays(
    nats: BrokerClient, dead: asyncio.Queue[Msg]
) -> None:
    old, new = uuid.uuid4(), uuid.UUID(int=0)
    body = json_format.MessageToDict(a_request(user_id=str(old).upper())) | {"priority": "HIGH"}
    given = {"content-type": "application/json", "ce-id": "one", "ce-subject": str(old)}
    await publish(nats, json.dumps(body).encode(), given)
    await publish(nats, b"\xff", {"ce-id": "another"})
    letters = [await letter_of(dead) for _ in range(2)]
    await dead_letters.rename_in_letters(nats, CONSUMER.subject, old, new)
    stored = [each async for each in messaging.stored(nats, "DEAD_LETTERS", "dead.>")]
    another, one = stored
    assert (another.headers, another.data) == letters[1]
    assert json.loads(one.data or b"") == body | {"userId": str(new)}
    headers = letters[0][0] | {"ce-subject": str(new), "Nats-Msg-Id": "DEAD_LETTERS/1"}
    assert one.headers == headers
