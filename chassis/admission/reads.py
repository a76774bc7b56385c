"""Requests that are waited for: no tenants can hold all places with calls that send nothing.

Only once a request is here is its size known, so few are read at once. A client may send it as
slowly as the time for a first message allows, and the next one of a stream as slowly as it likes.
"""

from __future__ import annotations

from collections.abc import Callable

from chassis.admission.tenants import Tenant

Stop = Callable[[], None]


class Reads:
    """Ends the oldest read of the tenant that has the most, for one that has none."""

    def __init__(self) -> None:
        self._stops: dict[Tenant, dict[Stop, None]] = {}

    def begin(self, tenant: Tenant, stop: Stop) -> None:
        """Count a read; `stop` ends its call."""
        self._stops.setdefault(tenant, {})[stop] = None

    def end(self, tenant: Tenant, stop: Stop) -> None:
        """Count a read no more."""
        stops = self._stops[tenant]
        del stops[stop]
        if not stops:
            del self._stops[tenant]

    def make_room(self, tenant: Tenant) -> None:
        """End a read of another tenant where this one has none, and the other more than one."""
        if tenant in self._stops or not self._stops:
            return
        most = max(self._stops.values(), key=len)
        if len(most) > 1:
            next(iter(most))()
