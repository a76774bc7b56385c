"""A replica whose copy of a breaker is behind: what it reports late changes nothing."""

from __future__ import annotations

from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SourceName
from tests.enrichment.engine import Engine

EXA = SourceName.EXA
FAILED = SourceError(ErrorClass.TRANSIENT, "Exa answered 500")


async def test_a_failure_of_a_call_that_left_before_the_breaker_opened_elsewhere_does_not_count(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = (each.breakers for each in replicas)
    for _ in range(3):
        await one.report(EXA, one.state(EXA).epoch, FAILED)
    assert two.is_closed(EXA)
    await two.report(EXA, two.state(EXA).epoch, FAILED)
    assert two.failures(EXA) == 0
    opened = one.state(EXA)
    await two.refresh()
    assert two.state(EXA) == opened


async def test_an_answer_to_a_call_that_left_before_the_breaker_opened_elsewhere_does_not_count(
    replicas: tuple[Engine, Engine],
) -> None:
    one, two = (each.breakers for each in replicas)
    await two.report(EXA, two.state(EXA).epoch, FAILED)
    for _ in range(2):
        await one.report(EXA, one.state(EXA).epoch, FAILED)
    await two.report(EXA, two.state(EXA).epoch, Answer(None))
    opened = one.state(EXA)
    await two.refresh()
    assert two.state(EXA) == opened
    assert opened.state == "open"
