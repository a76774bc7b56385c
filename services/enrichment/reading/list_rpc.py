"""ListProspects and ListRuns: pages, newest first.

A page token holds the time and id of a page's last row, so that rows added meanwhile move nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from prospect.enrichment.v1 import enrichment_service_pb2 as pb
from prospect.enrichment.v1 import runs_pb2

from chassis import paging
from chassis.auth import current_caller
from chassis.database import Pool, tenant_transaction
from chassis.interceptor import Context
from chassis.tokens import ContinuationTokens, TokenKeys
from services.enrichment.reading import messages, store
from services.enrichment.reading.filters import prospect_filter, run_filter
from services.enrichment.reading.store import Cursor, RunRow

DEFAULT_PAGE = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ListRpc:
    """Lists prospects and runs of the caller's tenant."""

    def __init__(self, pool: Pool, token_keys: TokenKeys) -> None:
        self._pool = pool
        self._token_keys = token_keys

    async def ListProspects(
        self, request: pb.ListProspectsRequest, context: Context
    ) -> pb.ListProspectsResponse:
        """Return a page of prospects."""
        tenant_id, wanted = current_caller().tenant_id, prospect_filter(request)
        tokens = ContinuationTokens(self._token_keys, "prospects", tenant_id, request)
        size = request.page_size or DEFAULT_PAGE
        after = _cursor(tokens, request.page_token)
        async with tenant_transaction(
            self._pool, tenant_id, plans="force_custom_plan"
        ) as connection:
            rows = await store.list_prospects(connection, tenant_id, wanted, after, size + 1)
        return pb.ListProspectsResponse(
            prospects=[
                messages.prospect_message(row, steps, row["steps"]) for row, steps in rows[:size]
            ],
            next_page_token=_next(tokens, rows, size, "prospect_id"),
        )

    async def ListRuns(
        self, request: runs_pb2.ListRunsRequest, context: Context
    ) -> runs_pb2.ListRunsResponse:
        """Return a page of runs."""
        tenant_id, wanted = current_caller().tenant_id, run_filter(request.filter)
        tokens = ContinuationTokens(self._token_keys, "runs", tenant_id, request.filter)
        size = request.page_size or DEFAULT_PAGE
        after = _cursor(tokens, request.page_token)
        async with tenant_transaction(
            self._pool, tenant_id, plans="force_custom_plan"
        ) as connection:
            rows = await store.list_runs(connection, tenant_id, wanted, after, size + 1)
        return runs_pb2.ListRunsResponse(
            runs=[messages.run_message(*row) for row in rows[:size]],
            next_page_token=_next(tokens, rows, size, "run_id"),
        )


def _next(tokens: ContinuationTokens, rows: Sequence[RunRow], size: int, key: str) -> str:
    """Return the token for what comes after a page; empty where nothing does."""
    if len(rows) <= size:
        return ""
    last, _ = rows[size - 1]
    moment = (last["created_at"] - _EPOCH) // timedelta(microseconds=1)
    return paging.Cursor(moment, last[key]).token(tokens)


def _cursor(tokens: ContinuationTokens, token: str) -> Cursor | None:
    after = paging.read_cursor(tokens, token)
    if after is None:
        return None
    return _EPOCH + timedelta(microseconds=after.micros), after.row_id
