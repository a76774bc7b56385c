"""Streams and consumers on the broker: made where they are missing, else the operator's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import structlog
from nats.aio.client import Client
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import APIError, NotFoundError

from chassis.messaging import Consumer, Stream

DECLARED = "prospect.declared"
"""The entry of a stream's or consumer's metadata that says how we have declared it."""
_log = structlog.get_logger()


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
