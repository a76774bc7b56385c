"""A tenant's log as the tests of its proof use it: recorded, sealed and tampered with."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from chassis.clock import new_id, utc_now
from chassis.database import Pool, tenant_transaction
from services.activity.entries.batch import Columns
from services.activity.months.partitions import Partitions
from services.activity.proof import tree
from services.activity.proof.sealer import Sealer
from services.activity.proof.tree import Tree
from services.activity.recording import store
from tests.harness import Database

RETENTION = timedelta(days=395)


def entries(
    count: int, *, metadata: Sequence[dict[str, Any]] = ({},), at: datetime | None = None
) -> Columns:
    """Return entries a second apart, the last of them now or `at`."""
    last = at or utc_now()
    moments = [last - timedelta(seconds=count - 1 - place) for place in range(count)]
    return Columns(
        activity_ids=[str(new_id(moment)) for moment in moments],
        user_ids=[str(uuid.uuid4())] * count,
        action_types=["login"] * count,
        target_ids=["list-7"] * count,
        metadata=[json.dumps(metadata[place % len(metadata)]) for place in range(count)],
        created_at=[round(moment.timestamp() * 1_000_000) for moment in moments],
        ip_addresses=["2001:db8::1"] * count,
        user_agents=["curl/8"] * count,
    )


@dataclass(frozen=True)
class SealedLog:
    """One tenant's log, on a database of the test's own."""

    database: Database
    pool: Pool
    key: Ed25519PrivateKey
    tenant_id: uuid.UUID

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that checks the log's checkpoints."""
        return self.key.public_key()

    def sealer(self) -> Sealer:
        """Return a replica's sealer."""
        return Sealer(self.pool, self.key, utc_now)

    async def record(self, *batches: Columns) -> list[uuid.UUID]:
        """Record batches, each in a transaction of its own; return the ids."""
        partitions = Partitions(self.pool, utc_now)
        for columns in batches:
            await partitions.cover(columns.created_at)
            async with tenant_transaction(self.pool, self.tenant_id) as connection:
                await store.append_or_skip(connection, self.tenant_id, columns)
        return [uuid.UUID(each) for columns in batches for each in columns.activity_ids]

    async def seal(self) -> int:
        """Seal what waits."""
        return await self.sealer().seal_pending()

    async def seal_all(self) -> None:
        """Seal until nothing waits, though a running service may be at it as well."""
        unsealed = "select from activity.batches where tenant_id = $1 and first_leaf is null"
        while await self.fetch(unsealed, self.tenant_id):
            await self.seal()

    async def sealed(self, *sizes: int) -> list[uuid.UUID]:
        """Record batches of these sizes and seal them; return the ids in the order of the tree."""
        await self.record(*(entries(size) for size in sizes))
        await self.seal_all()
        rows = await self.fetch(
            "select unnest(activity_ids) as id from activity.batches where tenant_id = $1"
            " order by first_leaf",
            self.tenant_id,
        )
        return [row["id"] for row in rows]

    async def tree(self) -> Tree:
        """Return the tree as it is stored."""
        async with tenant_transaction(self.pool, self.tenant_id) as connection:
            found = await tree.find_tree(connection, self.tenant_id)
        assert found is not None
        return found

    async def leaves(self) -> list[bytes]:
        """Return the sealed leaves in order."""
        rows = await self.fetch(
            "select leaves from activity.batches"
            " where tenant_id = $1 and first_leaf is not null order by first_leaf",
            self.tenant_id,
        )
        joined = b"".join(row["leaves"] for row in rows)
        return [joined[at : at + 32] for at in range(0, len(joined), 32)]

    async def fetch(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a statement as the superuser: what somebody with the database in hand can do."""
        return await self.database.fetch(sql, *arguments)
