"""ListSources and PauseSource by a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from prospect.enrichment.v1 import operations_pb2 as pb

from chassis.auth import Caller, set_caller
from chassis.clock import to_timestamp
from chassis.errors import InvalidArgument
from devstack import servers
from services.enrichment.availability.breaker import Breakers
from services.enrichment.availability.rpc import AvailabilityRpc
from services.enrichment.policy.policy import Policy
from services.enrichment.sources.call import ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine, Sources, engine
from tests.harness import Database

EXA = SourceName.EXA
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
FAILED = SourceError(ErrorClass.TRANSIENT, "Exa answered 500")
ANY: Any = None


@pytest.fixture
async def one(database: Database, nats_server: servers.Nats) -> AsyncIterator[Engine]:
    """An engine that serves a pool and a relay."""
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        yield one


def rpc_of(one: Engine) -> tuple[Breakers, AvailabilityRpc]:
    values: dict[str, Any] = {"fail_max": 2, "reset_seconds": 30, "max_park_seconds": 3_600}
    breakers = Breakers(one.pool, one.relay, **values, clock=lambda: NOW)
    rates = dict.fromkeys(SourceName, 2.5)
    return breakers, AvailabilityRpc(one.pool, lambda: NOW, breakers, rates, Policy())


async def listed(one: Engine, rpc: AvailabilityRpc) -> dict[str, pb.Source]:
    set_caller(Caller(uuid4(), one.tenant_id, frozenset()))
    answer = await rpc.ListSources(pb.ListSourcesRequest(), ANY)
    return {each.source: each for each in answer.sources}


async def test_a_source_shows_its_failures_in_a_row(one: Engine) -> None:
    breakers, rpc = rpc_of(one)
    await breakers.report(EXA, 0, FAILED)
    sources = await listed(one, rpc)
    assert {name: each.failures for name, each in sources.items()} == {
        each.value: int(each is EXA) for each in SourceName
    }
    assert sources["exa"].calls_per_second == 2.5


async def test_a_source_shows_that_it_fails_why_and_until_when(one: Engine) -> None:
    breakers, rpc = rpc_of(one)
    for _ in range(2):
        await breakers.report(EXA, 0, FAILED)
    exa = (await listed(one, rpc))["exa"]
    assert exa.state == pb.SOURCE_STATE_OPEN
    assert exa.reason == "the source has been failing: Exa answered 500"
    assert exa.until == to_timestamp(NOW + timedelta(seconds=30))


async def test_a_fault_of_configuration_is_named_after_one_call(one: Engine) -> None:
    breakers, rpc = rpc_of(one)
    retired = SourceError(ErrorClass.CONFIGURATION, "Claude answered 404 model:")
    await breakers.report(SourceName.CLAUDE, 0, retired)
    claude = (await listed(one, rpc))["claude"]
    assert claude.state == pb.SOURCE_STATE_OPEN
    assert claude.reason == "the source needs an operator: Claude answered 404 model:"


async def test_a_pause_that_would_end_now_is_refused(one: Engine) -> None:
    _, rpc = rpc_of(one)
    pause = pb.PauseSourceRequest(source="exa", until=to_timestamp(NOW))
    with pytest.raises(InvalidArgument) as refused:
        await rpc.PauseSource(pause, ANY)
    (violation,) = refused.value.violations
    assert (violation.field, violation.message) == ("until", "must lie in the future")


async def test_a_source_is_resumed_whatever_time_the_request_names(one: Engine) -> None:
    breakers, rpc = rpc_of(one)
    await breakers.pause(EXA, paused=True, until=None, reason="the bill")
    set_caller(Caller(uuid4(), None, frozenset()))
    request = pb.PauseSourceRequest(source="exa", resume=True, until=to_timestamp(NOW))
    answer = await rpc.PauseSource(request, ANY)
    assert (answer.source.state, answer.source.until.seconds) == (pb.SOURCE_STATE_CLOSED, 0)
    assert breakers.denial(EXA) is None
