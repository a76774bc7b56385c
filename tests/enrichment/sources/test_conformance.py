"""What every source does alike, against the sandbox over real HTTP: a new source passes this.

cases.py says how each source is made, whom it knows, and where its vendor's meaning differs.
"""

from __future__ import annotations

import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from devstack.sandbox.faults import KINDS, Kind
from services.enrichment.sources.call import Answer, ErrorClass, SourceError
from services.enrichment.sources.catalogue import SOURCES, SourceName, from_json
from services.enrichment.sources.claude.client import Claude
from services.enrichment.sources.findings import (
    to_json,
)
from services.enrichment.sources.http import certificates
from tests.enrichment.sources.case import KEY, NOW, Case, Source
from tests.enrichment.sources.cases import CASES
from tests.harness import SandboxDesk

every_source = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.value)


@dataclass
class Bench:
    """Makes sources against the sandbox, and asks them."""

    desk: SandboxDesk
    client: httpx.AsyncClient
    stack: AsyncExitStack

    def make(self, case: Case, url: str = "", seconds: float = 20) -> Source:
        source = case.make(url or self.desk.url, self.client, seconds)
        if isinstance(source, Claude):
            self.stack.push_async_callback(source.close)
        return source

    async def ask(self, case: Case, **changes: Any) -> Answer:
        return await self.make(case).ask(replace(case.found, **changes))

    async def refused(self, case: Case, url: str = "", seconds: float = 20) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await self.make(case, url, seconds).ask(case.found)
        return caught.value

    async def failure(
        self, case: Case, kind: str, seconds: float = 20, **order: Any
    ) -> SourceError:
        """Order a fault, ask, and return the error; nothing about the person may be in it."""
        await self.desk.order(case.name.value, kind, **order)
        error = await self.refused(case, seconds=seconds)
        said = f"{error} {error.message} {error.__cause__!r}"
        for secret in (KEY, "Katherine", "Adams", "kate", "linkedin.com"):
            assert secret not in said
        return error

    async def calls(self, case: Case) -> int:
        return await self.desk.calls(case.name.value)


@pytest.fixture
async def bench(sandbox_desk: SandboxDesk) -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(httpx.AsyncClient(verify=certificates()))
        yield Bench(sandbox_desk, client, stack)


def wanted(case: Case, fault: str, usual: ErrorClass) -> ErrorClass | None:
    return case.classes.get(fault, usual)


# --- what it answers ----------------------------------------------------------------------------


@every_source
async def test_the_person_is_found(bench: Bench, case: Case) -> None:
    answer = await bench.ask(case)
    assert isinstance(answer.finding, SOURCES[case.name].finding)


@every_source
async def test_asking_once_sends_the_expected_number_of_requests(bench: Bench, case: Case) -> None:
    await bench.ask(case)
    assert await bench.calls(case) == case.calls


@every_source
async def test_the_answer_says_what_it_cost(bench: Bench, case: Case) -> None:
    cost = (await bench.ask(case)).cost_micros
    if case.name is SourceName.CLAUDE:  # by tokens, of which the sandbox counts its own
        assert 0 < cost < 10_000
    else:
        assert cost == case.cost
    assert cost <= SOURCES[case.name].max_cost_micros


@every_source
async def test_the_finding_says_where_it_comes_from(bench: Bench, case: Case) -> None:
    finding = (await bench.ask(case)).finding
    assert finding is not None
    provenance = finding.provenance
    assert (provenance.source, provenance.fetched_at) == (case.name, NOW)
    assert provenance.url.startswith(bench.desk.url)
    assert "Adams" not in provenance.url


@every_source
async def test_the_finding_survives_being_stored(bench: Bench, case: Case) -> None:
    finding = (await bench.ask(case)).finding
    stored = to_json(finding)
    assert to_json(from_json(case.name, stored)) == stored


@pytest.mark.parametrize("case", [c for c in CASES if c.name is not SourceName.CLAUDE])
async def test_knowing_nobody_is_an_answer(bench: Bench, case: Case) -> None:
    await bench.desk.order(case.name.value, "not_found")
    answer = await bench.ask(case)
    assert (answer.finding, await bench.calls(case)) == (None, 1)


@every_source
async def test_another_person_is_not_taken_for_ours(bench: Bench, case: Case) -> None:
    path = "/Archives" if case.name is SourceName.SEC else ""
    expected = case.classes["stranger"]
    if expected is None:
        await bench.desk.order(case.name.value, "stranger", path=path)
        assert (await bench.ask(case)).finding is None
    else:
        assert (await bench.failure(case, "stranger")).error_class is expected


# --- what its errors mean -----------------------------------------------------------------------

STATUSES = {
    400: ErrorClass.REFUSED_REQUEST,
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    408: ErrorClass.TRANSIENT,
    413: ErrorClass.REFUSED_REQUEST,
    422: ErrorClass.REFUSED_REQUEST,
    429: ErrorClass.THROTTLED,
    500: ErrorClass.TRANSIENT,
    502: ErrorClass.TRANSIENT,
    503: ErrorClass.TRANSIENT,
    529: ErrorClass.TRANSIENT,
}


@every_source
@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_has_its_class_and_is_not_asked_again(
    bench: Bench, case: Case, status: int
) -> None:
    error = await bench.failure(case, "status", value=status)
    assert error.error_class is wanted(case, str(status), STATUSES[status])
    assert str(status) in error.message
    assert await bench.calls(case) == 1


@every_source
@pytest.mark.parametrize(
    ("value", "seconds"), [(7, 7), ("Tue, 24 Nov 2026 12:02:00 GMT", 120), ("soon", None)]
)
async def test_retry_after_is_read_in_both_spellings(
    bench: Bench, case: Case, value: Any, seconds: float | None
) -> None:
    error = await bench.failure(case, "retry_after", value=value)
    assert (error.error_class, error.retry_after) == (ErrorClass.THROTTLED, seconds)
    assert await bench.calls(case) == 1


@pytest.mark.parametrize("case", [c for c in CASES if c.name.value in KINDS[Kind.QUOTA].sources])
async def test_a_used_up_account_is_quota(bench: Bench, case: Case) -> None:
    error = await bench.failure(case, "quota")
    assert (error.error_class, error.retry_after) == (ErrorClass.QUOTA, None)


@every_source
async def test_an_error_inside_a_200_is_an_error(bench: Bench, case: Case) -> None:
    error = await bench.failure(case, "error_body")
    assert error.error_class is wanted(case, "error_body", ErrorClass.INVALID_ANSWER)


# --- what the network does ----------------------------------------------------------------------


@every_source
@pytest.mark.parametrize(
    ("kind", "error_class", "uncertain"),
    [
        ("cut", ErrorClass.TRANSIENT, True),
        ("lost", ErrorClass.TRANSIENT, True),
        ("truncate", ErrorClass.TRANSIENT, True),
        ("malformed", ErrorClass.INVALID_ANSWER, True),
        ("html", ErrorClass.INVALID_ANSWER, True),
        ("redirect", ErrorClass.INVALID_ANSWER, False),
    ],
)
async def test_a_broken_transport_has_its_class_and_is_not_asked_again(
    bench: Bench, case: Case, kind: str, error_class: ErrorClass, uncertain: bool
) -> None:
    error = await bench.failure(case, kind)
    assert error.error_class is error_class
    # What left and brought no readable answer may have been paid for; a refusal is known.
    assert error.uncertain == uncertain
    assert await bench.calls(case) == 1


@every_source
async def test_a_source_that_hangs_is_given_up(bench: Bench, case: Case) -> None:
    error = await bench.failure(case, "hang", seconds=0.2)
    assert (error.error_class, error.uncertain) == (ErrorClass.TRANSIENT, True)
    assert "in time" in error.message


@every_source
async def test_a_body_without_end_is_refused_unread(bench: Bench, case: Case) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = await bench.failure(case, "huge", value=100)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert (error.error_class, error.uncertain) == (ErrorClass.INVALID_ANSWER, True)
    assert grown < 60  # MB: a part of the 100 at most


@every_source
async def test_a_source_that_is_not_there_is_transient(bench: Bench, case: Case) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await bench.refused(case, f"http://127.0.0.1:{port}")
    assert (error.error_class, error.uncertain) == (ErrorClass.TRANSIENT, False)


# --- what it keeps to itself --------------------------------------------------------------------


@every_source
@pytest.mark.parametrize("kind", ["latency", "error_body", "malformed", "cut", "stranger"])
async def test_no_log_line_names_the_person_or_the_key(
    bench: Bench, case: Case, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.desk.order(case.name.value, kind)
    with caplog.at_level(logging.INFO), capture_logs() as lines:
        try:
            await bench.ask(case)
        except SourceError as error:
            logging.getLogger("tests").error("%r", error, exc_info=error)
    said = caplog.text + str(lines)
    assert [
        word for word in (KEY, "Adams", "kate.private", "katherine-adams") if word in said
    ] == []


def test_every_source_has_a_case() -> None:
    assert {case.name for case in CASES} == set(SourceName)
