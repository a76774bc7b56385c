"""Sealing: a loop that appends each tenant's new batches to its tree and signs a new checkpoint.

It runs once a second; one transaction seals many batches of a tenant. All replicas run it: the one
that gets a tenant's lock seals, the others skip the tenant. A tree whose root is not the signed one
is left as it is and logged as an error: a signature over more of it would hide the change.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chassis.clock import Clock
from chassis.database import Connection, Pool, role_transaction, tenant_transaction
from chassis.loops import repeat
from chassis.transient import TRANSIENT
from services.activity.proof import checkpoint, merkle, tree
from services.activity.proof.checkpoint import NoteError, Statement
from services.activity.proof.merkle import Frontier
from services.activity.proof.tree import TreeBroken
from services.activity.sql import SQL

SEAL_SECONDS = 1.0
SEALER = "activity_sealer"
MAX_BATCHES = 512
MAX_ENTRIES = 50_000
_log = structlog.get_logger()


class Sealer:
    """Appends to the trees of all tenants and signs their checkpoints."""

    def __init__(
        self,
        pool: Pool,
        key: Ed25519PrivateKey,
        clock: Clock,
        former_keys: Sequence[Ed25519PublicKey] = (),
    ) -> None:
        self._pool = pool
        self._key = key
        self._trusted_keys = (key.public_key(), *former_keys)
        self._clock = clock
        self._broken: set[UUID] = set()

    async def run(self, stopping: asyncio.Event) -> None:
        """Seal until told to stop."""
        await repeat(self.seal_pending, stopping, name="sealing", every_seconds=SEAL_SECONDS)

    async def seal_pending(self) -> int:
        """Seal the new batches of every tenant; return how many entries were sealed."""
        async with role_transaction(self._pool, SEALER) as connection:
            rows = await connection.fetch(SQL.find_unsealed)
        tenants = [row["tenant_id"] for row in rows]
        random.shuffle(tenants)  # replicas begin with different ones
        return sum([await self._seal_tenant(tenant_id) for tenant_id in tenants])

    async def _seal_tenant(self, tenant_id: UUID) -> int:
        """Seal one tenant's batches, in as many transactions as they need.

        What is recorded meanwhile is left to the next run: otherwise a tenant that always records
        would be sealed a few entries at a time. An error in one tenant's tree is logged once and
        does not keep the others from being sealed.
        """
        sealed, more = 0, True
        try:
            while more:
                count, more = await self._seal_some(tenant_id)
                sealed += count
        except TRANSIENT:
            raise
        except Exception as error:
            if tenant_id not in self._broken:
                kind = type(error).__name__
                _log.error("sealing stopped", tenant=str(tenant_id), kind=kind, error=str(error))
            self._broken.add(tenant_id)
        else:
            self._broken.discard(tenant_id)
        return sealed

    async def _seal_some(self, tenant_id: UUID) -> tuple[int, bool]:
        """Seal some batches; return how many entries that was, and whether to go on."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            if not await connection.fetchval(SQL.lock_tree, tenant_id):
                return 0, False
            batches = await tree.take_unsealed(connection, tenant_id, MAX_BATCHES, MAX_ENTRIES)
            if not batches.batch_ids:
                return 0, False
            before = await self._trusted(connection, tenant_id)
            # In a thread: the event loop serves on while tens of thousands of nodes are hashed.
            growth = await asyncio.to_thread(merkle.append, before, batches.leaves)
            after = growth.frontier
            statement = Statement(checkpoint.origin_of(tenant_id), after.size, after.root())
            note = checkpoint.sign(statement, self._key)
            await tree.save_growth(connection, tenant_id, before, batches, growth)
            await tree.save_tree(connection, tenant_id, before.size, after, note, self._clock())
        count = after.size - before.size
        return count, len(batches.batch_ids) == MAX_BATCHES or count >= MAX_ENTRIES

    async def _trusted(self, connection: Connection, tenant_id: UUID) -> Frontier:
        """Return the stored frontier; raise TreeBroken where its root is not the signed one."""
        stored = await tree.find_tree(connection, tenant_id)
        if stored is None:
            if await connection.fetchval(SQL.any_sealed, tenant_id):
                raise TreeBroken("the tree is gone, but not the batches that were sealed in it")
            return Frontier()
        try:
            signed = checkpoint.read(stored.note, *self._trusted_keys)
        except NoteError as error:
            raise TreeBroken(str(error)) from None
        expected = checkpoint.origin_of(tenant_id), stored.frontier.size, stored.frontier.root()
        if (signed.origin, signed.size, signed.root) != expected:
            raise TreeBroken("the tree does not have the signed root")
        return stored.frontier
