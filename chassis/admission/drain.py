"""How the calls end when the service stops, so that clients notice as little of it as can be.

gRPC's own stop cancels the calls that it has read and not handed to us, and those that come before
their clients have heard of the stop. A client sees CANCELLED then, after which no retry policy
calls again. So we let go of the clients before that stop: nobody connects any more, each client is
told to go (`GOAWAY` of HTTP/2), what it has sent by then is served, and the connection ends once it
has no call. Where TLS keeps us from telling, a call that comes in at the very end is UNAVAILABLE.
gRPC for Python offers none of this, hence the sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import stat
import sys
import termios
import time
from collections.abc import Awaitable, Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from chassis.errors import Unavailable

LOOK_SECONDS = 0.005
LATE_SECONDS = 0.05
GOAWAY_SECONDS = 0.5  # for a client to read the frame, and for what it sent before to come in
LAST_WORDS_SECONDS = 0.5  # for the answers of calls that were given up to leave
# RFC 9113, 6.8: eight bytes of type 7 on stream 0; any stream may have been taken; no error.
GOAWAY = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000")
FAMILIES = (socket.AF_INET, socket.AF_INET6)
T = TypeVar("T")
Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(slots=True)
class OpenCall:
    """A call that is served, and of whom: the port of the client's end of the connection."""

    client_port: int
    given_up: bool = False

    def outcome(self, error: BaseException) -> BaseException:
        """Return what the caller is told of the error that ended the call."""
        ours = self.given_up and isinstance(error, asyncio.CancelledError)
        return _stopping() if ours else error


class OpenCalls:
    """The calls that are served, and how a stop ends them."""

    def __init__(self) -> None:
        self._calls: dict[asyncio.Task[Any], OpenCall] = {}
        self._readers: set[asyncio.Task[Any]] = set()
        self._draining = False

    def begin(self, context: Context) -> OpenCall:
        """Count the call that the running task serves, until its answer has been sent.

        Raises CancelledError where it has ended before, while it stood in gRPC's line.
        """
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a call runs in a task
        # Now: gRPC crashes where it is asked for the peer of a call that has ended since.
        port = context.peer().rpartition(":")[2]
        if not port.isdigit():
            raise asyncio.CancelledError
        self._calls[task] = call = OpenCall(int(port))
        task.add_done_callback(self._calls.pop)
        return call

    async def read(self, request: Awaitable[T]) -> T:
        """Wait for the next request of a stream; raise Unavailable when the service stops."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- a call runs in tasks
        self._readers.add(task)
        if self._draining:
            self._interrupt()
        try:
            return await request
        except asyncio.CancelledError:
            if task not in self._readers:
                raise _stopping() from None
            raise
        finally:
            self._readers.discard(task)

    async def drain(self, ports: Collection[int], seconds: float, *, tls: bool) -> None:
        """Take no new client, and let go of each once it has no call; of all after `seconds`."""
        self._draining = True
        self._interrupt()
        _close_listeners(ports)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # Twice: a client may have been connected while the listeners were closed.
                await self._let_go(ports, tls=tls)
                await self._let_go(ports, tls=tls)
        await self._give_up()
        for _, connection in _sockets(ports):
            with connection:
                _end(connection)

    async def _let_go(self, ports: Collection[int], *, tls: bool) -> None:
        """End each connection once it has no call."""
        with ExitStack() as stack:
            found = [stack.enter_context(each) for _, each in _sockets(ports)]
            connections = [_Connection(each, told_at=0.0 if tls else None) for each in found]
            while connections:
                looked_at = time.monotonic()
                await asyncio.sleep(LOOK_SECONDS)
                if time.monotonic() - looked_at > LATE_SECONDS:
                    continue  # gRPC has calls for us that we have not taken
                busy = {call.client_port for call in self._calls.values()}
                connections = [each for each in connections if not each.let_go(busy)]

    async def _give_up(self) -> None:
        """End the calls that are left, and give their answers time to leave."""
        for task, call in self._calls.items():
            call.given_up = True
            task.cancel()
        if self._calls:
            await asyncio.wait(list(self._calls), timeout=LAST_WORDS_SECONDS)

    def _interrupt(self) -> None:
        """End the waits for a next request."""
        readers, self._readers = self._readers, set()
        for task in readers:
            task.cancel()


@dataclass(slots=True)
class _Connection:
    """A client's connection, and when it was told to go; 0 where it cannot be told."""

    socket: socket.socket
    told_at: float | None

    def let_go(self, busy: Collection[int]) -> bool:
        """Take the next step towards the end, if there is no call; return whether it has come."""
        try:
            if self.told_at is None:
                self._tell()
            elif self.socket.getpeername()[1] not in busy and (self._had_time() or self._is_left()):
                _end(self.socket)
                return True
        except BlockingIOError:
            return False
        except OSError:  # the client has gone
            return True
        return False

    def _tell(self) -> None:
        """Send the frame, between two of gRPC's.

        gRPC writes whole frames, but for what the kernel had no room for: then some are unsent.
        """
        unsent = int.from_bytes(fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        if not unsent:
            self.socket.send(GOAWAY, socket.MSG_DONTWAIT)
            self.told_at = time.monotonic()

    def _had_time(self) -> bool:
        return time.monotonic() > (self.told_at or 0) + GOAWAY_SECONDS

    def _is_left(self) -> bool:
        """Whether the client has closed its end, and all it sent has been read."""
        try:
            return not self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False


def _end(connection: socket.socket) -> None:
    """End a connection, behind all that has been sent: answers on their way arrive."""
    with contextlib.suppress(OSError):  # it has ended
        connection.shutdown(socket.SHUT_WR)


def _stopping() -> Unavailable:
    return Unavailable("this replica is stopping; call again", reason="STOPPING")


def _sockets(ports: Collection[int]) -> Iterator[tuple[int, socket.socket]]:
    """Yield each TCP socket of this process at the ports: its file descriptor and a duplicate."""
    for descriptor in map(int, os.listdir("/dev/fd")):
        with contextlib.suppress(OSError):  # closed meanwhile
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                found = socket.socket(fileno=os.dup(descriptor))
                if found.family in FAMILIES and found.getsockname()[1] in ports:
                    yield descriptor, found
                else:
                    found.close()


def _close_listeners(ports: Collection[int]) -> None:
    """Have new clients refused.

    gRPC keeps the descriptor, of a socket that does nothing: it would log that one is closed.
    """
    for descriptor, found in _sockets(ports):
        with found, socket.socket() as idle:
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                os.dup2(idle.fileno(), descriptor, inheritable=False)
