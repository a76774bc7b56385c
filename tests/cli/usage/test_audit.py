"""`prospect usage verify` and `rebuild`: exit codes, what is found, and how it is repaired."""

from __future__ import annotations

from datetime import date

from prospect.metrics.v1 import metrics_service_pb2 as pb
from typer.testing import Result

from services.cli.usage.audit import Outcome, conclusion, spans
from tests.cli.usage.command import Usage
from tests.cli.usage.test_commands import THEN, counted
from tests.harness import Database, Identity
from tests.metrics.calls import DAY, USERS

DAMAGE = """
    update metrics.usage_metrics_quarter_hours
    set total_logins = total_logins + 5, total_activities = total_activities + 5
    where ctid = (select ctid from metrics.usage_metrics_quarter_hours
                  where user_id = $1 limit 1)
"""


async def verify(usage: Usage, *arguments: object) -> Result:
    return await usage("verify", *arguments, "--token-file", usage.audit)


async def rebuild(usage: Usage, who: Identity, *more: str, stdin: str | None = None) -> Result:
    options = ("--tenant", who.tenant_id, *THEN, "--token-file", usage.audit)
    return await usage("rebuild", *options, *more, stdin=stdin)


async def test_what_is_equal_to_the_log_is_exit_code_0(usage: Usage, ours: Identity) -> None:
    await counted(usage, ours, 40)
    done = await verify(usage, *THEN, "--thorough", "--tenant", ours.tenant_id)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == "proven equal to the log (1 days and 40 activities compared)\n"


async def test_what_differs_is_exit_code_1_and_a_rebuild_repairs_it(
    usage: Usage, ours: Identity, database: Database
) -> None:
    await counted(usage, ours, 40)
    await database.fetch(DAMAGE, USERS[0])
    done = await verify(usage, *THEN, "--thorough")
    assert done.exit_code == 1
    for told in (str(ours.tenant_id), USERS[0], DAY, "excess", "the roll-up has 5 too many"):
        assert told in done.stdout
    assert "NOT equal to the log: " in done.stdout
    (day,) = await usage.json("verify", *THEN, "--token-file", usage.audit, code=1)
    excess = next(each for each in day["findings"] if each["kind"] == "excess")
    assert excess["rollup_count"] == excess["log_count"] + 5
    assert (await rebuild(usage, ours, "--yes")).stdout == (
        "1 days counted anew, 1 of them changed; 40 activities\n"
    )
    assert (await verify(usage, *THEN, "--thorough")).exit_code == 0


async def test_days_that_have_expired_are_named_and_not_proven(
    usage: Usage, ours: Identity
) -> None:
    done = await verify(usage, "--from", "2020-01-30", "--to", "2020-02-02")
    assert (done.exit_code, done.stdout.splitlines()) == (1, [
        "not compared, as the log does not reach back: 2020-01-30 to 2020-02-02",
        "nothing is proven (0 days and 0 activities compared)",
    ])  # fmt: skip
    days = await usage.json(
        "rebuild", "--tenant", ours.tenant_id, "--from", "2020-01-01", "--to", "2020-01-02",
        "--yes", "--token-file", usage.audit,
    )  # fmt: skip
    assert (days[0]["rebuilt_days"], days[0]["expired_days"]) == (0, 2)


async def test_a_rebuild_asks_first_and_takes_no_for_an_answer(
    usage: Usage, ours: Identity
) -> None:
    done = await rebuild(usage, ours, stdin="n\n")
    assert (done.exit_code, "counted anew" in done.stdout) == (1, False)
    assert f"of tenant {ours.tenant_id} anew from the log?" in done.stderr
    assert (await rebuild(usage, ours, stdin="y\n")).exit_code == 0


def test_consecutive_days_are_named_by_the_first_and_the_last() -> None:
    days = [date(2026, 2, 27), date(2026, 2, 28), date(2026, 3, 1), date(2026, 3, 4)]
    assert spans(days) == "2026-02-27 to 2026-03-01, 2026-03-04"


def test_a_day_sent_in_several_messages_counts_as_one() -> None:
    outcome = Outcome()
    finding = pb.UsageFinding(kind=pb.USAGE_FINDING_KIND_EXCESS)
    outcome.take(pb.VerifyUsageResponse(date=DAY, findings=[finding] * 1_000, more=True))
    outcome.take(pb.VerifyUsageResponse(date=DAY, findings=[finding] * 5, activity_count=7))
    assert conclusion(outcome) == [
        "… and 5 more; --json has all",
        "NOT equal to the log: 1,005 findings (1 days and 7 activities compared)",
    ]
