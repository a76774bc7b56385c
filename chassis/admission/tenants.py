"""What one replica knows of each tenant's use of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

MAX_TENANTS = 10_000


class Load(StrEnum):
    """What a call costs the service: each kind has a rate of its own."""

    READ = "read"
    WRITE = "write"
    EXPENSIVE = "expensive"
    """Reads so much that it holds a connection for long; few run at once."""


UNLIMITED = dict.fromkeys(Load, 0.0)


class TenantLimits(BaseModel):
    """What the operator allows one tenant, where it is not what all have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    share: float | None = Field(default=None, gt=0, le=1)
    read: float | None = Field(default=None, ge=0)
    write: float | None = Field(default=None, ge=0)
    expensive: float | None = Field(default=None, ge=0)


class Tenant:
    """A tenant's share, and when each of its rates is used up to."""

    __slots__ = ("_used_until", "calls", "rates", "share", "subject")

    def __init__(self, tenant_id: UUID | None, share: float, rates: Mapping[Load, float]) -> None:
        self.subject = f"tenant:{tenant_id}" if tenant_id else "tenant:none"
        self.share = share
        self.rates = rates
        self.calls = 0
        self._used_until = dict.fromkeys(Load, 0.0)

    def wait_seconds(self, load: Load, burst_seconds: float, now: float) -> float:
        """Spend one call of the rate; return 0, or how long to wait where it is used up.

        The bucket is full when nothing was spent for `burst_seconds`; the calls that it holds are
        kept as the time that they take at the rate.
        """
        rate = self.rates[load]
        if not rate:
            return 0
        until = self._used_until[load]
        until = max(until, now) + 1 / rate
        late = until - now - max(burst_seconds, 1 / rate)
        if late > 1e-9:
            return late
        self._used_until[load] = until
        return 0


class Tenants:
    """The tenants that called, and of those that have no call open the latest."""

    def __init__(
        self,
        share: float,
        rates: Mapping[Load, float] = UNLIMITED,
        overrides: Mapping[UUID, TenantLimits] = {},
    ) -> None:
        self._share = share
        self._rates = rates
        self._overrides = overrides
        self._known: dict[UUID | None, Tenant] = {}

    def of(self, tenant_id: UUID | None) -> Tenant:
        """Return what is known of a tenant."""
        tenant = self._known.get(tenant_id)
        if tenant is None:
            tenant = self._known[tenant_id] = self._new(tenant_id)
            if len(self._known) > MAX_TENANTS:
                self._forget_idle()
        return tenant

    def _new(self, tenant_id: UUID | None) -> Tenant:
        given = self._overrides.get(tenant_id) if tenant_id else None
        if given is None:
            return Tenant(tenant_id, self._share, self._rates)
        rates = {
            load: self._rates[load] if (own := getattr(given, load)) is None else own
            for load in Load
        }
        return Tenant(tenant_id, self._share if given.share is None else given.share, rates)

    def _forget_idle(self) -> None:
        """Forget the older half of the tenants, but those that have calls open."""
        for tenant_id in list(self._known)[: MAX_TENANTS // 2]:
            if not self._known[tenant_id].calls:
                del self._known[tenant_id]
