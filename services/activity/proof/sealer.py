"""Sealing: a loop that puts each tenant's new batches into its tree and signs the new checkpoint.

It looks once a second; one transaction takes many batches of a tenant. Replicas may all run it: who
has a tenant's lock seals, the others pass on. A tree that does not have the root that was signed is
left as it is, and said so: to append to it would put a good signature on what somebody changed.
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

LOOK_SECONDS = 1.0
SEALER = "activity_sealer"
MOST_BATCHES = 512
MOST_ENTRIES = 50_000
_log = structlog.get_logger()


class Sealer:
    """Appends to the trees of all tenants and signs."""

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
        await repeat(self.seal_pending, stopping, name="sealing", every_seconds=LOOK_SECONDS)

    async def seal_pending(self) -> int:
        """Seal what waits, of every tenant; return how many entries that was."""
        async with role_transaction(self._pool, SEALER) as connection:
            rows = await connection.fetch(SQL.find_unsealed)
        tenants = [row["tenant_id"] for row in rows]
        random.shuffle(tenants)  # replicas that look at once begin with different ones
        return sum([await self._seal_tenant(tenant_id) for tenant_id in tenants])

    async def _seal_tenant(self, tenant_id: UUID) -> int:
        """Seal one tenant's batches, a transaction for so many, as long as more are waiting.

        What comes meanwhile is for the next look: else a tenant that records all the time would be
        sealed a few entries at a time. What goes wrong with one tenant's tree is told once, and the
        others are sealed.
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
        """Return how many entries were sealed, and whether there were too many to take at once."""
        async with tenant_transaction(self._pool, tenant_id) as connection:
            if not await connection.fetchval(SQL.lock_tree, tenant_id):
                return 0, False
            batches = await tree.take_unsealed(connection, tenant_id, MOST_BATCHES, MOST_ENTRIES)
            if not batches.batch_ids:
                return 0, False
            before = await self._trusted(connection, tenant_id)
            # In a thread: the loop goes on serving while tens of thousands of nodes are hashed.
            growth = await asyncio.to_thread(merkle.append, before, batches.leaves)
            after = growth.frontier
            statement = Statement(checkpoint.origin_of(tenant_id), after.size, after.root())
            note = checkpoint.sign(statement, self._key)
            await tree.save_growth(connection, tenant_id, before, batches, growth)
            await tree.save_tree(connection, tenant_id, before.size, after, note, self._clock())
        count = after.size - before.size
        return count, len(batches.batch_ids) == MOST_BATCHES or count >= MOST_ENTRIES

    async def _trusted(self, connection: Connection, tenant_id: UUID) -> Frontier:
        """Return the frontier to append to, or raise TreeBroken where it is not the signed one."""
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
