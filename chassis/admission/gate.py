"""An amount of which calls hold parts: so much in all, and at most a share of it for one tenant."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass

from chassis.admission.tenants import Tenant
from chassis.errors import Limit

LITTLE = 10
"""A tenant that holds a tenth of what is kept holds little."""


@dataclass(slots=True, eq=False)
class _Waiting:
    amount: int
    granted: asyncio.Future[None]


class Gate:
    """Gives parts of an amount to calls, and takes them back.

    A call that waits gets its part in its tenant's turn, and tenants take turns, so that one with
    many calls does not come before one with a few. A part of the amount may be `kept` for tenants
    that hold little: two with half of it each would leave the others nothing where nobody waits.
    """

    def __init__(self, name: str, total: int, kept: int = 0) -> None:
        """`name` is the limit's, as a refused call is told."""
        self.name = name
        self.total = total
        self.kept = kept
        self.held = 0
        self._held_by: dict[Tenant, int] = {}
        self._waiting: dict[Tenant, deque[_Waiting]] = {}

    def take_now(self, tenant: Tenant, amount: int) -> bool:
        """Take a part if there is room and no earlier call of the tenant waits."""
        if self._waiting and tenant in self._waiting:
            return False
        return self._take(tenant, amount)

    async def take(self, tenant: Tenant, amount: int, seconds: float) -> bool:
        """Take a part; wait for it for `seconds` at most. Return whether it was taken."""
        if self.take_now(tenant, amount):
            return True
        waiting = _Waiting(amount, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(tenant, deque()).append(waiting)
        try:
            async with asyncio.timeout(seconds):
                await waiting.granted
        except BaseException as error:
            if waiting.granted.done() and not waiting.granted.cancelled():
                self.give(tenant, amount)  # granted as the wait ended
            else:
                self._leave(tenant, waiting)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give(self, tenant: Tenant, amount: int) -> None:
        """Give a part back."""
        self.held -= amount
        left = self._held_by[tenant] - amount
        if left:
            self._held_by[tenant] = left
        else:
            del self._held_by[tenant]
        if self._waiting:
            self._grant()

    def most_of(self, tenant: Tenant) -> int:
        """Return how much of the amount one tenant may hold."""
        return math.ceil(self.total * tenant.share)

    def limit_met(self, tenant: Tenant) -> Limit:
        """Return the limit that a call without room met: its tenant's, or everybody's."""
        if self.held < self.total - self.kept and tenant in self._held_by:
            return Limit(self.name, tenant.subject, self.most_of(tenant))
        return Limit(self.name, "replica", self.total)

    def _leave(self, tenant: Tenant, waiting: _Waiting) -> None:
        queue = self._waiting.get(tenant)
        if queue and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del self._waiting[tenant]

    def _take(self, tenant: Tenant, amount: int) -> bool:
        held = self._held(tenant)
        # What is more than the limit by itself goes alone.
        if held and held + amount > self.most_of(tenant):
            return False
        kept = self.kept if held + amount > max(1, self.kept // LITTLE) else 0
        if self.held and self.held + amount > self.total - kept:
            return False
        self.held += amount
        self._held_by[tenant] = held + amount
        return True

    def _grant(self) -> None:
        """Give those that wait what there is room for: who holds least first, then in turn."""
        while any(self._grant_one(tenant) for tenant in sorted(self._waiting, key=self._held)):
            pass

    def _held(self, tenant: Tenant) -> int:
        return self._held_by.get(tenant, 0)

    def _grant_one(self, tenant: Tenant) -> bool:
        queue = self._waiting[tenant]
        while queue and queue[0].granted.done():
            queue.popleft()  # its call was broken off, and has not run since
        granted = bool(queue) and self._take(tenant, queue[0].amount)
        if granted:
            queue.popleft().granted.set_result(None)
        if granted or not queue:
            del self._waiting[tenant]
        if granted and queue:
            self._waiting[tenant] = queue  # behind the other tenants
        return granted
