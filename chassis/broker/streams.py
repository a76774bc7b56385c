"""Streams and consumers on the broker: made where they are missing, else the operator's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    Placement,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from chassis.messaging import Consumer, Stream
from chassis.settings import StreamSettings

DECLARED = "prospect.declared"
"""The entry of a stream's or consumer's metadata that says how we have declared it."""
MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is another on the broker than we declare; MISSING where there is nothing."""

    kind: str
    name: str
    setting: str
    declared: Any
    found: Any


def with_limits(stream: Stream, limits: StreamSettings) -> Stream:
    """Return a stream with the operator's settings; dead letters are as large as their events.

    One with schedules has no size: the broker lets it refuse nothing, and it would drop a schedule.
    """
    size = limits.nats_max_event_kb * 1024 if stream.refuses_when_full else 0
    tags = tuple(each.strip() for each in limits.nats_stream_tags.split(",") if each.strip())
    return replace(
        stream,
        max_bytes=0 if stream.schedules else limits.nats_stream_max_mb * 1024**2,
        max_msg_size=size,
        replicas=limits.nats_stream_replicas,
        tags=tags,
    )


async def ensure(
    client: Client,
    streams: Sequence[Stream],
    consumers: Sequence[Consumer] = (),
    needed: Sequence[Stream] = (),
) -> list[Difference]:
    """Make what is declared and missing; any number of replicas may do so at once.

    What is there is the operator's: of `streams` and `consumers` only that is changed which we have
    declared otherwise since we made them, and a stream gets the subjects that it lacks. Of streams
    that are merely `needed` nothing is changed. Returns what he has set otherwise than we declare.
    """
    left: list[Difference] = []
    for each in _declared(streams):
        left += await _ensure(client, each)
    for each in _declared(needed):  # before the consumers, some of which are of these
        await _ensure(client, each, ours=False)
    for each in _declared((), consumers):
        left += await _ensure(client, each)
    return left


async def differences(
    client: Client, streams: Sequence[Stream], consumers: Sequence[Consumer] = ()
) -> list[Difference]:
    """Return what is missing or set otherwise than we declare."""
    found: list[Difference] = []
    for each in _declared(streams, consumers):
        found += each.differences(await _config(client, each))
    return found


async def apply(
    client: Client, streams: Sequence[Stream], consumers: Sequence[Consumer] = ()
) -> None:
    """Make what is declared and missing, and set as declared what is there.

    What we do not declare stays as it is. Raises APIError for what a broker does not change.
    """
    for each in _declared(streams, consumers):
        there = await _config(client, each)
        if there is None:
            await _write(client, each, each.config | _note(each, {}), new=True)
        elif each.differences(there):
            wanted = there | each.config | _note(each, there.get("metadata") or {})
            if "subjects" in each.config:
                subjects = [*there["subjects"], *each.config["subjects"]]
                wanted["subjects"] = list(dict.fromkeys(subjects))
            await _write(client, each, wanted, new=False)


@dataclass(frozen=True, slots=True)
class _Declared:
    """What we declare of one stream or consumer, as the broker's API has it."""

    kind: str
    path: str
    config: dict[str, Any]

    def differences(self, found: dict[str, Any] | None) -> list[Difference]:
        """Return what is otherwise; of subjects, those that are missing."""
        kind, name = self.kind.lower(), self.config["name"]
        if found is None:
            return [Difference(kind, name, MISSING, None, None)]
        differing = []
        for setting, declared in self.config.items():
            there = found.get(setting)
            if setting == "subjects" and set(declared) <= set(there or ()):
                continue
            if _plain(declared) != _plain(there):
                differing.append(Difference(kind, name, setting, declared, there))
        return differing


def _plain(value: Any) -> Any:
    """Return a value as it can be compared: the broker leaves out what is empty or 0."""
    if isinstance(value, dict):
        value = {name: each for name, each in value.items() if each}
    return value or None


def _declared(streams: Sequence[Stream], consumers: Sequence[Consumer] = ()) -> Iterator[_Declared]:
    for stream in streams:
        yield _Declared("STREAM", stream.name, _stream_config(stream))
    for consumer in consumers:
        path = f"{consumer.stream}.{consumer.name}"
        yield _Declared("CONSUMER", path, _consumer_config(consumer))


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
        num_replicas=stream.replicas or None,
        placement=Placement(tags=list(stream.tags)) if stream.tags else None,
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


async def _ensure(client: Client, declared: _Declared, *, ours: bool = True) -> list[Difference]:
    """Make a stream or a consumer, or bring one that is there up to what is declared now."""
    found = await _config(client, declared)
    if found is None:
        await _write(client, declared, declared.config | _note(declared, {}), new=True)
        return []
    wanted = _brought_up(found, declared)
    if ours and wanted != found:
        await _write(client, declared, wanted, new=False)
    return declared.differences(wanted)


def _brought_up(found: dict[str, Any], declared: _Declared) -> dict[str, Any]:
    """Return what is there, with the values that have been declared otherwise since.

    All else is as an operator has set it; he sees in the metadata what was declared.
    """
    config, metadata = declared.config, found.get("metadata") or {}
    before = json.loads(metadata.get(DECLARED, "null"))
    changed = {k: v for k, v in config.items() if before is not None and before.get(k) != v}
    wanted = found | changed
    if changed:
        wanted |= _note(declared, metadata)
    if "subjects" in config:
        dropped = {*(before or config)["subjects"]} - {*config["subjects"]}
        kept = [each for each in found["subjects"] if each not in dropped]
        wanted["subjects"] = list(dict.fromkeys([*kept, *config["subjects"]]))
    return wanted


def _note(declared: _Declared, metadata: dict[str, str]) -> dict[str, Any]:
    """Return the metadata with what we declare."""
    return {"metadata": metadata | {DECLARED: json.dumps(declared.config)}}


async def _config(client: Client, declared: _Declared) -> dict[str, Any] | None:
    try:
        answer = await _ask(client, f"{declared.kind}.INFO.{declared.path}", {})
    except NotFoundError:
        return None
    config: dict[str, Any] = answer["config"]
    return config


async def _write(client: Client, declared: _Declared, config: dict[str, Any], *, new: bool) -> None:
    path, body = declared.path, config
    verb = "CREATE" if new or declared.kind == "CONSUMER" else "UPDATE"
    if declared.kind == "CONSUMER":
        stream = path.split(".", maxsplit=1)[0]
        path, body = f"{path}.{config['filter_subject']}", {"stream_name": stream, "config": config}
    await _ask(client, f"{declared.kind}.{verb}.{path}", body)


async def _ask(client: Client, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the broker; nats-py would drop the settings that it does not know."""
    answer = await client.request(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=5)
    told: dict[str, Any] = json.loads(answer.data)
    if "error" in told:
        raise APIError.from_error(told["error"])
    return told
