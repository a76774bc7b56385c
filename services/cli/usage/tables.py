"""Usage as tables, bars and sparklines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prospect.metrics.v1 import metrics_service_pb2 as pb
from rich.console import Group
from rich.table import Table
from rich.text import Text

from chassis.clock import to_datetime
from services.cli.terminal.message_json import enum_name
from services.cli.terminal.screen import shown
from services.cli.usage.options import COUNTERS, TOTAL
from services.metrics.counters import HEADINGS

BAR_WIDTH = 50
MIN_BAR = 10
CELL_BAR = 10
MIN_INDENT = 8
WIDE = 200
SPARKS = "▁▂▃▄▅▆▇█"
Counted = pb.Counters | pb.DailyUsage
Bar = tuple[str, int, str]
"""A label, a value, and a note."""


def counter_name(number: int) -> str:
    """Return the name of a counter."""
    return enum_name(pb.Counter.DESCRIPTOR, number)


def words(name: str) -> str:
    """Return a counter's name as it stands in a sentence."""
    return name.replace("_", " ")


def heading(name: str) -> str:
    """Return a counter's name as it stands over a column."""
    return HEADINGS.get(name, words(name))


def used_counters(rows: Iterable[Counted]) -> list[str]:
    """Return the counters that are not all zero, and the total: nobody reads 13 columns."""
    listed = list(rows)
    return [name for name in COUNTERS if name == TOTAL or any(getattr(r, name) for r in listed)]


def bar(value: int, most: int, width: int = BAR_WIDTH) -> str:
    """Return a bar as long as a value's share; any value above zero is visible."""
    return "█" * max(1, round(min(value, most) / most * width)) if value and most else ""


def bars(title: str, rows: Sequence[Bar], room: int = WIDE) -> Text:
    """Return a bar a row; the greatest value fills the chart."""
    most = max((value for _, value, _ in rows), default=0)
    widest = max([MIN_INDENT, *(len(label) for label, _, _ in rows)])
    ends = max((len(f" {value:,}{note}") for _, value, note in rows), default=0)
    width = max(MIN_BAR, min(BAR_WIDTH, room - widest - 1 - ends))
    text = Text().append(f"{title}\n", style="bold")
    for label, value, note in rows:
        length = bar(value, most, width)
        text.append_text(shown(f"{label:>{widest}} ")).append(length, style="green")
        text.append(f"{' ' if length else ''}{value:,}{note}\n")
    return text


def sparkline(values: Sequence[int]) -> str:
    """Return values as a line of blocks, scaled to the greatest."""
    most = max(values, default=0) or 1
    return "".join(SPARKS[round(value / most * (len(SPARKS) - 1))] for value in values)


def change(now: int, before: int) -> Text:
    """Return how a value differs from the one before: an arrow and percent."""
    if now == before:
        return Text("=", style="dim")
    style = "green" if now > before else "red"
    if not before:
        return Text("new", style=style)
    arrow = "▲" if now > before else "▼"
    return Text(f"{arrow} {abs(now - before) / before:,.1%}", style=style)


def counted_table(keys: Sequence[str], counters: Iterable[str]) -> Table:
    """Return a table for counters, still without rows."""
    table = Table(title_justify="left")
    for key in keys:
        table.add_column(key, no_wrap=True)
    for name in counters:
        table.add_column(heading(name), justify="right")
    return table


def values(row: Counted, counters: Iterable[str]) -> list[str]:
    """Return the values of a row's counters as text."""
    return [f"{getattr(row, name):,}" for name in counters]


def top(users: Sequence[pb.TopUser], counter: str) -> Table:
    """Return the users by rank."""
    table = Table()
    table.add_column("", justify="right")
    table.add_column("user", no_wrap=True)
    table.add_column(words(counter), justify="right")
    table.add_column("")
    most = max((each.count for each in users), default=0)
    for each in users:
        length = Text(bar(each.count, most, CELL_BAR), style="green")
        table.add_row(f"{each.rank}", shown(each.user_id), f"{each.count:,}", length)
    return table


def summary(said: pb.GetTenantSummaryResponse) -> Group:
    """Return totals beside those of the range before, and how many users were active."""
    now, before = said.current, said.previous
    title = shown(f"{_range(now)}, before: {_range(before)}; days of {said.time_zone}")
    table = Table("")
    for heading in ("now", "before", "change"):
        table.add_column(heading, justify="right")
    rows = [
        (words(name), getattr(now.totals, name), getattr(before.totals, name))
        for name in used_counters([now.totals, before.totals])
    ]
    for label, newer, older in [*rows, ("active users", now.active_users, before.active_users)]:
        table.add_row(label, f"{newer:,}", f"{older:,}", change(newer, older))
    return Group(title, table, _active(now))


def _active(said: pb.UsageSummary) -> Table:
    table = Table("active users", "")
    for heading in ("least", "most", "last"):
        table.add_column(heading, justify="right")
    for label, entries in (
        ("by day", said.daily_active_users),
        ("by week", said.weekly_active_users),
        ("by month", said.monthly_active_users),
    ):
        users = [each.active_users for each in entries]
        if users:
            numbers = (f"{each:,}" for each in (min(users), max(users), users[-1]))
            table.add_row(label, Text(sparkline(users), style="green"), *numbers)
    return table


def today(said: pb.WatchUsageResponse) -> Group:
    """Return the tenant's day so far, as bars."""
    counters = [name for name in used_counters([said.totals]) if name != TOTAL]
    rows = [(words(name), getattr(said.totals, name), "") for name in counters]
    return Group(
        Text(f"{said.date}: {_so_far(said)}", style="bold"),
        bars(f"read at {to_datetime(said.read_at):%H:%M:%S} UTC", rows),
    )


def today_line(said: pb.WatchUsageResponse) -> str:
    """Return the tenant's day so far, on one line."""
    counters = [name for name in used_counters([said.totals]) if name != TOTAL]
    counts = [f"{getattr(said.totals, name):,} {words(name)}" for name in counters]
    read_at = f"{to_datetime(said.read_at):%H:%M:%S} UTC"
    return f"{read_at}, {said.date}: " + ", ".join([_so_far(said), *counts])


def _so_far(said: pb.WatchUsageResponse) -> str:
    return f"{said.totals.total_activities:,} activities of {said.active_users:,} users"


def _range(said: pb.UsageSummary) -> str:
    return f"{said.start_date} to {said.end_date}"
