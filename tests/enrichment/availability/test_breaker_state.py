"""What a breaker's row becomes, what is told of it, and until when a source is left alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import events_pb2
from structlog.testing import capture_logs

from chassis.clock import to_timestamp
from chassis.database import Connection
from devstack import servers
from services.enrichment.availability import store
from services.enrichment.availability.announcements import source_changed
from services.enrichment.availability.breaker import SUCCESSES, Breakers
from services.enrichment.availability.store import SourceState
from services.enrichment.gauges import SOURCE_STATE
from services.enrichment.run.messages import SOURCE
from services.enrichment.run.state import Denial, StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine, Sources, engine
from tests.harness import Database

EXA = SourceName.EXA
NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
FAILED = SourceError(ErrorClass.TRANSIENT, "Exa answered 500")
SECOND = timedelta(seconds=1)


@pytest.fixture
async def one(database: Database, nats_server: servers.Nats) -> AsyncIterator[Engine]:
    """An engine that serves a pool and a relay."""
    dsn = database.dsn("enrichment_app")
    async with engine(dsn, nats_server.url, Sources(), working=False) as one:
        yield one


def breakers_at(
    one: Engine, clock: Callable[[], datetime] = lambda: NOW, reset_seconds: float = 30
) -> Breakers:
    """Return another replica's breakers, which has read nothing."""
    values: dict[str, Any] = {"fail_max": 2, "reset_seconds": reset_seconds}
    return Breakers(one.pool, one.relay, **values, max_park_seconds=3_600, clock=clock)


async def report(breakers: Breakers, outcome: Any, times: int = 1) -> None:
    for _ in range(times):
        await breakers.report(EXA, breakers.state(EXA).epoch, outcome)


async def set_row(database: Database, values: str) -> None:
    await database.fetch(f"update enrichment.sources set {values} where source = 'exa'")


async def try_exa(database: Database, openings: int = 1) -> None:
    """Let all probes but the last have succeeded."""
    admitted = f"admitted = {SUCCESSES}, quota = {SUCCESSES}, succeeded = {SUCCESSES - 1}"
    await set_row(database, f"state = 'half_open', epoch = 1, openings = {openings}, {admitted}")


async def test_a_replica_that_has_read_nothing_judges_as_the_others(one: Engine) -> None:
    breakers = breakers_at(one)
    await report(breakers, FAILED, 2)
    assert breakers.state(EXA) == SourceState(
        EXA, "open", 1, f"the source has been failing: {FAILED}",
        open_until=NOW + timedelta(seconds=30), openings=1,
    )  # fmt: skip
    assert breakers.denial(EXA) == Denial(
        StepStatus.CIRCUIT_OPEN,
        "the source has been failing: Exa answered 500",
        NOW + timedelta(seconds=30),
    )


@pytest.mark.parametrize("error_class", [ErrorClass.CONFIGURATION, ErrorClass.QUOTA])
async def test_what_waiting_does_not_mend_opens_the_breaker_at_once(
    one: Engine, error_class: ErrorClass
) -> None:
    breakers = breakers_at(one)
    await report(breakers, SourceError(error_class, "Claude answered 404"))
    denial = breakers.denial(EXA)
    assert denial
    assert denial.is_lasting
    assert denial.reason == "the source needs an operator: Claude answered 404"


async def test_while_it_is_tried_again_the_others_know_that_it_lasts(
    one: Engine, database: Database
) -> None:
    reason = "the source needs an operator: no credit"
    await set_row(database, f"state = 'half_open', epoch = 1, quota = 0, reason = '{reason}'")
    breakers = breakers_at(one)
    await breakers.refresh()
    denial = await breakers.admit(EXA)
    assert isinstance(denial, Denial)
    assert denial.is_lasting


async def test_the_last_probe_that_succeeds_leaves_nothing_of_the_failures(
    one: Engine, database: Database
) -> None:
    await try_exa(database)
    breakers = breakers_at(one)
    await breakers.refresh()
    await report(breakers, Answer(None))
    assert breakers.state(EXA) == SourceState(EXA, epoch=2)


@pytest.mark.parametrize(
    ("reset_seconds", "openings", "seconds"),
    [(0.2, 1, 0.4), (0.2, 3, 1.6), (30, 1, 60), (30, 5, 600), (900, 3, 900), (0.1, 12, 102.4)],
)
async def test_each_opening_lasts_twice_as_long_up_to_ten_minutes_or_the_setting(
    one: Engine, database: Database, reset_seconds: float, openings: int, seconds: float
) -> None:
    await try_exa(database, openings)
    breakers = breakers_at(one, reset_seconds=reset_seconds)
    await breakers.refresh()
    await report(breakers, FAILED)
    state = breakers.state(EXA)
    assert state.open_until
    assert (state.open_until - NOW).total_seconds() == pytest.approx(seconds)
    assert state.openings == openings + 1


async def test_a_call_without_a_place_in_the_wave_looks_again_in_a_second(
    one: Engine, database: Database
) -> None:
    await set_row(database, "state = 'half_open', epoch = 1, quota = 0")
    await set_row(database, "open_until = now() + interval '1 minute'")
    breakers = breakers_at(one)
    await breakers.refresh()
    reason = "the source has been failing and is being tried"
    assert await breakers.admit(EXA) == Denial(StepStatus.CIRCUIT_OPEN, reason, NOW + SECOND)


async def test_a_call_is_admitted_where_another_replica_has_closed_the_breaker(
    one: Engine, database: Database
) -> None:
    breakers = breakers_at(one)
    await set_row(database, "state = 'open', epoch = 1, open_until = now() + interval '1 hour'")
    await breakers.refresh()
    await set_row(database, "state = 'closed', epoch = 2")
    assert await breakers.admit(EXA) == 2


@pytest.mark.parametrize(
    ("until", "look_again"),
    [(None, 5 * SECOND), (NOW + 60 * SECOND, 60 * SECOND)],
    ids=["for-good", "until-then"],
)
async def test_a_paused_source_is_parked_until_its_end_or_for_five_seconds(
    one: Engine, until: datetime | None, look_again: timedelta
) -> None:
    breakers = breakers_at(one)
    await breakers.pause(EXA, paused=True, until=until, reason="the bill")
    text = "the source is paused: the bill"
    assert breakers.denial(EXA) == Denial(StepStatus.PARKED, text, NOW + look_again)


async def test_a_source_is_asked_again_from_the_moment_on_that_it_was_denied_until(
    one: Engine, database: Database
) -> None:
    breakers = breakers_at(one)
    for state in (
        {"paused": True, "paused_until": NOW},
        {"parked_until": NOW},
        {"state": "open", "open_until": NOW},
    ):
        breakers._take_in([SourceState(EXA, **state)])
        assert breakers.denial(EXA) is None


def test_only_an_open_breaker_shows_until_when() -> None:
    for state, until in {"open": NOW, "half_open": None, "closed": None}.items():
        assert SourceState(EXA, state, open_until=NOW).shown(NOW) == (state, until, "")


async def test_a_source_that_is_told_to_wait_longer_is_parked_longer_and_never_for_less(
    one: Engine,
) -> None:
    breakers = breakers_at(one)
    for seconds in (30, 60, 20):
        await report(
            breakers, SourceError(ErrorClass.THROTTLED, "Exa answered 429", retry_after=seconds)
        )
    reason = "the source asked to be left alone: Exa answered 429"
    assert breakers.denial(EXA) == Denial(StepStatus.PARKED, reason, NOW + 60 * SECOND)


async def test_only_what_a_throttled_source_says_parks_it(one: Engine) -> None:
    breakers = breakers_at(one)
    await report(breakers, SourceError(ErrorClass.TRANSIENT, "503", retry_after=30))
    await report(breakers, SourceError(ErrorClass.THROTTLED, "429"))
    assert breakers.denial(EXA) is None


async def test_reasons_are_cut_to_300_characters(one: Engine) -> None:
    breakers = breakers_at(one)
    await report(breakers, SourceError(ErrorClass.THROTTLED, "x" * 400, retry_after=30))
    await report(breakers, SourceError(ErrorClass.TRANSIENT, "x" * 400), 2)
    state = breakers.state(EXA)
    assert (len(state.parked_reason), len(state.reason)) == (300, 300)


async def test_the_copy_is_read_at_once_and_then_each_second(
    one: Engine, database: Database
) -> None:
    now = NOW
    breakers = breakers_at(one, lambda: now)
    seen = []
    for failures, seconds in ((1, 0), (2, 0.9), (3, 1), (4, 1.5)):
        await set_row(database, f"failures = {failures}")
        now = NOW + timedelta(seconds=seconds)
        async with one.pool.acquire() as connection:
            await breakers.renew(connection)
        seen.append(breakers.failures(EXA))
    assert seen == [1, 1, 3, 3]


async def test_a_good_answer_is_forgiven_at_once_in_the_replica_that_saw_it(one: Engine) -> None:
    breakers = breakers_at(one)
    await report(breakers, FAILED)
    assert breakers.failures(EXA) == 1
    await report(breakers, Answer(None))
    assert breakers.failures(EXA) == 0


async def test_a_count_that_comes_after_a_change_does_not_touch_what_was_read_since(
    one: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, other, add_failure = breakers_at(one), breakers_at(one), store.add_failure

    async def count_and_be_late(connection: Connection, *values: Any) -> int | None:
        counted = await add_failure(connection, *values)
        with monkeypatch.context() as patch:
            patch.setattr(store, "add_failure", add_failure)
            await other.pause(EXA, paused=False, until=None, reason="")
            await late.refresh()
        return counted

    monkeypatch.setattr(store, "add_failure", count_and_be_late)
    await report(late, FAILED)
    assert late.state(EXA) == SourceState(EXA, epoch=1)


async def test_a_change_is_logged_once_and_shown_by_the_gauge(one: Engine) -> None:
    breakers = breakers_at(one)
    with capture_logs() as logs:
        await report(breakers, FAILED, 2)
        await breakers.refresh()
    changes = [each for each in logs if each["event"] == "breaker"]
    told = {"source": "exa", "state": "open", "log_level": "warning"}
    assert changes == [{"event": "breaker"} | told]
    shown = {state: SOURCE_STATE.labels("exa", state)._value.get() for state in ("closed", "open")}
    assert shown == {"closed": 0, "open": 1}


async def test_a_resumed_source_keeps_no_reason_and_no_time_of_before(one: Engine) -> None:
    breakers = breakers_at(one)
    await report(breakers, FAILED, 2)
    await breakers.pause(EXA, paused=False, until=None, reason="")
    assert breakers.state(EXA) == SourceState(EXA, epoch=2)


async def test_every_change_is_told_with_its_reason_and_its_end(one: Engine, nats: Client) -> None:
    told = await nats.subscribe("prospect.source.changed")
    breakers = breakers_at(one)
    throttled = SourceError(ErrorClass.THROTTLED, "429", retry_after=20)
    await report(breakers, throttled)
    await report(breakers, throttled)  # which changes nothing
    await report(breakers, FAILED, 2)
    await breakers.pause(EXA, paused=True, until=NOW + 60 * SECOND, reason="the bill")
    await breakers.pause(EXA, paused=False, until=None, reason="paid")
    expected = [
        ("parked", "the source asked to be left alone: 429", NOW + 20 * SECOND),
        ("open", "the source has been failing: Exa answered 500", NOW + 30 * SECOND),
        ("paused", "the bill", NOW + 60 * SECOND),
        ("closed", "paid", None),
    ]
    for state, reason, until in expected:
        message = await told.next_msg(timeout=30)
        assert events_pb2.SourceChanged.FromString(message.data) == events_pb2.SourceChanged(
            source="exa",
            state=state,
            reason=reason,
            until=to_timestamp(until),
            changed_at=to_timestamp(NOW),
        )


def test_the_event_comes_from_enrichment() -> None:
    event = source_changed(EXA, "closed", "", None, NOW)
    assert (event.subject, event.source) == ("prospect.source.changed", SOURCE)
