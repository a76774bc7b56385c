"""Dead letters: an event that cannot be handled is kept, with its reason, for an operator.

The broker takes any dead letter that is made here. Of the event's headers it carries those of
CloudEvents, the content type and the trace alone: another one, such as a condition for the
publishing of the event, would make the broker refuse it. A body for which there is no room beside
the headers is replaced by its size and hash; the event's sequence in its stream is named as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import nats.errors
import prometheus_client
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import BadRequestError

from chassis.messaging import DEAD_LETTER_PREFIX, DEAD_LETTERS, stored

REFUSED_FOR_GOOD = (nats.errors.MaxPayloadError, nats.errors.BadSubjectError, BadRequestError)

BURIED = prometheus_client.Counter(
    "prospect_dead_letters", "events that became dead letters", ("consumer",)
)
DROPPED = prometheus_client.Counter(
    "prospect_dropped_events",
    "events that the broker refused even as dead letters",
    ("consumer",),
)
KEPT_HEADERS = frozenset({
    "ce-id", "ce-type", "ce-source", "ce-subject", "ce-time", "ce-specversion",
    "ce-datacontenttype", "ce-dataschema", "content-type", "traceparent",
})  # fmt: skip
SEQUENCE_HEADER = "Prospect-Original-Sequence"
"""Names the stream and the sequence of the event in it, `ACTIVITY/17`."""
_FORMER_SEQUENCE_HEADER = "Prospect-Original-Place"
"""The same in dead letters of the release before, for as long as the stream keeps them."""
MAX_VALUE = 500
"""No header's value is longer, in characters."""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that the broker takes."""

    subject: str
    body: bytes
    headers: Mapping[str, str]


def headers_of(message: Msg) -> dict[str, str]:
    """Return an event's headers by their names in lower case: HTTP's rule, which senders follow."""
    return {name.lower(): value for name, value in (message.headers or {}).items()}


def sequence_of(headers: Mapping[str, str]) -> str:
    """Return the stream and sequence of the event that became a dead letter with these headers."""
    return headers.get(SEQUENCE_HEADER) or headers.get(_FORMER_SEQUENCE_HEADER, "")


def dead_letter(message: Msg, consumer: str, reason: str, max_payload: int) -> DeadLetter:
    """Return the dead letter of an event; `max_payload` bounds its headers and body together."""
    given, metadata = headers_of(message), message.metadata
    sequence = f"{metadata.stream}/{metadata.sequence.stream}"
    kept = {name: value for name, value in given.items() if name in KEPT_HEADERS}
    headers = kept | {
        "Prospect-Dead-Reason": reason,
        "Prospect-Dead-Consumer": consumer,
        "Prospect-Original-Subject": message.subject,
        "Prospect-Original-Id": given.get("nats-msg-id", ""),
        SEQUENCE_HEADER: sequence,
        # Not the event's own id, for which the broker would drop the dead letter as a repeat.
        "Nats-Msg-Id": f"{consumer}/{sequence}",
    }
    headers = {name: _on_one_line(value) for name, value in headers.items()}
    body = message.data
    if len(body) + _size(headers) > max_payload:
        headers["Prospect-Body-Size"] = str(len(body))
        headers["Prospect-Body-Sha256"] = hashlib.sha256(body).hexdigest()
        body = b""
    return DeadLetter(f"{DEAD_LETTER_PREFIX}.{message.subject}", body, headers)


async def bury(client: Client, message: Msg, consumer: str, reason: str) -> None:
    """Publish an event's dead letter, then end the event.

    Where the broker refuses the dead letter for good, the event is ended all the same, and counted:
    else it would be delivered for ever. Raises nats.errors.Error where the broker does not answer.
    """
    letter = dead_letter(message, consumer, reason, client.max_payload)
    jetstream = client.jetstream()
    try:
        await jetstream.publish(
            letter.subject, letter.body, headers=dict(letter.headers), timeout=5
        )
    except REFUSED_FOR_GOOD as error:
        DROPPED.labels(consumer).inc()
        _log.error("event dropped", consumer=consumer, subject=letter.subject, error=repr(error))
    else:
        BURIED.labels(consumer).inc()
        _log.warning("dead letter", consumer=consumer, subject=letter.subject, reason=reason)
    await message.term()


async def rename_in_letters(client: Client, subject: str, old: UUID, new: UUID) -> None:
    """Put one id in the place of another in the dead letters of a subject.

    Both are equally long as text, so a message stays one. A stored event cannot be changed: a copy
    with the new id takes the place of the letter.
    """
    named, renamed = re.compile(str(old).encode(), re.IGNORECASE), str(new).encode()
    async for letter in stored(client, DEAD_LETTERS, f"{DEAD_LETTER_PREFIX}.{subject}"):
        headers, body = json.dumps(letter.headers or {}).encode(), letter.data or b""
        if not letter.seq or not named.search(headers + body):
            continue
        headers_of_copy = json.loads(named.sub(renamed, headers))
        # Not the letter's own id, for which the broker would drop the copy as a repeat.
        headers_of_copy["Nats-Msg-Id"] = f"{DEAD_LETTERS}/{letter.seq}"
        await client.jetstream().publish(
            str(letter.subject), named.sub(renamed, body), headers=headers_of_copy, timeout=5
        )
        await client.jetstream().delete_msg(DEAD_LETTERS, letter.seq)


def _on_one_line(value: str) -> str:
    printable = "".join(each if each.isprintable() else " " for each in value)
    return " ".join(printable.split())[:MAX_VALUE]


def _size(headers: Mapping[str, str]) -> int:
    """Return what the headers take on the wire, and as much again as is added above."""
    lines = (len(name) + len(value.encode()) + 4 for name, value in headers.items())
    return sum(lines) + 512
