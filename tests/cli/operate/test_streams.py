"""`prospect streams`: what differs is shown, and set as declared when that is asked for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import Result

from chassis.broker.client import BrokerClient
from devstack import servers
from services import topology
from tests.cli.in_process import invoke

DECLARED = len(topology.STREAMS) + sum(len(e.consumers) for e in topology.SERVICES.values())


@pytest.fixture
def settings(nats_server: servers.Nats) -> dict[str, str]:
    return {"PROSPECT_NATS_URL": nats_server.url}


async def streams(*arguments: str, settings: dict[str, str]) -> Result:
    return await invoke("streams", *arguments, environment=settings)


async def differing(*arguments: str, settings: dict[str, str]) -> list[Any]:
    done = await streams("diff", "--json", *arguments, settings=settings)
    found: list[Any] = json.loads(done.stdout)
    assert done.exit_code == bool(found)
    return found


async def test_what_is_missing_is_shown_and_made(settings: dict[str, str]) -> None:
    assert [e["setting"] for e in await differing(settings=settings)] == ["missing"] * DECLARED
    assert (await streams("apply", settings=settings)).exit_code == 0
    assert await differing(settings=settings) == []
    assert "all as declared" in (await streams("diff", settings=settings)).stdout


async def test_what_an_operator_has_set_is_shown_and_set_back_only_by_apply(
    settings: dict[str, str], nats: BrokerClient
) -> None:
    jetstream = nats.jetstream()
    config = (await jetstream.stream_info("ACTIVITY")).config
    config.max_age, config.description = 3_600, "of ops"
    config.subjects = [*(config.subjects or ()), "more"]
    await jetstream.update_stream(config)
    (found, _) = await differing("activity", settings=settings)
    assert found == {
        "kind": "stream",
        "name": "ACTIVITY",
        "setting": "max_age",
        "declared": 7 * 86_400 * 10**9,
        "found": 3_600 * 10**9,
    }
    shown = await streams("apply", "activity", settings=settings)
    assert "3600 s" in shown.stdout
    config = (await jetstream.stream_info("ACTIVITY")).config
    assert (config.max_age, config.description) == (7 * 86_400, "of ops")
    assert config.subjects == ["activity.recorded.*", "more"]
    assert await differing("activity", settings=settings) == []


async def test_the_settings_of_streams_are_declared(
    settings: dict[str, str], nats: BrokerClient
) -> None:
    limits = settings | {"PROSPECT_NATS_STREAM_MAX_MB": "10"}
    found = await differing("metrics", settings=limits)
    assert {e["name"] for e in found if e["setting"] == "max_bytes"} == {
        "QUOTAS", "DEAD_LETTERS",
    }  # fmt: skip
    done = await streams("apply", "metrics", settings=limits)
    assert (done.exit_code, done.stderr) == (0, "")
    assert (await nats.jetstream().stream_info("QUOTAS")).config.max_bytes == 10 * 1024**2


async def test_what_the_broker_does_not_do_is_told_in_one_line(
    settings: dict[str, str], nats: BrokerClient
) -> None:
    done = await streams(
        "apply", "activity", settings=settings | {"PROSPECT_NATS_STREAM_REPLICAS": "3"}
    )
    assert done.exit_code == 2
