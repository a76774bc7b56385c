"""The requests of a call that sends a stream of them, each counted while it is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import grpc

from chassis.admission.admission import Visit
from chassis.admission.drain import OpenCalls

T = TypeVar("T")


class Requests(Generic[T]):
    """Reads requests as they are taken.

    A request's memory is given back when the next one is taken, unless it is kept.
    """

    def __init__(
        self,
        visit: Visit,
        open_calls: OpenCalls,
        read_first: Callable[[], Awaitable[Any]],
        read: Callable[[], Awaitable[Any]],
        decode: Callable[[bytes], T],
    ) -> None:
        self._visit = visit
        self._open_calls = open_calls
        self._read_next = read_first
        self._read = read
        self._decode = decode
        self._size = 0

    def __aiter__(self) -> Requests[T]:
        return self

    async def __anext__(self) -> T:
        self._visit.let_go(self._size)
        self._size = 0
        body = await self._next_body()
        self._read_next = self._read
        if body is grpc.aio.EOF:
            self._visit.end_sending()
            raise StopAsyncIteration
        await self._visit.hold(len(body))
        self._size = len(body)
        return self._decode(body)

    async def _next_body(self) -> Any:
        """Wait for the next request, unless another tenant's stream needs this one's place."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a call runs in tasks
        given_way: list[bool] = []

        def stop() -> None:
            given_way.append(True)
            task.cancel()

        self._visit.begin_idle(stop)
        try:
            return await self._open_calls.read(self._read_next())
        except asyncio.CancelledError:
            if given_way:
                raise self._visit.gave_way() from None
            raise
        finally:
            self._visit.end_idle(stop)

    def keep(self) -> Callable[[object], None]:
        """Keep the request that was taken last until the function that is returned is called."""
        size, self._size = self._size, 0
        return lambda _: self._visit.let_go(size)
