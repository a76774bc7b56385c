"""Pages of usage: of any size and shape they hold what the answer in one piece holds."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, cast

import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb

from chassis import auth
from chassis.auth import Caller, current_caller
from chassis.database import Pool
from chassis.errors import InvalidArgument
from chassis.tokens import ContinuationTokens
from services.metrics.usage.calendar import Calendar
from services.metrics.usage.get_rpc import GetRpc
from services.metrics.usage.summary_rpc import SummaryRpc
from tests.metrics.feed import USERS, batch, counted, spread

pytestmark = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
MOST_PAGES = 40
KEYS = (b"k" * 32,)
START = datetime(2026, 3, 10, tzinfo=UTC)
SPANS = {
    pb.USAGE_GRAIN_UNSPECIFIED: ("2026-03-10", "2026-03-14"),
    pb.USAGE_GRAIN_HOUR: ("2026-03-10", "2026-03-10"),
    pb.USAGE_GRAIN_DAY: ("2026-03-09", "2026-03-15"),
    pb.USAGE_GRAIN_WEEK: ("2026-03-01", "2026-04-05"),
    pb.USAGE_GRAIN_MONTH: ("2026-01-15", "2026-06-15"),
}
GROUPS: list[list[Any]] = [
    [],
    [pb.USAGE_DIMENSION_USER],
    [pb.USAGE_DIMENSION_ACTION],
    [pb.USAGE_DIMENSION_USER, pb.USAGE_DIMENSION_ACTION],
]


def shapes() -> Iterator[pb.GetUsageRequest]:
    """Return one request for each way in which usage can be asked for."""
    for (grain, (first, last)), group_by, users in product(
        SPANS.items(), GROUPS, ([], [USERS[0]], USERS[1:3])
    ):
        if grain or not group_by:
            yield pb.GetUsageRequest(
                start_date=first, end_date=last, grain=grain, group_by=group_by, user_ids=users
            )


async def read(reading: GetRpc, request: pb.GetUsageRequest) -> tuple[list[int], list[Any]]:
    """Read all pages; return how many rows each had, and all rows."""
    asked, sizes, rows = pb.GetUsageRequest(), list[int](), list[Any]()
    asked.CopyFrom(request)
    nothing: Any = None
    while True:
        page = await reading.GetUsage(asked, nothing)
        found = [*page.rows, *page.periods]
        sizes.append(len(found))
        rows += found
        asked.page_token = page.next_page_token
        if not asked.page_token:
            return sizes, rows


@pytest.fixture
async def reading(pool: Pool) -> GetRpc:
    """What reads the usage of a tenant with some in each shape."""
    tenant_id = uuid.uuid4()
    for seed, days in enumerate((1, 5, 90)):
        moments = spread(START, timedelta(days=days), 40, seed)
        await counted(pool, tenant_id, [batch(tenant_id, moments, seed)])
    auth.set_caller(Caller(uuid.uuid4(), tenant_id, frozenset()))
    return GetRpc(pool, KEYS, Calendar())


async def test_pages_of_any_size_hold_every_row_of_any_shape_once(reading: GetRpc) -> None:
    for request in shapes():
        whole = (await read(reading, request))[1]
        assert whole
        number = len(whole)
        sizes = {1, 2, 3, 5, 7, 11, 12, 13, 23, 24, 25, number - 1, number, number + 1}
        for size in (each for each in sizes if 0 < each <= 1000 and number / each < MOST_PAGES):
            request.page_size = size
            pages, rows = await read(reading, request)
            assert rows == whole, (size, request)
            assert pages[:-1] == [size] * (len(pages) - 1), (size, request)


FORGED = [
    b"x", b"\xff", b"null", b"7", b"{}", b"[]", b'["a"]', b"[1]", b"[1, 2]", b"[1, 2, 3, 4]",
    b'[99999999999, "", 0]', b'[-1, "", 0]', b'[1.5, "", 0]', b'[true, "", 0]', b'[1, "", "x"]',
    b'[1, "nobody", 1e999]', b'["2026-03-10", 7]', b'["2026-03-32", "x"]',
]  # fmt: skip


@pytest.mark.parametrize("said", FORGED)
async def test_a_page_token_that_says_what_we_do_not_is_refused(
    reading: GetRpc, pool: Pool, said: bytes
) -> None:
    tenant_id, nothing = current_caller().tenant_id, cast(Any, None)
    for request in shapes():
        request.page_token = ContinuationTokens(KEYS, "usage", tenant_id, request).issue(said)
        with pytest.raises(InvalidArgument, match="page_token"):
            await reading.GetUsage(request, nothing)
    top = pb.ListTopUsersRequest(start_date="2026-03-10", end_date="2026-03-14")
    top.page_token = ContinuationTokens(KEYS, "top", tenant_id, top).issue(said)
    with pytest.raises(InvalidArgument, match="page_token"):
        await SummaryRpc(pool, KEYS, Calendar()).ListTopUsers(top, nothing)
