"""A call that is refused leaves nothing in the memory of the service."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import psutil
import pytest

from devstack.stack import Stack, running

METHOD = "/prospect.activity.v1.ActivityService/RecordActivities"
# Two million empty entries: decoded they take some 80 MB.
BODY = b"\x0a\x00" * 2_000_000
CALLS = 12
MAX_GROWTH = 150_000_000


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The activity service as a process of its own."""
    with running(tmp_path_factory.mktemp("refused"), services=("activity",)) as stack:
        yield stack


def resident_bytes() -> int:
    """Return the memory of the service's process."""
    (process,) = [
        each
        for each in psutil.Process().children(recursive=True)
        if each.cmdline()[-2:] == ["serve", "activity"]
    ]
    return int(process.memory_info().rss)


async def call(channel: grpc.aio.Channel, body: bytes, metadata: Any) -> None:
    """Send bytes as a request."""
    rpc: Any = channel.unary_unary(METHOD)
    await rpc(body, metadata=metadata)


async def growth(stack: Stack, token: str) -> tuple[int, set[grpc.StatusCode]]:
    """Make the calls; return by how much the service grew after the first, and how they ended."""
    codes: set[grpc.StatusCode] = set()
    sizes = []
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
        for _ in range(CALLS):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call(channel, BODY, metadata)
            codes.add(refused.value.code())
            sizes.append(resident_bytes())
    return sizes[-1] - sizes[0], codes


async def test_calls_without_a_token_are_refused_before_they_are_decoded(stack: Stack) -> None:
    grown, codes = await growth(stack, "")
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}
    assert grown < MAX_GROWTH


async def test_requests_that_break_a_rule_are_not_kept_once_they_are_refused(stack: Stack) -> None:
    grown, codes = await growth(stack, stack.token(uuid.uuid4(), uuid.uuid4()))
    assert codes == {grpc.StatusCode.INVALID_ARGUMENT}
    assert grown < MAX_GROWTH


async def test_bytes_that_are_no_request_are_an_invalid_argument(stack: Stack) -> None:
    metadata = (("authorization", f"Bearer {stack.token(uuid.uuid4(), uuid.uuid4())}"),)
    async with grpc.aio.insecure_channel(stack.addresses["activity"]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(channel, b"\xff\xff", metadata)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "RecordActivitiesRequest" in (refused.value.details() or "")
