"""The sandbox's desk: faults are typed, listed, and given to whom they were ordered for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from devstack.sandbox.faults import KINDS, SOURCES
from tests.harness import SandboxDesk

ENRICH = "/v1/people/enrich"


async def ask(desk: SandboxDesk, name: str) -> httpx.Response:
    body = {"full_name": name, "company": ["Acme"]}
    return await desk.client.post(ENRICH, json=body, headers={"token": "key"})


async def test_every_kind_is_listed_with_its_meaning_and_sources(sandbox_desk: SandboxDesk) -> None:
    listed = (await sandbox_desk.client.get("/_sandbox/faults")).json()["kinds"]
    assert {each["kind"] for each in listed} == {kind.value for kind in KINDS}
    assert all(each["meaning"] and set(each["sources"]) <= set(SOURCES) for each in listed)


async def test_what_is_ordered_is_listed(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("sec", "html", about="320193", times=2)
    (order,) = (await sandbox_desk.client.get("/_sandbox/faults")).json()["ordered"]
    assert (order["kind"], order["about"], order["times"]) == ("html", "320193", 2)


@pytest.mark.parametrize(
    "order",
    [
        {"source": "sec", "kind": "flood"},
        {"source": "sec", "kind": "sample"},
        {"source": "nobody", "kind": "html"},
        {"source": "exa", "kind": "html", "times": 0},
        {"source": "exa", "kind": "html", "subjekt": "Jane"},
        {"kind": "html"},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(
    sandbox_desk: SandboxDesk, order: dict[str, Any]
) -> None:
    answer = await sandbox_desk.client.post("/_sandbox/faults", json=order)
    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_a_fault_meets_its_subject_as_often_as_ordered(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("contactout", "status", value=503, about="jane", times=2)
    names = ("John Doe", "Jane Doe", "Jane Doe", "Jane Doe")
    statuses = [(await ask(sandbox_desk, name)).status_code for name in names]
    assert statuses == [200, 503, 503, 200]


async def test_a_lost_answer_is_a_call_that_was_counted(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("contactout", "lost")
    with pytest.raises(httpx.RemoteProtocolError):
        await ask(sandbox_desk, "Jane Doe")
    assert await sandbox_desk.calls("contactout", "Jane Doe") == 1


@pytest.mark.parametrize(
    ("path", "body", "headers", "said"),
    [
        (ENRICH, {"full_name": "Jane Doe"}, {}, {"message": "Bad credentials or invalid headers"}),
        ("/search", {"query": "Jane"}, {}, {"tag": "INVALID_API_KEY"}),
        ("/search", {}, {"x-api-key": "key"}, {"tag": "INVALID_REQUEST_BODY"}),
        ("/v1/messages", {}, {}, {"type": "error"}),
    ],
)
async def test_a_refusal_has_the_vendors_form(
    sandbox_desk: SandboxDesk,
    path: str,
    body: dict[str, Any],
    headers: dict[str, str],
    said: dict[str, Any],
) -> None:
    answer = await sandbox_desk.client.post(path, json=body, headers=headers)
    assert answer.status_code in (400, 401)
    assert said.items() <= answer.json().items()


async def test_a_spend_limit_of_claude_has_no_retry_after(sandbox_desk: SandboxDesk) -> None:
    await sandbox_desk.order("claude", "quota")
    message = {"role": "user", "content": "x"}
    answer = await sandbox_desk.client.post(
        "/v1/messages",
        json={"model": "m", "max_tokens": 1, "messages": [message]},
        headers={"authorization": "Bearer key", "anthropic-version": "2026-10-21"},
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (429, "rate_limit_error")
    assert error["details"] == {"error_code": "enforced_spend_limit_reached"}
    assert "retry-after" not in answer.headers
    assert answer.headers["request-id"] == answer.json()["request_id"]
