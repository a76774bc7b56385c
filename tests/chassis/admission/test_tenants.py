"""A tenant's rates: a quiet one may make many calls at once, and then as many as its rate."""

from __future__ import annotations

import uuid

import pytest

from chassis.admission import tenants
from chassis.admission.tenants import Load, Tenant, TenantLimits, Tenants

RATES = {Load.READ: 10.0, Load.WRITE: 1.0, Load.EXPENSIVE: 0.0}
OURS = uuid.UUID(int=1)


def test_a_quiet_tenant_spends_its_burst_and_then_its_rate() -> None:
    tenant = Tenant(OURS, 0.5, RATES)
    waits = [tenant.wait_seconds(Load.READ, 2, 100) for _ in range(21)]
    assert waits[:20] == [0] * 20
    assert waits[20] == pytest.approx(0.1)
    assert tenant.wait_seconds(Load.READ, 2, 100.1) == 0
    assert tenant.wait_seconds(Load.READ, 2, 100.1) > 0


def test_each_load_has_a_rate_of_its_own() -> None:
    tenant = Tenant(OURS, 0.5, RATES)
    assert tenant.wait_seconds(Load.WRITE, 1, 100) == 0
    assert tenant.wait_seconds(Load.WRITE, 1, 100) == pytest.approx(1)
    assert tenant.wait_seconds(Load.READ, 1, 100) == 0


def test_a_burst_shorter_than_one_call_admits_one() -> None:
    tenant = Tenant(OURS, 0.5, RATES)
    assert tenant.wait_seconds(Load.WRITE, 0, 100) == 0
    assert tenant.wait_seconds(Load.WRITE, 0, 100) > 0


def test_a_rate_of_nothing_is_no_limit() -> None:
    tenant = Tenant(OURS, 0.5, RATES)
    assert not any(tenant.wait_seconds(Load.EXPENSIVE, 0, 100) for _ in range(1_000))


def test_a_tenant_has_what_the_operator_gives_it_and_else_what_all_have() -> None:
    limits = {OURS: TenantLimits(share=0.1, write=7)}
    known = Tenants(0.5, RATES, limits)
    ours, theirs, nobodys = known.of(OURS), known.of(uuid.UUID(int=2)), known.of(None)
    assert (ours.share, ours.rates[Load.WRITE], ours.rates[Load.READ]) == (0.1, 7, 10)
    assert (theirs.share, theirs.rates) == (nobodys.share, nobodys.rates) == (0.5, RATES)
    assert known.of(OURS) is ours


def test_only_tenants_without_a_call_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "MAX_TENANTS", 4)
    known = Tenants(0.5, RATES, {})
    calling, idle = known.of(OURS), known.of(uuid.UUID(int=2))
    calling.calls = 1
    for number in range(3, 6):
        known.of(uuid.UUID(int=number))
    assert known.of(OURS) is calling
    assert known.of(uuid.UUID(int=2)) is not idle
