"""How usage looks: bars, sparklines, changes, and tables that fit their terminal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from prospect.metrics.v1 import metrics_service_pb2 as pb
from rich.console import Console, RenderableType

from chassis.clock import to_timestamp
from services.cli.usage import charts, quota, tables
from services.cli.usage.audit import Outcome, conclusion, findings_table
from services.cli.usage.options import COUNTERS

ANA, BEN = "0192f0c1-0000-7000-8000-00000000000a", "0192f0c1-0000-7000-8000-00000000000b"
MONDAY = datetime(2026, 11, 23, tzinfo=UTC)


def printed(what: RenderableType, width: int = 200) -> str:
    """Return what a terminal of a width shows, without its styles."""
    console = Console(width=width, force_terminal=False)
    with console.capture() as captured:
        console.print(what)
    return captured.get()


def period(day: int, user: str = "", *, days: int = 1, **counters: int) -> pb.PeriodUsage:
    """Return days of usage, from so many days after a Monday."""
    start = MONDAY + timedelta(days=day)
    total = counters.setdefault("total_activities", sum(counters.values()))
    return pb.PeriodUsage(
        start_time=to_timestamp(start),
        end_time=to_timestamp(start + timedelta(days=days)),
        date=f"{start:%Y-%m-%d}",
        user_id=user,
        count=total,
        counters=pb.Counters(**counters),
    )


def shape(grain: int = pb.USAGE_GRAIN_DAY, *, by_user: bool = False) -> charts.Shape:
    return charts.Shape(pb.UsageGrain.ValueType(grain), by_user, False, ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("value", "most", "length"),
    [(0, 100, 0), (1, 1_000, 1), (50, 100, 5), (300, 100, 10), (0, 0, 0)],
)
def test_a_bar_is_its_share_long_and_never_longer_than_its_room(
    value: int, most: int, length: int
) -> None:
    assert tables.bar(value, most, 10) == "█" * length


def test_a_sparkline_goes_from_nothing_to_the_greatest_value() -> None:
    assert tables.sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert tables.sparkline([0, 0]) == "▁▁"
    assert tables.sparkline([]) == ""


@pytest.mark.parametrize(
    ("now", "before", "told"),
    [(0, 0, "="), (5, 5, "="), (5, 0, "new"), (15, 10, "▲ 50.0%"), (5, 10, "▼ 50.0%"),
     (0, 10, "▼ 100.0%"), (30_000, 10, "▲ 299,900.0%")],
)  # fmt: skip
def test_a_change_has_an_arrow_and_percent(now: int, before: int, told: str) -> None:
    assert tables.change(now, before).plain == told


def test_a_chart_has_a_bar_a_period_zeros_too() -> None:
    rows = [period(0, total_logins=4), period(1), period(2, total_logins=2)]
    assert printed(charts.chart(rows, shape(), "total_logins")).splitlines()[:4] == [
        "total logins by day",
        f"2026-11-23 {'█' * 50} 4",
        "2026-11-24 0",
        f"2026-11-25 {'█' * 25} 2",
    ]


def test_a_chart_of_users_has_the_most_first_over_all_periods() -> None:
    rows = [period(0, ANA, total_logins=1), period(0, BEN, notes_added=2)]
    rows += [period(1, ANA, notes_added=1), period(1, BEN, total_logins=1)]
    chart = printed(charts.chart(rows, shape(by_user=True))).splitlines()
    assert [line.split()[0] for line in chart[1:3]] == [BEN, ANA]
    assert [line.split()[-1] for line in chart[1:3]] == ["3", "2"]


def test_a_chart_of_many_users_ends_with_a_count_of_the_rest() -> None:
    rows = [period(0, f"user {number}", total_logins=number + 1) for number in range(50)]
    assert "… and 10 more" in printed(charts.chart(rows, shape(by_user=True)))


def test_a_chart_fits_its_room() -> None:
    rows = [period(0, ANA, total_logins=123_456)]
    chart = printed(charts.chart(rows, shape(by_user=True), room=70), 70)
    assert chart.splitlines()[1] == f"{ANA} {'█' * 25} 123,456"


def test_a_week_is_named_by_its_first_and_its_last_day() -> None:
    table = printed(charts.table([period(0, days=7)], shape(pb.USAGE_GRAIN_WEEK)))
    assert "2026-11-23 to 2026-11-29" in table


def test_counters_of_zero_have_no_column() -> None:
    table = printed(charts.table([period(0, total_logins=1), period(1)], shape()))
    assert "logins" in table
    assert "searches" not in table


def test_in_a_narrow_terminal_the_smallest_counters_are_left_out() -> None:
    counters = {name: place for place, name in enumerate(COUNTERS, 1)}
    row = pb.PeriodUsage(date="2026-11-23", counters=pb.Counters(**counters))
    table = printed(charts.table([row], shape(), room=60), 60)
    assert f"{len(COUNTERS) - 4} counters left out: a wider terminal" in table
    assert "lookalikes" in table
    assert "logins" not in table
    assert max(map(len, table.splitlines())) <= 60


def test_a_summary_has_both_ranges_and_who_was_active() -> None:
    active = [pb.ActiveUsers(date="2026-11-23", active_users=each) for each in (0, 7, 14)]
    now = pb.UsageSummary(
        start_date="2026-11-23",
        end_date="2026-11-25",
        totals=pb.Counters(total_logins=30, total_activities=30),
        active_users=14,
        daily_active_users=active,
    )
    before = pb.UsageSummary(start_date="2026-11-20", end_date="2026-11-22", active_users=10)
    said = pb.GetTenantSummaryResponse(current=now, previous=before, time_zone="Europe/Berlin")
    told = printed(tables.summary(said))
    assert "2026-11-23 to 2026-11-25, before: 2026-11-20 to 2026-11-22; days of Europe" in told
    lines = {line.split("│")[1].strip(): line for line in told.splitlines() if "│" in line}
    assert "new" in lines["total logins"]
    assert "▲ 40.0%" in lines["active users"]
    assert [cell.strip() for cell in lines["by day"].split("│")[2:6]] == ["▁▅█", "0", "14", "14"]


def test_the_top_users_have_ranks_and_bars() -> None:
    users = [pb.TopUser(user_id=each, rank=rank, count=20 // rank)
             for rank, each in enumerate((ANA, BEN), 1)]  # fmt: skip
    lines = printed(tables.top(users, "csv_exports")).splitlines()
    assert "csv exports" in lines[1]
    assert [line.count("█") for line in lines[3:5]] == [10, 5]


def test_without_a_terminal_the_day_so_far_is_one_line() -> None:
    said = pb.WatchUsageResponse(
        date="2026-11-23",
        totals=pb.Counters(searches_executed=1_200, total_activities=1_200),
        active_users=3,
        read_at=to_timestamp(MONDAY + timedelta(hours=9)),
    )
    assert tables.today_line(said) == (
        "09:00:00 UTC, 2026-11-23: 1,200 activities of 3 users, 1,200 searches executed"
    )
    assert f"searches executed {'█' * 50} 1,200" in printed(tables.today(said))


def test_a_quota_has_a_bar_of_its_hard_limit_or_of_its_soft_one() -> None:
    hard = pb.Quota(counter=pb.COUNTER_CSV_EXPORTS, soft_limit=8, hard_limit=10, used=15)
    soft = pb.Quota(counter=pb.COUNTER_CSV_EXPORTS, soft_limit=10, used=5)
    lines = printed(quota.table([hard, soft])).splitlines()[3:5]
    assert [(line.count("█"), line.count("░")) for line in lines] == [(10, 0), (5, 5)]
    assert "150%" in lines[0]


def test_a_verdict_says_which_limit_is_in_the_way() -> None:
    soft = pb.CheckQuotaResponse(allowed=True, soft_limit_passed=True)
    assert quota.verdict(soft) == "allowed; a soft limit would be passed"


def test_control_characters_in_data_do_not_reach_the_terminal() -> None:
    found = pb.UsageFinding(date="2026-11-23", reason="[bold]\x1b[31m", tenant_id=ANA)
    table = printed(findings_table([found]))
    assert "[bold]" in table
    assert "\x1b" not in table
    assert "\x1b" not in printed(charts.chart([period(0, "\x1b[31m", total_logins=1)],
                                                     shape(by_user=True)))  # fmt: skip


def test_a_verification_with_many_findings_says_how_many_are_left_out() -> None:
    outcome = Outcome()
    day = pb.VerifyUsageResponse(date="2026-11-23", findings=[pb.UsageFinding()] * 600)
    outcome.take(day)
    outcome.take(day)
    outcome.take(pb.VerifyUsageResponse(date="2026-11-24", expired=True))
    assert not outcome.is_proven
    assert conclusion(outcome) == [
        "… and 200 more; --json has all",
        "not compared, as the log does not reach back: 2026-11-24",
        "NOT equal to the log: 1,200 findings (2 days and 0 activities compared)",
    ]
