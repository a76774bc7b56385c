"""`prospect usage` as its user meets it: reading, zones, quotas, and what it says of mistakes."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from typer.testing import CliRunner

from services.__main__ import app
from services.cli.usage.options import COUNTERS
from tests.cli.usage.command import Usage
from tests.harness import Identity
from tests.metrics.calls import DAY, USERS, record, some_activities, usage_of

COMMANDS = [
    "show", "top", "summary", "watch", "export", "verify", "rebuild", "zone", "quota",
    "quota list", "quota set", "quota check", "quota remove",
]  # fmt: skip
THEN = ("--from", DAY, "--to", DAY)


async def counted(usage: Usage, who: Identity, number: int) -> None:
    """Have yesterday's entries of three users counted."""
    await record(usage.pair, who, some_activities(number))
    await usage_of(usage.pair, who, number)


async def test_usage_is_shown_by_day_with_its_zeros_and_the_total(
    usage: Usage, ours: Identity
) -> None:
    await counted(usage, ours, 60)
    rows = await usage.json("show", "--to", DAY)
    assert (len(rows), rows[-1]["date"]) == (30, DAY)
    assert [row["count"] for row in rows] == [0] * 29 + [60]
    assert rows[-1]["counters"]["total_activities"] == 60
    done = await usage("show", *THEN, "--grain", "month")
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"{DAY} to {DAY}" in done.stdout
    assert "60" in done.stdout.splitlines()[-2]


async def test_pages_are_followed_to_the_last(usage: Usage, ours: Identity) -> None:
    await counted(usage, ours, 60)
    rows = await usage.json("show", "--to", DAY, "--by", "user", "--by", "action")
    assert len(rows) == 30 * len(USERS) * (len(COUNTERS) - 1) > 1_000
    assert sum(row["count"] for row in rows if row["counter"] != "lists_created") == 60


async def test_usage_of_one_user_is_of_that_user_alone(usage: Usage, ours: Identity) -> None:
    await counted(usage, ours, 60)
    (row,) = await usage.json("show", *THEN, "--by", "user", "--user", USERS[0])
    assert row["user_id"] == USERS[0]
    assert 0 < row["count"] < 60


async def test_users_and_actions_have_rows_and_bars_and_no_zeros(
    usage: Usage, ours: Identity
) -> None:
    await counted(usage, ours, 60)
    users = await usage("show", *THEN, "--by", "user", "--chart", "--counter", "total_logins")
    assert all(users.stdout.count(user) == 2 for user in USERS)
    assert "total logins in the range, most first" in users.stdout
    actions = await usage("show", "--to", DAY, "--by", "action", "--chart")
    assert "rows of zero left out" in actions.stdout
    assert "profiles_viewed ██" in actions.stdout
    assert "█" not in (await usage("show", *THEN)).stdout


async def test_hours_have_the_clock_of_the_tenants_zone(usage: Usage) -> None:
    assert await usage.json("zone") == [{"time_zone": "UTC"}]
    done = await usage("zone", "Europe/Berlin")
    assert done.stdout == "days begin at midnight of Europe/Berlin\n"
    day = ("--from", "2026-10-25", "--to", "2026-10-25")
    hours = await usage("show", *day, "--grain", "hour", "--chart")
    # The clock goes back: the day has 25 hours, two of them from two to three.
    assert len(await usage.json("show", *day, "--grain", "hour")) == 25
    assert hours.stdout.count("2026-10-25 02:00+02:00") == 2
    assert hours.stdout.count("2026-10-25 02:00+01:00") == 2


async def test_today_is_the_tenants_not_the_machines(usage: Usage) -> None:
    dates = []
    for zone in ("Pacific/Kiritimati", "Pacific/Niue"):  # 25 hours apart
        await usage("zone", zone)
        (row,) = await usage.json("show", "--from", "today")
        dates.append(row["date"])
    assert dates[1] < dates[0]


async def test_a_quota_is_set_listed_checked_and_removed(usage: Usage, ours: Identity) -> None:
    assert (await usage("quota", "list")).stdout == "no quotas\n"
    await counted(usage, ours, 60)
    (made,) = await usage.json(
        "quota", "set", "profiles_viewed", "--period", "month", "--soft", 800, "--hard", 1000
    )
    assert (made["counter"], made["period"]) == ("profiles_viewed", "month")
    assert await usage.json("quota", "list") == [made]
    assert "░" in (await usage("quota", "list")).stdout
    check = ("quota", "check", "profiles_viewed", "--amount")
    (answer,) = await usage.json(*check, 1)
    assert (answer["allowed"], answer["soft_limit_passed"]) == (True, False)
    soft = await usage(*check, 900)
    assert (soft.exit_code, "a soft limit would be passed" in soft.stdout) == (0, True)
    hard = await usage(*check, 1001)
    assert (hard.exit_code, hard.stdout.startswith("not allowed")) == (1, True)
    remove = ("quota", "remove", "profiles_viewed", "--period", "month")
    assert (await usage(*remove)).stdout == "removed the quota of profiles_viewed by month\n"
    gone = await usage(*remove)
    assert (gone.exit_code, gone.stderr.startswith("prospect: not found: ")) == (1, True)
    free = await usage(*check, 5_000)
    assert (free.exit_code, free.stdout) == (0, "allowed: there is no quota\n")


async def test_an_invalid_option_is_named_with_its_valid_values(usage: Usage) -> None:
    for arguments, says in (
        (("show", "--from", "tomorrow"), "--from tomorrow: must be 2026-11-24, today"),
        (("show", "--from", "2026-02-30"), "--from 2026-02-30: must be"),
        (("show", "--from", "9999999d"), "there is no day"),
        (("show", "--from", "2d", "--to", "3d"), "must not be before --from"),
        (("show", "--from", "2026-01-01", "--to", "2026-03-01", "--grain", "hour"), "end_date: "),
        (("show", "--counter", "logins"), "counter logins: must be one of total_logins"),
        (("show", "--by", "action", "--counter", "total_activities"), "--by action has no rows"),
        (("show", "--user", "nobody"), "user_ids[0]: must be a valid UUID"),
        (("top", "--counter", "logins"), "counter logins: must be one of total_logins"),
        (("export", "-", "--json"), "--json tells of a file"),
        (("verify", "--tenant", "nobody"), "tenant_id: must be a valid UUID"),
        (("verify",), "metrics:audit"),
        (("zone", "Mars/Olympus"), "time_zone: must be a zone of the IANA database"),
        (("quota", "set", "csv_exports", "--period", "day"), "give --soft, --hard or both"),
        (("quota", "set", "csv_exports", "--period", "day", "--soft", "3", "--hard", "2"),
         "soft_limit must not be above hard_limit"),
        (("quota", "check", "exports"), "counter exports: must be one of"),
    ):  # fmt: skip
        done = await usage(*arguments, *audits(usage, arguments))
        assert (done.exit_code, done.stdout) == (2, ""), arguments
        assert says in " ".join(done.stderr.split()).replace(" │ │ ", " "), arguments


def audits(usage: Usage, arguments: tuple[str, ...]) -> tuple[object, ...]:
    """Return the option with the auditor's token for the commands that need it."""
    return ("--token-file", usage.audit) if arguments[0] == "verify" and arguments[1:] else ()


def test_a_service_out_of_reach_is_one_clear_line(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    arguments = ["usage", "show", "--address", "127.0.0.1:1", "--token-file", str(token)]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("prospect: unavailable: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = CliRunner().invoke(app, ["usage", *command.split(), "--help"])
    assert (done.exit_code, "Example" in done.stdout) == (0, True)


async def test_another_tenant_sees_nothing_of_it(usage: Usage, theirs: Identity) -> None:
    await counted(usage, theirs, 20)
    assert [row["count"] for row in await usage.json("show", *THEN)] == [0]
    assert await usage.json("show", *THEN, "--by", "user", "--user", str(uuid.uuid4())) == []
