"""Suppress and Unsuppress: whom a tenant never asks about, kept as keyed hashes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

from prospect.enrichment.v1 import policy_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock
from chassis.database import Pool, tenant_transaction
from chassis.errors import FieldViolation, InvalidArgument
from chassis.interceptor import Context
from services.enrichment.policy.store import suppress
from services.enrichment.policy.suppression import Hasher, Key
from services.enrichment.sql import SQL


class SuppressionRpc:
    """Keeps the suppression list of the caller's tenant."""

    def __init__(self, pool: Pool, clock: Clock, hasher: Hasher) -> None:
        self._pool = pool
        self._clock = clock
        self._hasher = hasher

    async def Suppress(self, request: pb.SuppressRequest, context: Context) -> pb.SuppressResponse:
        """Put people on the list."""
        tenant_id, reason = current_caller().tenant_id, request.reason
        keys = await _keys_of(self._hasher, tenant_id, request.people)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            added = await suppress(connection, tenant_id, keys, reason, self._clock())
        return pb.SuppressResponse(added=added, known=len(keys) - added)

    async def Unsuppress(
        self, request: pb.UnsuppressRequest, context: Context
    ) -> pb.UnsuppressResponse:
        """Take people off the list."""
        tenant_id = current_caller().tenant_id
        keys = await _keys_of(self._hasher, tenant_id, request.people)
        async with tenant_transaction(self._pool, tenant_id) as connection:
            hashes = [key.keyed_hash for key in keys]
            rows = await connection.fetch(SQL.unsuppress, tenant_id, hashes)
        return pb.UnsuppressResponse(removed=len(rows))


async def _keys_of(
    hasher: Hasher, tenant_id: UUID, people: Sequence[pb.SuppressedPerson]
) -> list[Key]:
    """Return the keys of people, each once; refuse people whom nothing given identifies.

    Other calls are served in between: a name of odd characters takes a millisecond.
    """
    keys: dict[Key, None] = {}
    faults: list[FieldViolation] = []
    for index, person in enumerate(people):
        await asyncio.sleep(0)
        mine = hasher.keys(
            tenant_id, [person.email], [person.linkedin_url], person.name, person.company
        )
        keys |= dict.fromkeys(mine)
        faults += _faults(f"people[{index}]", person, {key.kind for key in mine})
    if faults:
        raise InvalidArgument.of(faults)
    return list(keys)


def _faults(field: str, person: pb.SuppressedPerson, kinds: set[str]) -> Iterator[FieldViolation]:
    if person.linkedin_url and "linkedin_url" not in kinds:
        text = "must be the address of a LinkedIn profile, with /in/ or /pub/"
        yield FieldViolation(f"{field}.linkedin_url", "suppression.linkedin_url", text)
    elif not kinds:
        text = "must have an e-mail, a LinkedIn URL, or name and company"
        yield FieldViolation(field, "suppression.key", text)
