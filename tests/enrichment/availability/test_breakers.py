"""Breakers: one state a source for all replicas, whatever each of them sees."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import events_pb2

from chassis.clock import utc_now
from services.enrichment.availability.breaker import MAX_WAVE, Breakers
from services.enrichment.run.state import Denial, StepStatus
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import MAX_PARK_SECONDS, Engine
from tests.harness import Database

EXA = SourceName.EXA
GOOD = Answer(None)


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return utc_now() + self.ahead


def failed(error_class: ErrorClass = ErrorClass.TRANSIENT, **values: Any) -> SourceError:
    return SourceError(error_class, "Exa answered 500", **values)


async def report(breakers: Breakers, outcome: Answer | SourceError | None, times: int = 1) -> None:
    for _ in range(times):
        await breakers.report(EXA, breakers.state(EXA).epoch, outcome)


async def opened(engine: Engine) -> Breakers:
    """Open the breaker of Exa and return the replica's view."""
    await report(engine.breakers, failed(), 3)
    return engine.breakers


async def due(*engines: Engine) -> None:
    """Wait until the breaker is due to be tried."""
    await asyncio.sleep(0.25)
    for each in engines:
        await each.breakers.refresh()


async def wave(*replicas: Breakers) -> int:
    """Let more calls come than there are places; return how many were admitted."""
    admitted = 0
    for _ in range(MAX_WAVE * 2):
        for each in replicas:
            await each.refresh()
            admitted += isinstance(await each.admit(EXA), int)
    return admitted


async def tried(engine: Engine, waves: int) -> Breakers:
    """Open the breaker of Exa and let so many waves of probes succeed."""
    breakers = await opened(engine)
    await due(engine)
    for _ in range(waves):
        await report(breakers, GOOD, await wave(breakers))
    return breakers


async def time_passes(database: Database) -> None:
    """Let as much time pass as probes have to come back."""
    await database.fetch("update enrichment.sources set open_until = now() where source = 'exa'")


async def test_failures_in_a_row_open_the_breaker_in_every_replica(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await opened(one)
    await two.breakers.refresh()
    for each in replicas:
        denial = each.breakers.denial(EXA)
        assert denial
        assert denial.status is StepStatus.CIRCUIT_OPEN
    assert two.breakers.denial(SourceName.SEC) is None


async def test_a_good_answer_between_starts_the_count_anew(replicas: tuple[Engine, Engine]) -> None:
    breakers = replicas[0].breakers
    await report(breakers, failed(), 2)
    await report(breakers, GOOD)
    await report(breakers, failed(), 2)
    assert breakers.denial(EXA) is None


async def test_failures_that_replicas_see_in_turn_are_in_a_row(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await report(one.breakers, failed())
    await report(two.breakers, failed())
    assert one.breakers.denial(EXA) is None
    await report(one.breakers, failed())
    assert one.breakers.denial(EXA)


async def test_a_good_answer_in_another_replica_starts_the_count_anew(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await report(one.breakers, failed(), 2)
    await two.breakers.refresh()
    await report(two.breakers, GOOD)
    await report(one.breakers, failed(), 2)
    assert one.breakers.denial(EXA) is None


async def test_every_replica_shows_the_failures_of_all(replicas: tuple[Engine, Engine]) -> None:
    one, two = replicas
    await report(one.breakers, failed())
    await report(two.breakers, failed())
    await one.breakers.refresh()
    assert [each.breakers.failures(EXA) for each in replicas] == [2, 2]


async def test_a_resumed_source_begins_without_failures(replicas: tuple[Engine, Engine]) -> None:
    breakers = replicas[0].breakers
    await report(breakers, failed(), 2)
    await breakers.pause(EXA, paused=False, until=None, reason="")
    assert breakers.failures(EXA) == 0
    await report(breakers, failed(), 2)
    assert breakers.denial(EXA) is None


async def test_good_answers_write_nothing_while_nothing_has_failed(
    replicas: tuple[Engine, Engine], database: Database
) -> None:
    version = "select xmin::text from enrichment.sources where source = 'exa'"
    before = await database.fetch(version)
    await report(replicas[0].breakers, GOOD, 3)
    assert await database.fetch(version) == before


@pytest.mark.parametrize(
    "error_class",
    [ErrorClass.THROTTLED, ErrorClass.REFUSED_REQUEST, ErrorClass.WRONG_PERSON],
    ids=lambda c: c.value,
)
async def test_an_error_that_is_no_fault_of_the_source_is_no_verdict(
    replicas: tuple[Engine, Engine], error_class: ErrorClass
) -> None:
    breakers = replicas[0].breakers
    await report(breakers, failed(), 2)
    await report(breakers, failed(error_class), 3)
    assert breakers.denial(EXA) is None
    await report(breakers, failed())
    assert breakers.denial(EXA)


async def test_an_answer_that_fails_for_its_content_is_no_verdict(
    replicas: tuple[Engine, Engine],
) -> None:
    breakers = replicas[0].breakers
    unchecked = SourceError(ErrorClass.INVALID_ANSWER, "fails its check", of_source=False)
    await report(breakers, unchecked, 5)
    assert breakers.denial(EXA) is None


async def test_one_probe_goes_through_for_all_replicas(replicas: tuple[Engine, Engine]) -> None:
    await opened(replicas[0])
    await due(*replicas)
    asked = await asyncio.gather(*(each.breakers.admit(EXA) for each in replicas * 5))
    assert len([each for each in asked if isinstance(each, int)]) == 1


async def test_probes_come_in_waves_of_one_two_four_and_eight_until_the_breaker_closes(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await opened(one)
    await due(one, two)
    waves = []
    while not one.breakers.is_closed(EXA):
        waves.append(await wave(one.breakers, two.breakers))
        await report(one.breakers, GOOD, waves[-1])
    assert waves == [1, 2, 4, 8]
    assert one.breakers.failures(EXA) == 0


async def test_the_next_wave_waits_until_all_of_the_present_one_have_succeeded(
    replicas: tuple[Engine, Engine],
) -> None:
    breakers = await tried(replicas[0], waves=2)
    assert await wave(breakers) == 4
    await report(breakers, GOOD, 3)
    assert await wave(breakers) == 0
    await report(breakers, GOOD)
    assert await wave(breakers) == 8


async def test_one_failure_in_a_wave_opens_the_breaker_again(
    replicas: tuple[Engine, Engine],
) -> None:
    breakers = await tried(replicas[0], waves=2)
    await wave(breakers)
    await report(breakers, GOOD, 3)
    await report(breakers, failed())
    assert breakers.state(EXA).state == "open"
    await due(replicas[1])
    await asyncio.sleep(0.25)  # twice as long as at first
    assert await wave(breakers) == 1


@pytest.mark.parametrize(
    "outcome",
    [
        None,
        failed(ErrorClass.THROTTLED),
        failed(ErrorClass.REFUSED_REQUEST),
        failed(ErrorClass.WRONG_PERSON),
        failed(ErrorClass.TRANSIENT, of_source=False),
    ],
    ids=["no-outcome", "throttled", "refused", "wrong-person", "not-of-source"],
)
async def test_a_probe_without_a_verdict_makes_room_for_another(
    replicas: tuple[Engine, Engine], outcome: SourceError | None
) -> None:
    breakers = await tried(replicas[0], waves=1)
    assert await wave(breakers) == 2
    await report(breakers, outcome)
    assert await wave(breakers) == 1
    await report(breakers, GOOD, 2)
    assert await wave(breakers) == 4


async def test_a_probe_that_is_told_to_come_back_later_makes_room_for_another(
    replicas: tuple[Engine, Engine],
) -> None:
    breakers = await tried(replicas[0], waves=0)
    assert await wave(breakers) == 1
    await report(breakers, failed(ErrorClass.THROTTLED, retry_after=0.1))
    assert await wave(breakers) == 1


async def test_a_source_that_is_seldom_asked_is_closed_by_as_many_good_answers(
    replicas: tuple[Engine, Engine], database: Database
) -> None:
    breakers, answers = await tried(replicas[0], waves=0), 0
    while not breakers.is_closed(EXA):
        assert isinstance(await breakers.admit(EXA), int)
        await report(breakers, GOOD)
        answers += 1
        await time_passes(database)
    assert answers == 1 + 2 + 4 + 8


async def test_a_wave_that_filled_up_slowly_leaves_its_last_probe_time_to_come_back(
    replicas: tuple[Engine, Engine], database: Database
) -> None:
    breakers = await tried(replicas[0], waves=1)
    assert isinstance(await breakers.admit(EXA), int)
    await time_passes(database)
    assert isinstance(await breakers.admit(EXA), int)
    assert isinstance(await breakers.admit(EXA), Denial)


async def test_a_pause_makes_room_for_as_many_probes_as_are_out(
    replicas: tuple[Engine, Engine],
) -> None:
    breakers = await tried(replicas[0], waves=1)
    assert await wave(breakers) == 2
    until = utc_now()
    await breakers.pause(EXA, paused=True, until=until, reason="the bill")
    assert await wave(breakers) == 2


async def test_a_probe_that_fails_opens_the_breaker_for_longer(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await opened(one)
    await due(two)
    assert await wave(two.breakers) == 1
    await report(two.breakers, failed())
    denial = two.breakers.denial(EXA)
    assert denial
    assert denial.until
    assert denial.until - utc_now() > timedelta(seconds=0.3)


async def test_a_call_that_began_before_the_breaker_opened_does_not_count(
    replicas: tuple[Engine, Engine],
) -> None:
    one, _ = replicas
    epoch = one.breakers.state(EXA).epoch
    await opened(one)
    until = one.breakers.state(EXA).open_until
    await one.breakers.report(EXA, epoch, failed())
    await one.breakers.report(EXA, epoch, GOOD)
    assert one.breakers.state(EXA).open_until == until


async def test_a_probe_whose_process_died_does_not_keep_the_breaker_open(
    replicas: tuple[Engine, Engine], database: Database
) -> None:
    one, two = replicas
    await opened(one)
    await due(one, two)
    assert await wave(one.breakers) == 1
    assert await wave(two.breakers) == 0
    await time_passes(database)
    assert await wave(two.breakers) == 1


async def test_retry_after_parks_the_source_for_every_replica(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = replicas
    await report(one.breakers, failed(ErrorClass.THROTTLED, retry_after=30))
    await two.breakers.refresh()
    denial = two.breakers.denial(EXA)
    assert denial
    assert denial.status is StepStatus.PARKED
    assert denial.until
    assert timedelta(seconds=25) < denial.until - utc_now() < timedelta(seconds=31)


async def test_no_retry_after_parks_the_source_for_longer_than_the_setting(
    replicas: tuple[Engine, Engine],
) -> None:
    one, _ = replicas
    await report(one.breakers, failed(ErrorClass.THROTTLED, retry_after=86_400))
    denial = one.breakers.denial(EXA)
    assert denial
    assert denial.until
    assert denial.until - utc_now() <= timedelta(seconds=MAX_PARK_SECONDS)


async def test_each_change_is_told_once_as_an_event(
    replicas: tuple[Engine, Engine], nats: Client
) -> None:
    one, two = replicas
    subscription = await nats.jetstream().subscribe(
        "prospect.source.changed", ordered_consumer=True
    )
    await opened(one)
    await two.breakers.refresh()
    await report(two.breakers, failed(), 3)
    message = await subscription.next_msg(timeout=30)
    told = events_pb2.SourceChanged.FromString(message.data)
    assert (told.source, told.state) == ("exa", "open")
    assert told.HasField("until")
    with pytest.raises(TimeoutError):
        await subscription.next_msg(timeout=0.8)
