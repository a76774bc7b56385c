"""`prospect activity` as its user meets it: a process of its own against a running service."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from nats.aio.client import Client

from chassis.clock import utc_now
from devstack.stack import ROOT
from services.cli.operate.services import ServiceName
from tests.cli.in_process import invoke
from tests.harness import Database, Identity, Services

ANA = "0192f0c1-0000-7000-8000-00000000000a"
COMMANDS = [
    "record",
    "list",
    "get",
    "tail",
    "count",
    "export",
    "verify",
    "checkpoint",
    "erase",
    "retention",
    "partitions",
    "maintain",
]


@dataclass(frozen=True)
class Command:
    """The command with the environment in which it finds the service."""

    environment: dict[str, str]

    async def start(self, *arguments: str) -> Process:
        """Start `prospect activity …` as a process of its own."""
        command = [sys.executable, "-m", "services", "activity", *arguments]
        return await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self.environment, stdout=PIPE, stderr=PIPE
        )

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run it to its end; return exit code, output and errors."""
        done = await invoke("activity", *arguments, environment=self.environment)
        return done.exit_code, done.stdout, done.stderr

    async def json(self, *arguments: str) -> list[dict[str, object]]:
        """Run it with --json, which must go well; return the lines."""
        code, output, errors = await self(*arguments, "--json")
        assert (code, errors) == (0, "")
        return [json.loads(line) for line in output.splitlines()]


def environment(address: str, token_file: Path) -> dict[str, str]:
    """Return the environment in which the command finds a service."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}",
        "COLUMNS": "200",
        "PROSPECT_ACTIVITY_ADDRESS": address,
        "PROSPECT_TOKEN_FILE": str(token_file),
    }


@pytest.fixture
async def prospect(
    quiet: None, services: Services, ours: Identity, tmp_path: Path
) -> AsyncIterator[Command]:
    """The command, beside a running activity service."""
    token = tmp_path / "token"
    token.write_text(ours.metadata()[0][1].split()[1])
    async with services.running(ServiceName.ACTIVITY):
        yield Command(environment(services.addresses[ServiceName.ACTIVITY], token))


async def test_what_is_recorded_can_be_listed_counted_and_got(prospect: Command) -> None:
    (recorded,) = await prospect.json(
        "record", "--user", ANA, "--action", "search_executed", "--metadata", '{"query": "cfo"}'
    )
    activity_id = str(recorded["activity_id"])
    listed = await prospect.json("list", "--user", ANA, "--metadata", '{"query": "cfo"}')
    assert [each["activity_id"] for each in listed] == [activity_id]
    assert await prospect.json("get", activity_id) == listed
    assert await prospect.json("count", "--by", "action", "--from", "1h") == [
        {"action": "search_executed", "count": 1}
    ]


async def test_output_is_a_table_by_default(prospect: Command) -> None:
    await prospect("record", "--user", ANA, "--action", "login", "--target", "evil\x1b[31m")
    code, output, _ = await prospect("list")
    assert code == 0
    assert "when (UTC)" in output
    assert ANA in output
    assert "\x1b[31m" not in output


async def test_a_file_is_recorded_once_however_often_it_is_sent(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "day.ndjson"
    line = json.dumps({"user_id": ANA, "action_type": "login"})
    path.write_text(f"{line}\n" * 1_200)
    for outcome in ((1_200, 0), (0, 1_200)):
        (said,) = await prospect.json("record", "--file", str(path))
        assert (said["recorded"], said["duplicates"], said["refused"]) == (*outcome, [])
    assert await prospect.json("count") == [{"count": 1_200}]


async def test_a_refused_line_of_a_file_is_named_and_the_others_are_recorded(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "DAY.CSV"
    path.write_text(f"user_id,action_type\n{ANA},login\nnobody,login\n{ANA},note_added\n")
    code, output, errors = await prospect("record", "--file", str(path))
    assert code == 2
    assert output == "2 recorded, 0 there already, 1 refused\n"
    assert "line 3: user_id:" in errors


async def test_invalid_lines_do_not_keep_the_valid_ones_from_being_recorded(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "day.ndjson"
    good = json.dumps({"user_id": ANA, "action_type": "login"})
    faults = (
        '{"user_id": "x"',
        "[]",
        json.dumps({"user_id": ANA, "action_type": "nope"}),
        json.dumps({"user_id": ANA, "action_type": "login", "created_at": "yesterday"}),
        json.dumps({"user_id": ANA, "action_type": "login", "target_id": "\ud800"}),
        '{"user_id": "x", "action_type": "login", "metadata": {"a": NaN}}',
        f'{{"user_id": "{ANA}", "action_type": "login", "target_id": "\udcff"}}',
    )
    path.write_bytes("\n".join((good, *faults, good)).encode(errors="surrogateescape"))
    code, output, _ = await prospect("record", "--json", "--file", str(path))
    said = json.loads(output)
    assert (code, said["recorded"]) == (2, 2)
    assert [(each["line"], each["field"], each["rule"]) for each in said["refused"]] == [
        (2, "", "json"),
        (3, "", "json.object"),
        (4, "action_type", "enum.defined_only"),
        (5, "created_at", "timestamp"),
        (6, "", "string.utf8"),
        (7, "", "json"),
        (8, "", "string.utf8"),
    ]


async def test_entries_before_the_unreadable_part_of_a_file_are_recorded(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "day.csv"
    path.write_text(f'user_id,action_type\n{ANA},login\n"{ANA}"x,login\n{ANA},login\n')
    code, output, errors = await prospect("record", "--file", str(path))
    assert code == 2
    assert output == "1 recorded, 0 there already, 0 refused\n"
    assert errors.startswith("the rest was not read: after line 2 it is not CSV")


async def test_metadata_keep_every_digit_through_a_file_and_back(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "day.ndjson"
    metadata = f'{{"n": {"1" * 5_000}, "x": 0.10000000000000000000000001}}'
    path.write_text(f'{{"user_id": "{ANA}", "action_type": "login", "metadata": {metadata}}}\n')
    assert (await prospect("record", "--file", str(path)))[0] == 0
    _, listed, _ = await prospect("list", "--json")
    assert metadata in listed


async def test_an_exported_csv_can_be_recorded_again_and_is_all_duplicates(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    await prospect("record", "--user", ANA, "--action", "login", "--target", "=1+1")
    code, output, errors = await prospect("export", str(path), "--action", "login")
    assert (code, errors) == (0, "")
    assert output.startswith("1 entries, ")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (said,) = await prospect.json("record", "--file", str(path))
    assert (said["recorded"], said["duplicates"], said["refused"]) == (0, 1, [])


async def test_a_failed_export_leaves_the_existing_file_untouched(
    prospect: Command, tmp_path: Path
) -> None:
    path = tmp_path / "out.ndjson"
    path.write_text("before")
    code, _, errors = await prospect("export", str(path), "--user", "nobody")
    assert code == 2
    assert errors.startswith("prospect: invalid argument: filter.user_ids[0]: ")
    assert [each.name for each in tmp_path.iterdir() if "out" in each.name] == ["out.ndjson"]
    assert path.read_text() == "before"


async def test_tail_prints_entries_as_they_come_and_exits_with_0_on_ctrl_c(
    prospect: Command,
) -> None:
    tail = await prospect.start("tail", "--json")
    assert tail.stdout
    assert tail.stderr
    assert await asyncio.wait_for(tail.stderr.readline(), 30) == b"following; Ctrl-C ends\n"
    (recorded,) = await prospect.json("record", "--user", ANA, "--action", "login")
    line = json.loads(await asyncio.wait_for(tail.stdout.readline(), 30))
    assert line["activity_id"] == recorded["activity_id"]
    tail.send_signal(signal.SIGINT)
    output, errors = await asyncio.wait_for(tail.communicate(), 30)
    assert (tail.returncode, output) == (0, b"")
    assert errors.startswith(b"\nto go on from here: --resume ")


async def test_a_tail_resumes_after_a_break_and_prints_its_token_when_it_is_refused(
    services: Services, ours: Identity, tmp_path: Path, nats: Client
) -> None:
    token = tmp_path / "token"
    token.write_text(ours.metadata()[0][1].split()[1])
    async with services.running(ServiceName.ACTIVITY):
        address = services.addresses[ServiceName.ACTIVITY]
        prospect = Command(environment(address, token))
        tail = await prospect.start("tail", "--json")
        assert tail.stdout
        assert tail.stderr
        assert await asyncio.wait_for(tail.stderr.readline(), 30) == b"following; Ctrl-C ends\n"
    broke = b"the connection broke; trying again each 1 s\n"
    assert await asyncio.wait_for(tail.stderr.readline(), 30) == broke
    async with services.running(ServiceName.ACTIVITY, listen=address):
        (recorded,) = await prospect.json("record", "--user", ANA, "--action", "login")
        line = json.loads(await asyncio.wait_for(tail.stdout.readline(), 30))
        assert line["activity_id"] == recorded["activity_id"]
    await nats.jetstream().publish(f"activity.recorded.{uuid.uuid4()}", b"")
    await nats.jetstream().purge_stream("ACTIVITY")  # what it would go on from is gone
    async with services.running(ServiceName.ACTIVITY, listen=address):
        _, errors = await asyncio.wait_for(tail.communicate(), 30)
    assert tail.returncode == 2
    assert b"to go on from here: --resume " in errors
    assert b"resume_token.expired" in errors


async def test_not_found_is_exit_code_1(prospect: Command) -> None:
    code, _, errors = await prospect("get", str(uuid.uuid4()), "--at", "2026-11-24")
    assert code == 1
    assert errors.startswith("prospect: not found: there is no activity ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--action", "dance"),
        ("list", "--from", "yesterday"),
        ("record",),
        ("record", "--file", "/nowhere"),
        ("export", "/nowhere/out.csv"),
    ],
)
async def test_an_invalid_option_is_exit_code_2_and_names_the_valid_values(
    prospect: Command, arguments: tuple[str, ...]
) -> None:
    code, output, errors = await prospect(*arguments)
    assert (code, output) == (2, "")
    assert "Traceback" not in errors
    assert errors


async def test_a_service_out_of_reach_is_one_clear_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    code, _, errors = await Command(environment("127.0.0.1:1", token))("list")
    assert code == 2
    assert errors.startswith("prospect: unavailable: ")
    assert "127.0.0.1:1" in errors
    assert errors.count("\n") == 1


async def test_without_a_token_the_command_says_where_to_get_one(tmp_path: Path) -> None:
    code, _, errors = await Command(environment("127.0.0.1:1", tmp_path / "none"))("list")
    assert code == 2
    assert "start `prospect dev`" in errors


@pytest.mark.parametrize("name", COMMANDS)
async def test_every_command_has_help_with_an_example(name: str, tmp_path: Path) -> None:
    _, output, _ = await Command(environment("", tmp_path))(name, "--help")
    assert "Example" in output


async def test_a_user_is_erased_with_a_receipt(prospect: Command) -> None:
    await prospect.json("record", "--user", ANA, "--action", "login")
    (receipt,) = await prospect.json("erase", ANA, "--yes")
    assert (receipt["user_id"], receipt["erased_count"]) == ("", 1)
    assert await prospect.json("list", "--user", ANA) == []


async def test_erasing_asks_first_and_takes_no_for_an_answer(prospect: Command) -> None:
    await prospect.json("record", "--user", ANA, "--action", "login")
    code, _, errors = await prospect("erase", ANA)
    assert code == 1
    assert "cannot be undone" in errors
    assert len(await prospect.json("list", "--user", ANA)) == 1


async def test_retention_is_shown_and_set(prospect: Command) -> None:
    assert await prospect.json("retention") == [{"retention_days": 395, "is_default": True}]
    assert await prospect.json("retention", "90") == [{"retention_days": 90, "is_default": False}]
    code, _, errors = await prospect("retention", "400")
    assert code == 2
    assert "retention_days" in errors


def next_months(number: int) -> set[str]:
    """Return so many months from this one on, as YYYY-MM."""
    today = utc_now()
    first = today.year * 12 + today.month - 1
    months = [divmod(first + each, 12) for each in range(number)]
    return {f"{year}-{month + 1:02}" for year, month in months}


async def test_partitions_are_shown_to_an_auditor(
    prospect: Command, ours: Identity, tmp_path: Path
) -> None:
    audit = tmp_path / "audit"
    audit.write_text(ours.metadata("activity:audit")[0][1].split()[1])
    code, output, _ = await prospect("partitions", "--token-file", str(audit))
    assert code == 0
    assert "is made about" in output
    (said,) = await prospect.json("partitions", "--token-file", str(audit))
    assert said["retention_days"] == 395
    months = {each["month"] for each in said["partitions"]}  # type: ignore[attr-defined]
    assert next_months(4) <= months
    assert len(months) <= 5  # the template may have been made in the month before
    code, _, errors = await prospect("partitions")
    assert code == 2
    assert "activity:audit" in errors


async def test_maintenance_drops_months_beyond_retention_given_the_owners_dsn_alone(
    database: Database,
) -> None:
    await database.fetch("select activity.ensure_partitions('2020-01-01', '2020-02-01')")
    owner = {"PROSPECT_POSTGRES_OWNER_DSN": database.dsn("activity_owner")}
    command = Command(os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"} | owner)
    (planned,) = await command.json("maintain", "--dry-run")
    assert planned == {"dropped": ["2020-01", "2020-02"], "dry_run": True}
    (done,) = await command.json("maintain")
    assert done == {"dropped": ["2020-01", "2020-02"], "dry_run": False}
    assert await command.json("maintain") == [{"dropped": [], "dry_run": False}]


async def test_maintenance_that_postgres_refuses_says_so_without_the_row(
    database: Database,
) -> None:
    await database.fetch("select activity.ensure_partitions('2020-01-01', '2020-02-01')")
    owner = {"PROSPECT_POSTGRES_OWNER_DSN": database.dsn("activity_owner")}
    command = Command(os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"} | owner)
    await database.fetch("alter table activity.drops add constraint none check (false) not valid")
    try:
        code, _, errors = await command("maintain")
    finally:
        await database.fetch("alter table activity.drops drop constraint none")
    assert code == 1
    assert 'violates check constraint "none" (23514, drops)' in " ".join(errors.split())
    assert "DETAIL" not in errors
    assert "Traceback" not in errors
