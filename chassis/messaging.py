"""NATS JetStream: events as CloudEvents, streams and consumers as data.

An event is a bare protobuf message; its attributes travel as headers (CloudEvents 1.0, NATS
protocol binding, binary mode). `Nats-Msg-Id` equals `ce-id`, so the broker drops a repeat inside
its window.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import nats.errors
import structlog
from google.protobuf.message import Message
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from chassis import telemetry
from chassis.clock import new_id, utc_now
from chassis.identity.nats_login import Login

DEAD_LETTER_PREFIX = "dead"
PROTOBUF = "application/protobuf"
NOBODY = Login()
DECLARED = "prospect.declared"
"""The entry of a stream's or consumer's metadata that says how we have declared it."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Stream:
    """A durable stream: what it holds, for how long, and in how many bytes (0 is no limit).

    One that is full refuses new events, which wait in an outbox, or drops its oldest ones.
    """

    name: str
    subjects: tuple[str, ...]
    work_queue: bool = False
    schedules: bool = False
    max_age_seconds: float = 7 * 86_400
    duplicate_window_seconds: float = 600
    max_bytes: int = 0
    max_msg_size: int = 0
    refuses_when_full: bool = True


@dataclass(frozen=True, slots=True)
class Consumer:
    """A durable pull consumer; after `max_deliver` failed tries a message is a dead letter."""

    name: str
    stream: str
    subject: str
    ack_wait_seconds: float = 30
    max_deliver: int = 8
    in_hand: int = 64


@dataclass(frozen=True, slots=True)
class Topology:
    """What one service does on the broker, and nothing else: its permissions follow from this.

    It keeps the streams that it `owns` as declared, and makes those that it `needs` where they are
    missing. `hears` are subjects that it listens to without a stream; `tails` are subjects of
    streams of its own that it reads with consumers of the moment; `looks_up` and `deletes_from` are
    streams from which it reads and deletes single messages.
    """

    owns: Sequence[Stream]
    needs: Sequence[Stream] = ()
    consumers: Sequence[Consumer] = ()
    publishes: Sequence[str] = ()
    hears: Sequence[str] = ()
    tails: Sequence[tuple[str, str]] = ()
    looks_up: Sequence[str] = ()
    deletes_from: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event on its way out: where it goes, what it is, and its body."""

    subject: str
    event_type: str
    body: bytes
    source: str
    event_id: uuid.UUID = field(default_factory=new_id)
    occurred_at: datetime = field(default_factory=utc_now)
    traceparent: str = field(default_factory=telemetry.traceparent)

    @classmethod
    def of(cls, subject: str, message: Message, source: str) -> OutgoingEvent:
        """Wrap a protobuf message; its full name is the event's type."""
        return cls(subject, message.DESCRIPTOR.full_name, message.SerializeToString(), source)

    def headers(self) -> dict[str, str]:
        """Return the CloudEvents attributes as NATS headers."""
        headers = {
            "Nats-Msg-Id": str(self.event_id),
            "ce-specversion": "1.0",
            "ce-id": str(self.event_id),
            "ce-type": self.event_type,
            "ce-source": self.source,
            "ce-subject": self.subject,
            "ce-time": self.occurred_at.isoformat(),
            "content-type": PROTOBUF,
        }
        return headers | ({"traceparent": self.traceparent} if self.traceparent else {})


async def connect(
    url: str,
    name: str,
    login: Login = NOBODY,
    *,
    inbox: str = "",
    persist: bool = True,
    tls: ssl.SSLContext | None = None,
) -> Client:
    """Connect; `persist` tries again for as long as the process lives, as a service does.

    Answers come to subjects below `_INBOX_<inbox>`, of the client's name by default: another
    client that may listen to its own answers hears none of these. With `tls`, or an address that
    begins with tls://, a server without TLS is refused.
    """

    async def on_error(error: Exception) -> None:
        _log.warning("nats trouble", error=repr(error))

    login.check()
    client = _SecureClient() if tls or url.startswith("tls://") else Client()
    await client.connect(
        url,
        tls=tls,
        name=name,
        inbox_prefix=inbox_prefix(inbox or name),
        user_credentials=str(login.credentials_file) if login.credentials_file else None,
        nkeys_seed=str(login.nkey_seed_file) if login.nkey_seed_file else None,
        allow_reconnect=persist,
        max_reconnect_attempts=-1 if persist else 1,
        reconnect_time_wait=0.5,  # type: ignore[arg-type]
        connect_timeout=5,
        error_cb=on_error,
    )
    return client


class _SecureClient(Client):
    """A client that sends nothing in the clear.

    nats-py uses TLS where the server's first line says so: whoever stands between could leave that
    out, and read the credentials.
    """

    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("asyncio").addFilter(_is_of_use)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and not info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


def _is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line tells something: asyncio writes one when nats-py's TLS connection ends."""
    return not str(record.msg).startswith("returning true from eof_received()")


def inbox_prefix(name: str) -> str:
    """Return what subjects of answers to a client begin with."""
    return f"_INBOX_{name}"


async def ensure(
    client: Client,
    streams: Sequence[Stream],
    consumers: Sequence[Consumer] = (),
    needed: Sequence[Stream] = (),
) -> None:
    """Make what is declared and missing; any number of replicas may do so at once.

    What is there is the operator's: of `streams` and `consumers` only that is changed which we have
    declared otherwise since we made them, and a stream gets the subjects that it lacks. Of streams
    that are merely `needed` nothing is changed.
    """
    for stream in streams:
        await _ensure(client, "STREAM", stream.name, _stream_config(stream))
    for stream in needed:
        await _ensure(client, "STREAM", stream.name, _stream_config(stream), ours=False)
    for consumer in consumers:
        path = f"{consumer.stream}.{consumer.name}"
        await _ensure(client, "CONSUMER", path, _consumer_config(consumer))


def _stream_config(stream: Stream) -> dict[str, Any]:
    retention = RetentionPolicy.WORK_QUEUE if stream.work_queue else RetentionPolicy.LIMITS
    config = StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=retention,
        storage=StorageType.FILE,
        max_age=stream.max_age_seconds,
        duplicate_window=stream.duplicate_window_seconds,
        allow_msg_schedules=stream.schedules or None,
        max_bytes=stream.max_bytes or None,
        max_msg_size=stream.max_msg_size or None,
        discard=DiscardPolicy.NEW if stream.max_bytes and stream.refuses_when_full else None,
    )
    return {name: value for name, value in config.as_dict().items() if value is not False}


def _consumer_config(consumer: Consumer) -> dict[str, Any]:
    return ConsumerConfig(
        name=consumer.name,
        durable_name=consumer.name,
        filter_subject=consumer.subject,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait_seconds,
        max_ack_pending=consumer.in_hand * 16,
        # The consumer counts and writes a dead letter; the server would fall silent.
        max_deliver=-1,
    ).as_dict()


async def _ensure(
    client: Client, kind: str, path: str, declared: dict[str, Any], *, ours: bool = True
) -> None:
    """Make a stream or a consumer, or bring one that is there up to what is declared now."""
    try:
        found = (await _ask(client, f"{kind}.INFO.{path}", {}))["config"]
    except NotFoundError:
        found = declared | {"metadata": {DECLARED: json.dumps(declared)}}
        await _write(client, kind, path, "CREATE", found)
        return
    wanted = _brought_up(found, declared)
    if ours and wanted != found:
        await _write(client, kind, path, "UPDATE" if kind == "STREAM" else "CREATE", wanted)


def _brought_up(found: dict[str, Any], declared: dict[str, Any]) -> dict[str, Any]:
    """Return what is there, with the values that have been declared otherwise since.

    All else is as an operator has set it; he sees in the metadata what was declared.
    """
    metadata = found.get("metadata") or {}
    before = json.loads(metadata.get(DECLARED, "null"))
    changed = {k: v for k, v in declared.items() if before is not None and before.get(k) != v}
    wanted = found | changed
    if changed:
        wanted["metadata"] = metadata | {DECLARED: json.dumps(declared)}
    if "subjects" in declared:
        dropped = {*(before or declared)["subjects"]} - {*declared["subjects"]}
        kept = [each for each in found["subjects"] if each not in dropped]
        wanted["subjects"] = list(dict.fromkeys([*kept, *declared["subjects"]]))
    others = {k for k, v in declared.items() if wanted.get(k) != v and k != "subjects"}
    if others:
        _log.info("operator's settings", name=declared["name"], settings=sorted(others))
    return wanted


async def _write(client: Client, kind: str, path: str, verb: str, config: dict[str, Any]) -> None:
    body = config
    if kind == "CONSUMER":
        stream = path.split(".", maxsplit=1)[0]
        path, body = f"{path}.{config['filter_subject']}", {"stream_name": stream, "config": config}
    await _ask(client, f"{kind}.{verb}.{path}", body)


async def _ask(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the broker; nats-py would drop the settings that it does not know."""
    answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=5)
    told: dict[str, Any] = json.loads(answer.data)
    if "error" in told:
        raise APIError.from_error(told["error"])
    return told


async def publish(client: Client, event: OutgoingEvent) -> None:
    """Publish one event and wait for the broker to have it on disk."""
    await client.jetstream().publish(event.subject, event.body, headers=event.headers(), timeout=5)


async def publish_all(jetstream: JetStreamContext, events: Sequence[OutgoingEvent]) -> None:
    """Publish events in order, and wait once for the broker to have all of them on disk."""
    acks = [
        await jetstream.publish_async(event.subject, event.body, headers=event.headers())
        for event in events
    ]
    try:
        async with asyncio.timeout(5):
            await asyncio.gather(*acks)
    finally:
        for ack in acks:
            ack.cancel()


def event_id_of(headers: Mapping[str, str], stream: str, sequence: int) -> uuid.UUID:
    """Return the id an event is known by; `headers` by their names in lower case.

    A back end that publishes without CloudEvents headers gets one from the message's place in the
    stream, which every redelivery shares.
    """
    given = headers.get("ce-id") or headers.get("nats-msg-id")
    if given:
        try:
            return uuid.UUID(given)
        except ValueError:
            return uuid.uuid5(uuid.NAMESPACE_OID, given)
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{stream}/{sequence}")
