"""Idempotent requests: the same request_id gets the run that it got before, and no other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import asyncpg

from chassis.database import Connection
from chassis.errors import FailedPrecondition, FieldViolation, InvalidArgument, Refusal
from services.enrichment.policy.suppression import Hasher
from services.enrichment.run.plan import (
    BEING_CANCELLED,
    UNDER_WAY,
    Accepted,
    CannotJoin,
    Request,
)
from services.enrichment.sql import SQL

GONE = "REQUEST_GONE"


async def find_repeats(
    connection: Connection, hasher: Hasher, firsts: Mapping[UUID, Request], now: datetime
) -> dict[UUID, Accepted | Refusal]:
    """Return the answers to ids that were used before; wait for one that is being used now.

    An id that came with other content is refused, and so is one whose run was erased: neither a
    mistaken client nor a late repeat brings an erased person back.
    """
    hashes = {
        key: _hash_of(hasher, request)
        for key, request in sorted(firsts.items())
        if request.request_id
    }
    if not hashes:
        return {}
    tenant_id = next(iter(firsts.values())).tenant_id
    values = (tenant_id, list(hashes), now, list(hashes.values()))
    mine = await connection.fetch(SQL.add_request_ids, *values)
    repeated = hashes.keys() - {row["request_id"] for row in mine}
    if not repeated:
        return {}
    rows = await connection.fetch(SQL.find_requests, tenant_id, list(repeated))
    return {row["request_id"]: _answer(row, hashes[row["request_id"]]) for row in rows}


async def remember(
    connection: Connection,
    requests: Mapping[UUID, Request],
    answers: Mapping[UUID, Accepted | CannotJoin],
) -> None:
    """Keep which run each request id got; release the ids of refused requests."""
    keyed = {key: answers[key] for key, request in requests.items() if request.request_id}
    got = {key: each.run_id for key, each in keyed.items() if isinstance(each, Accepted)}
    tenant_id = next(iter(requests.values())).tenant_id
    if got:
        await connection.execute(SQL.remember_requests, tenant_id, list(got), list(got.values()))
    if refused := list(keyed.keys() - got.keys()):
        await connection.execute(SQL.release_requests, tenant_id, refused)


def answered(answer: Accepted | CannotJoin) -> Accepted | Refusal:
    """Return what the plan says to a request as its caller gets it."""
    if isinstance(answer, Accepted):
        return answer
    violations = [FieldViolation("prospect_id", "prospect_id.under_way", answer.text)]
    metadata = {"run_id": str(answer.run_id)}
    return FailedPrecondition(
        answer.text,
        reason=BEING_CANCELLED if answer.being_cancelled else UNDER_WAY,
        violations=violations,
        metadata=metadata,
    )


def place_taken(row: asyncpg.Record) -> Accepted | Refusal:
    """Return the answer to a place of a batch that was taken before."""
    if row["prospect_id"] is None:
        return _gone("batch_id", "what stood at this place has been erased")
    return Accepted(row["run_id"], row["prospect_id"], joined=True)


def _answer(row: asyncpg.Record, content_hash: bytes) -> Accepted | Refusal:
    if row["prospect_id"] is None:
        return _gone("request_id", "what it asked for has been erased; a new id asks anew")
    if row["content_hash"] not in (None, content_hash):
        return _taken()
    return Accepted(row["run_id"], row["prospect_id"], joined=True)


def again(answer: Accepted | Refusal, first: Request, request: Request) -> Accepted | Refusal:
    """Return the answer to a request whose id stands earlier in the same call."""
    if isinstance(answer, Refusal):
        return answer
    return replace(answer, joined=True) if _asked(first) == _asked(request) else _taken()


def _gone(field: str, text: str) -> Refusal:
    violations = [FieldViolation(field, f"{field}.gone", text)]
    return FailedPrecondition(f"{field}: {text}", reason=GONE, violations=violations)


def _taken() -> Refusal:
    text = "has been used for another request; the same id must come with the same content"
    return InvalidArgument.field("request_id", "request_id.taken", text)


def _hash_of(hasher: Hasher, request: Request) -> bytes:
    """Return a keyed hash of what is asked, which outlives an erasure and reveals nothing."""
    return hasher.keyed_hash(request.tenant_id, "request", json.dumps(_asked(request)))


def _asked(request: Request) -> list[object]:
    person = request.sent or request.person
    return [
        None if request.is_new else str(request.prospect_id),
        *(getattr(person, name) for name in person.__slots__),
        request.sources,
        request.force,
        request.budget_micros,
    ]
