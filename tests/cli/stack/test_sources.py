"""`prospect sources check`: each source is asked once, and drift is told by its field."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from services.__main__ import app
from services.enrichment.sources.catalogue import SourceName, credential_of, urls_of
from tests.harness import SandboxDesk

KEYS = {f"PROSPECT_{credential_of(source)}".upper(): None for source in SourceName}


def live(desk: SandboxDesk, *sources: SourceName) -> dict[str, str]:
    """Return the settings of sources that have a key."""
    settings = {credential_of(source): "key (ops@acme.example)" for source in sources}
    settings |= {url: desk.url for source in sources for url in urls_of(source)}
    return {f"PROSPECT_{name}".upper(): value for name, value in settings.items()}


async def check(environment: Mapping[str, str], *arguments: str) -> Result:
    """Run the command with these settings of sources and no others."""
    runner = CliRunner(env={"COLUMNS": "200", **KEYS, **environment})
    return await asyncio.to_thread(runner.invoke, app, ["sources", "check", *arguments])


def rows(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


async def test_without_keys_the_sandbox_answers_for_all() -> None:
    result = await check({})
    assert result.exit_code == 0, result.output
    for source in SourceName:
        assert f"{source} (sandbox): fits" in result.stdout
    assert "costDollars.total" in result.stdout


async def test_vendors_are_not_asked_before_their_price_is_accepted(
    sandbox_desk: SandboxDesk,
) -> None:
    result = await check(live(sandbox_desk, SourceName.EXA), "exa")
    assert result.exit_code == 2
    assert "nothing was asked yet" in result.stderr
    assert "exa $0.007" in result.stderr
    assert await sandbox_desk.calls("exa") == 0


async def test_each_vendor_is_asked_once(sandbox_desk: SandboxDesk) -> None:
    sources = (SourceName.CONTACTOUT, SourceName.EXA, SourceName.CLAUDE)
    result = await check(live(sandbox_desk, *sources), *sources, "--yes", "--json")
    assert result.exit_code == 0, result.output
    found = rows(result)
    assert [(each["source"], each["asked"], each["verdict"]) for each in found] == [
        (source, "vendor", "fits") for source in sources
    ]
    assert all(each["cost_micros"] for each in found)
    assert [await sandbox_desk.calls(source) for source in sources] == [1, 1, 1]


async def test_a_field_that_an_answer_lacks_is_drift(sandbox_desk: SandboxDesk) -> None:
    answer = {"requestId": "r", "results": [{"link": "https://a.example"}], "costDollars": {}}
    await sandbox_desk.order("exa", "body", value=json.dumps(answer))
    result = await check(live(sandbox_desk, SourceName.EXA), "exa", "--yes", "--json")
    (exa,) = rows(result)
    absent = {
        each["field"] for each in exa["fields"] if each["needed"] and each["state"] == "absent"
    }
    assert (result.exit_code, exa["verdict"]) == (1, "drift")
    assert absent == {"results[].url", "results[].text", "costDollars.total"}
    assert exa["new_fields"] == ["results[].link"]


@pytest.mark.parametrize(
    ("kind", "verdict", "outcome"),
    [
        ("refusal", "refused", "auth: ContactOut answered 400 credential"),
        ("not_found", "not proven", ""),
    ],
)
async def test_a_vendor_that_refuses_or_knows_nobody_proves_nothing(
    sandbox_desk: SandboxDesk, kind: str, verdict: str, outcome: str
) -> None:
    await sandbox_desk.order("contactout", kind, value="bad_credentials")
    result = await check(live(sandbox_desk, SourceName.CONTACTOUT), "contactout", "--yes", "--json")
    (contactout,) = rows(result)
    assert (result.exit_code, contactout["verdict"]) == (1, verdict)
    assert outcome in contactout["outcome"]
