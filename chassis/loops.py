"""Work that is repeated until the service stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from chassis import telemetry
from chassis.transient import TRANSIENT

RETRY_SECONDS = 5.0
_log = structlog.get_logger()


async def repeat(
    work: Callable[[], Awaitable[object]],
    stopping: asyncio.Event,
    *,
    name: str,
    every_seconds: float,
    early: asyncio.Event | None = None,
) -> None:
    """Do the work now and every `every_seconds`; sooner after a failure, or once `early` is set.

    An error is logged and ends nothing: the next pass may succeed, and the service has other work.
    """
    early = early or asyncio.Event()
    while not stopping.is_set():
        telemetry.start_trace(None)
        early.clear()
        wait = every_seconds
        try:
            await work()
        except TRANSIENT as error:
            _log.warning("waits", work=name, error=repr(error))
            wait = min(every_seconds, RETRY_SECONDS)
        except Exception:
            _log.exception("failed", work=name)
            wait = min(every_seconds, RETRY_SECONDS)
        await sleep(wait, stopping, early)


async def sleep(seconds: float, *events: asyncio.Event) -> None:
    """Wait this long, or until one of the events is set."""
    waits = [asyncio.ensure_future(each.wait()) for each in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
