"""The RPCs that prove the log unchanged: checkpoint, proofs, verification."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from prospect.activity.v1 import activity_service_pb2 as pb

from chassis.auth import current_caller
from chassis.clock import Clock, to_timestamp
from chassis.database import Connection, Pool, tenant_snapshot
from chassis.errors import InvalidArgument, NotFound, Unavailable
from chassis.interceptor import Context
from chassis.validation import parse_time
from services.activity.entries.batch import time_of_id
from services.activity.entries.filters import refuse_empty_range
from services.activity.proof import checkpoint, merkle, tree
from services.activity.proof.checkpoint import NoteError
from services.activity.proof.discrepancy import Discrepancy, Kind
from services.activity.proof.merkle import Range
from services.activity.proof.tree import Tree, TreeBroken
from services.activity.proof.verification import Progress, Question, Verification
from services.activity.retention.kept import complete_since
from services.activity.sql import EARLIEST_TIME, LATEST_TIME, SQL

ID_TIME_MARGIN = timedelta(hours=24)
MAX_DISCREPANCIES = 1_000
KINDS = {
    Kind.ALTERED: pb.FINDING_KIND_ALTERED,
    Kind.REMOVED: pb.FINDING_KIND_REMOVED,
    Kind.INSERTED: pb.FINDING_KIND_INSERTED,
    Kind.TREE: pb.FINDING_KIND_TREE,
}


class ProofRpc:
    """Proves and verifies the log of the caller's tenant."""

    def __init__(
        self,
        pool: Pool,
        clock: Clock,
        retention: timedelta,
        log_keys: tuple[Ed25519PublicKey, ...],
    ) -> None:
        """`log_keys` are the keys that may have signed a checkpoint."""
        self._pool = pool
        self._clock = clock
        self._retention = retention
        self._log_keys = log_keys

    async def GetCheckpoint(
        self, request: pb.GetCheckpointRequest, context: Context
    ) -> pb.GetCheckpointResponse:
        """Return the newest checkpoint."""
        tenant_id = current_caller().tenant_id
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            stored = await _tree_of(connection, tenant_id)
        try:
            _, key = checkpoint.read_signed(stored.note, self._log_keys)
        except NoteError as error:
            raise TreeBroken(str(error)) from None
        return pb.GetCheckpointResponse(
            checkpoint=pb.Checkpoint(
                tree_size=stored.frontier.size,
                root_hash=stored.frontier.root(),
                sealed_at=to_timestamp(stored.sealed_at),
                note=stored.note,
                public_key=checkpoint.public_pem(key),
            )
        )

    async def GetLogProof(
        self, request: pb.GetLogProofRequest, context: Context
    ) -> pb.GetLogProofResponse:
        """Prove that an entry is in the log, or that an earlier log is its beginning."""
        tenant_id = current_caller().tenant_id
        inclusion = request.HasField("inclusion")
        period = _period(request.inclusion) if inclusion else (EARLIEST_TIME, LATEST_TIME)
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            stored = await _tree_of(connection, tenant_id)
            log = _Log(connection, tenant_id, stored, _tree_size(request, stored))
            if inclusion:
                return await log.prove_inclusion(UUID(request.inclusion.activity_id), period)
            return await log.prove_consistency(request.consistency.first_tree_size)

    async def VerifyLog(
        self, request: pb.VerifyLogRequest, context: Context
    ) -> AsyncIterator[pb.VerifyLogResponse]:
        """Compare every sealed entry with its hash, and the tree with its checkpoint."""
        tenant_id = current_caller().tenant_id
        start, end = _limits(request)
        sent = 0
        async with tenant_snapshot(self._pool, tenant_id) as connection:
            kept_since = await complete_since(connection, tenant_id, self._retention, self._clock())
            question = Question(tenant_id, self._log_keys, kept_since, start, end)
            verification = Verification(connection, question)
            async for said in verification.run():
                if isinstance(said, Progress):
                    yield pb.VerifyLogResponse(progress=_progress(said))
                elif sent < MAX_DISCREPANCIES:
                    sent += 1
                    yield pb.VerifyLogResponse(finding=_discrepancy(said))
        yield pb.VerifyLogResponse(summary=_summary(verification))


@dataclass(frozen=True, slots=True)
class _Log:
    """A tenant's log at the size for which a proof is wanted."""

    connection: Connection
    tenant_id: UUID
    stored: Tree
    size: int

    async def prove_inclusion(
        self, activity_id: UUID, period: tuple[datetime, datetime]
    ) -> pb.GetLogProofResponse:
        found = await self.connection.fetchrow(SQL.find_leaf, self.tenant_id, activity_id, *period)
        index, leaf = _placed(found, self.size)
        hashes, root = await self._roots(merkle.inclusion_ranges(index, self.size))
        if not merkle.verify_inclusion(leaf, index, self.size, hashes, root):
            raise TreeBroken("the entry's leaf does not lead to the root; VerifyLog says more")
        return pb.GetLogProofResponse(
            hashes=hashes, leaf_index=index, leaf_hash=leaf, tree_size=self.size, root_hash=root
        )

    async def prove_consistency(self, first: int) -> pb.GetLogProofResponse:
        if first > self.size:
            text = f"must not be above the tree's size, {self.size}"
            raise InvalidArgument.field("consistency.first_tree_size", "tree_size", text)
        hashes, root = await self._roots(merkle.consistency_ranges(first, self.size))
        return pb.GetLogProofResponse(hashes=hashes, tree_size=self.size, root_hash=root)

    async def _roots(self, ranges: Sequence[Range]) -> tuple[list[bytes], bytes]:
        """Return the root over each range, and that of the whole log."""
        wanted = [*ranges, (0, self.size)]
        *hashes, root = await tree.range_roots(
            self.connection, self.tenant_id, wanted, self.stored.frontier.size
        )
        newest = self.stored.frontier
        if self.size == newest.size and root != newest.root():
            raise TreeBroken("the tree does not have the signed root; VerifyLog says more")
        return hashes, root


def _limits(request: pb.VerifyLogRequest) -> tuple[datetime, datetime]:
    """Return the range of time whose entries are compared; its end is excluded."""
    start = parse_time("start_time", request.start_time)
    end = parse_time("end_time", request.end_time)
    refuse_empty_range(request, "end_time", "verify.end_after_start")
    return (
        _within(start) if request.HasField("start_time") else EARLIEST_TIME,
        _within(end) if request.HasField("end_time") else LATEST_TIME,
    )


def _within(moment: datetime) -> datetime:
    return min(max(moment, EARLIEST_TIME), LATEST_TIME)


async def _tree_of(connection: Connection, tenant_id: UUID) -> Tree:
    stored = await tree.find_tree(connection, tenant_id)
    if stored is None:
        raise NotFound("nothing of the log is sealed yet", reason="NOTHING_SEALED")
    return stored


def _tree_size(request: pb.GetLogProofRequest, stored: Tree) -> int:
    newest = stored.frontier.size
    if request.tree_size > newest:
        text = f"must not be above the newest checkpoint's, {newest}"
        raise InvalidArgument.field("tree_size", "tree_size", text)
    return request.tree_size or newest


def _placed(found: asyncpg.Record | None, size: int) -> tuple[int, bytes]:
    """Return an entry's index in a log of this size and its leaf, or refuse an entry not in it."""
    if found is None:
        raise NotFound("the log has no such entry", reason="ACTIVITY_NOT_FOUND")
    if found["leaf"] is None:
        raise TreeBroken("the entry's batch does not hold it; VerifyLog says more")
    if found["leaf_index"] is None:
        raise Unavailable("the entry is not sealed yet: ask again soon", reason="NOT_SEALED_YET")
    index = int(found["leaf_index"])
    if index >= size:
        text = f"must be above the entry's index in the log, {index}"
        raise InvalidArgument.field("tree_size", "tree_size", text)
    return index, found["leaf"]


def _period(query: pb.InclusionQuery) -> tuple[datetime, datetime]:
    """Return the earliest and the latest time at which the entry may have happened."""
    if query.HasField("created_at"):
        moment = _within(parse_time("inclusion.created_at", query.created_at))
        return moment, moment
    implied = time_of_id(query.activity_id)
    if implied is None:
        text = "must be sent with an activity_id that is not of version 7"
        raise InvalidArgument.field("inclusion.created_at", "activity.created_at_with_id", text)
    try:
        moment = datetime.fromtimestamp(implied / 1_000_000, UTC)
    except (ValueError, OverflowError):
        moment = LATEST_TIME - ID_TIME_MARGIN
    return moment - ID_TIME_MARGIN, moment + ID_TIME_MARGIN


def _progress(said: Progress) -> pb.VerifyProgress:
    return pb.VerifyProgress(checked_count=said.checked_count, total_count=said.total_count)


def _discrepancy(said: Discrepancy) -> pb.LogFinding:
    return pb.LogFinding(
        kind=KINDS[said.kind],
        activity_id=str(said.activity_id or ""),
        created_at=to_timestamp(said.created_at),
        detail=said.detail,
    )


def _summary(done: Verification) -> pb.VerifySummary:
    return pb.VerifySummary(
        intact=done.discrepancy_count == 0,
        tree_size=done.computed.size,
        root_hash=done.computed.root(),
        checked_count=done.checked_count - done.counts["erased"] - done.counts["expired"],
        erased_count=done.counts["erased"],
        expired_count=done.counts["expired"],
        unsealed_count=done.counts["unsealed"],
        finding_count=done.discrepancy_count,
    )
