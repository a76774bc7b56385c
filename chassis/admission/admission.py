"""What a call must get past before it is read, and what it may hold until it ends."""

from __future__ import annotations

import math
import time
from typing import Any
from uuid import UUID

import grpc
from prometheus_client import Counter, Gauge

from chassis.admission.concurrency import ConcurrencyLimit
from chassis.admission.gate import Gate
from chassis.admission.reads import Reads, Stop
from chassis.admission.tenants import Load, Tenant, Tenants
from chassis.errors import Limit, ResourceExhausted
from chassis.settings import ServiceSettings

# A message up to this size costs a call little beside what each call costs; it is not counted.
SMALL_BYTES = 16 * 1024
# Messages are read whole, and only then is their size known: so many of the largest at once take
# twice the memory that requests may hold.
READERS_PER_MEMORY = 2
SENDING_STREAMS_PER_READER = 4
# So many calls may always be in work: for each connection one that has it and one that is next.
WORK_PER_CONNECTION = 2
# Of open calls a tenth is kept for tenants that have few: a call does not wait for its place here.
KEPT = 10
RETRY_SECONDS = 1.0
Context = grpc.aio.ServicerContext[Any, Any]
REFUSED = Counter(
    "prospect_calls_refused_total", "calls that were refused for a limit of admission", ("limit",)
)
OPEN_CALLS = Gauge("prospect_calls_open", "calls that this replica is serving")
HELD_BYTES = Gauge(
    "prospect_message_bytes_held", "bytes of large requests and answers that this replica holds"
)
EXPENSIVE_CALLS = Gauge("prospect_expensive_calls", "expensive calls that this replica is serving")


class Admission:
    """Admits calls within the limits of the settings."""

    def __init__(self, settings: ServiceSettings, expensive: int) -> None:
        """`expensive` is how many expensive calls may run at once."""
        memory = settings.message_memory_mb * 1024 * 1024
        readers = max(2, READERS_PER_MEMORY * settings.message_memory_mb // settings.max_message_mb)
        self.queue_seconds = settings.queue_seconds
        self.calls = Gate("open_calls", settings.max_calls, settings.max_calls // KEPT)
        self.work = Gate("calls_in_work", settings.max_calls_in_work)
        self.work_limit = ConcurrencyLimit(
            self.work, least=WORK_PER_CONNECTION * settings.postgres_pool_size
        )
        self.readers = Gate("requests_being_read", readers)
        self.reads = Reads()
        self.senders = Gate("sending_streams", readers * SENDING_STREAMS_PER_READER)
        self.idle_senders = Reads()
        self.memory = Gate("message_bytes", memory)
        self.expensive = Gate("expensive_calls", expensive)
        self._burst_seconds = settings.burst_seconds
        rates = {
            Load.READ: settings.reads_per_second,
            Load.WRITE: settings.writes_per_second,
            Load.EXPENSIVE: settings.expensive_per_second,
        }
        self._tenants = Tenants(settings.tenant_share, rates, settings.tenant_limits)
        OPEN_CALLS.set_function(lambda: self.calls.held)
        HELD_BYTES.set_function(lambda: self.memory.held)
        EXPENSIVE_CALLS.set_function(lambda: self.expensive.held)

    def enter(self, tenant_id: UUID | None, load: Load, context: Context) -> Visit:
        """Count a call in; refuse it where its tenant calls too often or has too many open."""
        tenant = self._tenants.of(tenant_id)
        wait = tenant.wait_seconds(load, self._burst_seconds, time.monotonic())
        if wait:
            name, rate = f"{load}_calls_per_second", tenant.rates[load]
            REFUSED.labels(name).inc()
            text = f"the tenant's rate of {rate:g} {load} calls a second is used up"
            raise ResourceExhausted.beyond(
                Limit(name, tenant.subject, int(rate)),
                text,
                reason="RATE_EXCEEDED",
                retry_seconds=wait,
            )
        if not self.calls.take_now(tenant, 1):
            raise _too_many_calls(self.calls, tenant)
        tenant.calls += 1
        return Visit(self, tenant, context)


class Visit:
    """A call that was admitted, and what it holds."""

    __slots__ = (
        "_admission", "_context", "_expensive", "_given", "_held_bytes", "_sending", "_tenant",
        "_working_since",
    )  # fmt: skip

    def __init__(self, admission: Admission, tenant: Tenant, context: Context) -> None:
        self._admission = admission
        self._tenant = tenant
        self._context = context
        self._held_bytes = 0
        self._sending = self._expensive = False
        self._working_since = self._given = 0.0

    async def begin_work(self) -> None:
        """Wait until few enough calls are served, so that those that are served are soon done."""
        gate, left = self._admission.work, self._time_left()
        needed = self._admission.work_limit.needed_seconds
        if gate.held and left < needed:
            raise _too_many_calls(gate, self._tenant)
        if not gate.take_now(self._tenant, 1):
            # A call whose request is on its way in holds its place here too.
            self._admission.reads.make_room(self._tenant)
            if left / 2 < needed or not await self._take(gate, 1):
                raise _too_many_calls(gate, self._tenant)
        self._working_since, self._given = time.monotonic(), left

    def end_work(self) -> None:
        """Let another call be served."""
        if self._working_since:
            limit = self._admission.work_limit
            if self._time_left() <= 0:
                limit.ended_late(self._given)
            elif not self._expensive:  # one takes long by itself
                limit.ended(self._working_since, time.monotonic())
            self._working_since = 0.0
            self._admission.work.give(self._tenant, 1)

    async def begin_expensive(self) -> None:
        """Wait until few enough expensive calls are served."""
        gate = self._admission.expensive
        if not await self._take(gate, 1):
            raise ResourceExhausted.beyond(
                _met(gate, self._tenant),
                "as many exports, counts and verifications run as may run at once",
                reason="TOO_MANY_EXPENSIVE_CALLS",
                retry_seconds=RETRY_SECONDS,
            )
        self._expensive = True

    def end_expensive(self) -> None:
        """Let another expensive call be served."""
        if self._expensive:
            self._expensive = False
            self._admission.expensive.give(self._tenant, 1)

    async def begin_sending(self) -> None:
        """Count a stream of requests, of which each may be read at any time."""
        gate = self._admission.senders
        if not gate.take_now(self._tenant, 1):
            self._admission.idle_senders.make_room(self._tenant)
            if not await self._take(gate, 1):
                raise _too_many_calls(gate, self._tenant)
        self._sending = True

    def end_sending(self) -> None:
        """Count the stream of requests no more: all of it has been read."""
        if self._sending:
            self._sending = False
            self._admission.senders.give(self._tenant, 1)

    def begin_idle(self, stop: Stop) -> None:
        """Wait for the next request of a stream; `stop` ends the stream for another tenant."""
        self._admission.idle_senders.begin(self._tenant, stop)

    def end_idle(self, stop: Stop) -> None:
        """Wait for the stream's next request no more."""
        self._admission.idle_senders.end(self._tenant, stop)

    def gave_way(self) -> ResourceExhausted:
        """Return what a stream is told that was ended for another tenant."""
        return _too_many_calls(self._admission.senders, self._tenant)

    async def begin_reading(self, stop: Stop) -> None:
        """Wait until few enough requests are being read; the call's deadline ends the wait.

        `stop` ends the read for another tenant that has no place.
        """
        gate, reads = self._admission.readers, self._admission.reads
        if not gate.take_now(self._tenant, 1):
            reads.make_room(self._tenant)
            if not await self._take(gate, 1):
                raise _no_room(gate, self._tenant)
        reads.begin(self._tenant, stop)

    def end_reading(self, stop: Stop) -> None:
        """Let another request be read."""
        self._admission.reads.end(self._tenant, stop)
        self._admission.readers.give(self._tenant, 1)
        if self._working_since:  # how long the client took to send is no sign of load
            self._working_since = time.monotonic()

    async def hold(self, size: int) -> None:
        """Hold the memory of a message until the call ends or lets go of it."""
        if size > SMALL_BYTES:
            if not await self._take(self._admission.memory, size):
                raise _no_room(self._admission.memory, self._tenant)
            self._held_bytes += size

    async def hold_instead(self, size: int) -> None:
        """Hold the memory of the answer in place of the request's, which is done with."""
        self.let_go(self._held_bytes)
        await self.hold(size)

    def let_go(self, size: int) -> None:
        """Give the memory of a message back before the call ends."""
        if SMALL_BYTES < size <= self._held_bytes:
            self._held_bytes -= size
            self._admission.memory.give(self._tenant, size)

    def leave(self, task: object) -> None:
        """End the call: its answer has been taken, or it was broken off."""
        admission, tenant = self._admission, self._tenant
        self.end_sending()
        self.end_expensive()
        self.let_go(self._held_bytes)
        admission.calls.give(tenant, 1)
        tenant.calls -= 1

    def _time_left(self) -> float:
        left = self._context.time_remaining()
        return math.inf if left is None else left

    async def _take(self, gate: Gate, amount: int) -> bool:
        seconds = self._admission.queue_seconds
        # A call that has waited for most of its time would be served for nothing.
        return await gate.take(self._tenant, amount, min(seconds, self._time_left() / 2))


def _met(gate: Gate, tenant: Tenant) -> Limit:
    """Return the limit that a refused call met, and count the refusal."""
    REFUSED.labels(gate.name).inc()
    return gate.limit_met(tenant)


def _too_many_calls(gate: Gate, tenant: Tenant) -> ResourceExhausted:
    return ResourceExhausted.beyond(
        _met(gate, tenant),
        "too many calls are open at once",
        reason="TOO_MANY_CALLS",
        retry_seconds=RETRY_SECONDS,
    )


def _no_room(gate: Gate, tenant: Tenant) -> ResourceExhausted:
    return ResourceExhausted.beyond(
        _met(gate, tenant),
        "the requests and answers that are served now take all the memory that they may",
        reason="NO_ROOM_FOR_REQUEST",
        retry_seconds=RETRY_SECONDS,
    )
