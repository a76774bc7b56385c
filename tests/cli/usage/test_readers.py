"""`prospect usage top|summary|watch|export` beside running services."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import stat
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api

from chassis.clock import new_id, to_timestamp, utc_now
from devstack.stack import ROOT
from services.cli.operate.services import ServiceName
from tests.cli.usage.command import Usage
from tests.cli.usage.test_commands import THEN, counted
from tests.harness import Identity, Services
from tests.metrics.calls import DAY, USERS


async def start(environment: dict[str, str], *arguments: str) -> Process:
    """Start `prospect usage …` as a process of its own."""
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos'}"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", "usage", *arguments,
        cwd=ROOT, env=os.environ | paths | environment, stdout=PIPE, stderr=PIPE,
    )  # fmt: skip


async def log_in(stub: activity_api.ActivityServiceAsyncStub, who: Identity) -> None:
    """Record a login of this moment."""
    now = utc_now()
    login = activity_pb.NewActivity(
        activity_id=str(new_id(now)),
        user_id=USERS[0],
        action_type=activity_pb.ACTION_TYPE_LOGIN,
        created_at=to_timestamp(now),
    )
    request = activity_pb.RecordActivitiesRequest(activities=[login])
    await stub.RecordActivities(request, metadata=who.metadata())


async def line_of(stream: asyncio.StreamReader | None) -> str:
    """Return the next line that a process prints."""
    assert stream
    return (await asyncio.wait_for(stream.readline(), 30)).decode()


async def test_the_top_users_are_ranked_as_far_as_was_asked(usage: Usage, ours: Identity) -> None:
    await counted(usage, ours, 90)
    users = await usage.json("top", *THEN, "--limit", 2)
    assert [each["rank"] for each in users] == [1, 2]
    assert users[0]["count"] >= users[1]["count"] > 0
    done = await usage("top", *THEN, "--counter", "total_logins")
    assert (done.exit_code, done.stderr) == (0, "")
    assert all(user in done.stdout for user in USERS)


async def test_a_summary_tells_what_is_new(usage: Usage, ours: Identity) -> None:
    await counted(usage, ours, 90)
    (said,) = await usage.json("summary", *THEN)
    assert said["current"]["totals"]["total_activities"] == 90
    assert said["current"]["active_users"] == len(USERS)
    assert said["previous"]["active_users"] == 0
    done = await usage("summary", "--to", DAY)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "▁" * 29 + "█" in done.stdout
    assert "new" in done.stdout


async def test_an_export_is_a_file_of_its_owner_with_a_row_a_day_and_user(
    usage: Usage, ours: Identity, tmp_path: Path
) -> None:
    await counted(usage, ours, 90)
    path = tmp_path / "out.csv"
    path.write_text("before")
    (said,) = await usage.json("export", path, *THEN)
    rows = list(csv.DictReader(path.open(newline="")))
    assert (said["rows"], said["bytes"]) == (len(rows), path.stat().st_size)
    assert {row["user_id"] for row in rows} == set(USERS)
    assert sum(int(row["total_activities"]) for row in rows) == 90
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (await usage("export", "-", *THEN)).stdout_bytes == path.read_bytes()


async def test_a_failed_export_leaves_the_existing_file_untouched(
    usage: Usage, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")
    done = await usage("export", path, "--from", "2020-01-01", "--to", "2026-01-01")
    assert (done.exit_code, "end_date: must be at most" in done.stderr) == (2, True)
    assert path.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir() if "out" in each.name] == ["out.csv"]


async def test_a_watch_ends_after_the_number_of_updates_asked_for(usage: Usage) -> None:
    (said,) = await usage.json("watch", "--count", 1)
    assert said["totals"]["total_activities"] == 0
    done = await usage("watch", "--count", 1)
    assert (done.exit_code, "0 activities of 0 users" in done.stdout) == (0, True)


async def test_a_watch_prints_each_change_and_exits_with_0_on_ctrl_c(
    usage: Usage, ours: Identity
) -> None:
    watch = await start(usage.environment, "watch", "--json")
    assert json.loads(await line_of(watch.stdout))["totals"]["total_logins"] == 0
    await log_in(usage.pair.activity, ours)
    assert json.loads(await line_of(watch.stdout))["totals"]["total_logins"] == 1
    watch.send_signal(signal.SIGINT)
    output, errors = await asyncio.wait_for(watch.communicate(), 30)
    assert (watch.returncode, output, errors) == (0, b"", b"\n")


async def test_a_watch_resumes_after_the_connection_broke(
    services: Services, ours: Identity, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(ours.metadata()[0][1].split()[1])
    async with services.running(ServiceName.ACTIVITY) as activity:
        settings = {
            "activity_address": services.addresses[ServiceName.ACTIVITY],
            "activity_token_file": services.audit_token_file(),
        }
        async with services.running(ServiceName.METRICS, **settings):
            address = services.addresses[ServiceName.METRICS]
            environment = {"PROSPECT_METRICS_ADDRESS": address, "PROSPECT_TOKEN_FILE": str(token)}
            watch = await start(environment, "watch", "--json", "--count", "2")
            assert json.loads(await line_of(watch.stdout))["totals"]["total_logins"] == 0
        assert await line_of(watch.stderr) == "the connection broke; trying again each 1 s\n"
        await log_in(activity_api.ActivityServiceStub(activity), ours)
        async with services.running(ServiceName.METRICS, listen=address, **settings):
            assert json.loads(await line_of(watch.stdout))["totals"]["total_logins"] == 1
            assert await asyncio.wait_for(watch.wait(), 30) == 0
