"""What operators run, each a process of its own: its output and its exit code."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from nats.aio.client import Client
from prospect.enrichment.v1 import events_pb2

from devstack import servers
from services import topology
from tests.cli.process import prospect
from tests.harness import Database

REQUEST = {
    "prospect_id": str(uuid.uuid4()),
    "tenant_id": str(uuid.uuid4()),
    "user_id": str(uuid.uuid4()),
    "name": "Katherine Adams",
    "company": "Apple Inc.",
}


async def test_an_event_published_by_the_command_is_on_the_stream(
    nats: Client, nats_server: servers.Nats
) -> None:
    done = prospect(
        "events", "publish", topology.REQUESTED, json.dumps(REQUEST),
        "--nats-url", nats_server.url, "--json",
    )  # fmt: skip
    message = await nats.jetstream().get_msg("ENRICH_REQUESTS", seq=1)
    assert message.data
    assert message.headers
    assert message.headers["ce-id"] == json.loads(done.stdout)["event_id"]
    assert events_pb2.EnrichmentRequested.FromString(message.data).name == REQUEST["name"]


def test_an_event_that_breaks_a_rule_is_not_published_and_the_field_is_named() -> None:
    done = prospect("events", "publish", topology.AGGREGATE_DAILY, '{"date": "yesterday"}')
    assert done.returncode == 2
    assert "date:" in done.stderr
    assert "(date)" in done.stderr


def test_a_broker_out_of_reach_is_one_clear_line() -> None:
    done = prospect(
        "events", "publish", topology.AGGREGATE_DAILY, '{"date": "2026-11-24"}',
        "--nats-url", "nats://127.0.0.1:1",
    )  # fmt: skip
    assert done.returncode == 2
    assert "NATS at nats://127.0.0.1:1 did not take the event" in done.stderr


def test_a_missing_setting_is_named_in_one_line() -> None:
    done = prospect("serve", "activity")
    assert done.returncode == 2
    assert done.stderr == "prospect: PROSPECT_POSTGRES_DSN is not set (see `prospect config`)\n"


def test_a_misspelt_setting_stops_the_start_with_a_suggestion() -> None:
    done = prospect("serve", "activity", PROSPECT_NATS_ULR="nats://nats:4222")
    assert done.returncode == 2
    assert "PROSPECT_NATS_ULR is not a setting; did you mean PROSPECT_NATS_URL?" in done.stderr


def test_config_shows_every_setting_and_hides_secrets() -> None:
    done = prospect("config", "enrichment", "--json", PROSPECT_EXA_API_KEY="very secret")
    rows = {row["variable"]: row for row in json.loads(done.stdout)}
    assert rows["PROSPECT_EXA_API_KEY"]["now"] == "(hidden)"
    assert rows["PROSPECT_LEASE_SECONDS"]["default"] == "6"
    assert all(row["meaning"] for row in rows.values())


def test_config_shows_no_password_of_an_address_and_where_a_secrets_file_is() -> None:
    done = prospect(
        "config", "--json",
        PROSPECT_NATS_URL="nats://u:secret@nats", PROSPECT_EXA_URL="https://u:secret@exa.example",
        PROSPECT_EXA_API_KEY_FILE="/run/exa",
    )  # fmt: skip
    rows = {row["variable"]: row["now"] for row in json.loads(done.stdout)}
    assert rows["PROSPECT_NATS_URL"] == "(hidden)"
    assert rows["PROSPECT_EXA_URL"] == "https://***@exa.example"
    assert rows["PROSPECT_EXA_API_KEY"] == "/run/exa"


@pytest.mark.parametrize(
    ("command", "variable"),
    [
        (("serve", "activity"), "PROSPECT_POSTGRES_DSN"),
        (("migrate", "activity"), "PROSPECT_POSTGRES_OWNER_DSN"),
        (("activity", "maintain"), "PROSPECT_POSTGRES_OWNER_DSN"),
    ],
)
def test_a_dsn_that_cannot_be_read_is_one_line_without_its_password(
    command: tuple[str, ...], variable: str, tmp_path: Path
) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql://app:secret#word@127.0.0.1:1/prospect")
    others = {"PROSPECT_NATS_URL": "nats://127.0.0.1:1", "PROSPECT_LOG_SIGNING_KEY_FILE": "key"}
    done = prospect(*command, **{f"{variable}_FILE": str(file)}, **others)
    assert done.returncode == 2
    assert done.stderr.startswith(f"prospect: {variable} is no DSN")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_a_broker_that_does_not_answer_is_named_without_its_password() -> None:
    done = prospect(
        "events", "publish", topology.AGGREGATE_DAILY, '{"date": "2026-11-24"}',
        PROSPECT_NATS_URL="nats://u:secret@127.0.0.1:1",
    )  # fmt: skip
    assert "NATS at nats://***@127.0.0.1:1 did not take the event" in done.stderr
    assert "secret" not in done.stderr


def test_migrate_says_what_it_applied_and_that_nothing_is_left(database: Database) -> None:
    done = prospect("migrate", "activity", PROSPECT_POSTGRES_OWNER_DSN=database.dsn())
    assert (done.returncode, done.stdout) == (0, "activity: up to date\n")


def test_migrate_prints_the_roles_an_administrator_must_make() -> None:
    done = prospect("migrate", "metrics", "--print-roles")
    assert "metrics_owner" in done.stdout
    assert "nobypassrls" in done.stdout
