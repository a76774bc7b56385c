"""Usage by period on screen: a table of its rows, and a bar chart of one counter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from prospect.metrics.v1 import metrics_service_pb2 as pb
from rich.table import Table
from rich.text import Text

from chassis.clock import to_datetime
from services.cli.terminal.message_json import enum_name
from services.cli.terminal.screen import shown
from services.cli.usage.options import TOTAL
from services.cli.usage.tables import (
    WIDE,
    Bar,
    bars,
    counted_table,
    counter_name,
    heading,
    used_counters,
    values,
    words,
)

MAX_BARS = 40
BORDER = 3


@dataclass(frozen=True, slots=True)
class Shape:
    """How usage is grouped: by which period, by user, by action, and in which time zone."""

    grain: pb.UsageGrain.ValueType
    by_user: bool
    by_action: bool
    zone: ZoneInfo

    def period(self, row: pb.PeriodUsage) -> str:
        """Return a period in the tenant's time zone."""
        if self.grain == pb.USAGE_GRAIN_HOUR:
            # With its offset, as there are two of one hour where the clock goes back.
            return to_datetime(row.start_time).astimezone(self.zone).isoformat(" ", "minutes")
        if self.grain == pb.USAGE_GRAIN_DAY:
            return row.date
        last = to_datetime(row.end_time).astimezone(self.zone) - timedelta(days=1)
        return f"{row.date} to {last:%Y-%m-%d}"

    @property
    def grain_name(self) -> str:
        """Return the grain as people write it."""
        return enum_name(pb.UsageGrain.DESCRIPTOR, self.grain)


def table(rows: Sequence[pb.PeriodUsage], shape: Shape, room: int = WIDE) -> Table:
    """Return a row a period; grouped by user or action, rows of zero are left out."""
    told = [row for row in rows if row.count or not (shape.by_user or shape.by_action)]
    made = _by_action(told, shape) if shape.by_action else _by_counter(told, shape, room)
    if len(told) < len(rows):
        made.caption = f"{len(rows) - len(told):,} rows of zero left out; --json has them"
    return made


def chart(
    rows: Sequence[pb.PeriodUsage], shape: Shape, counter: str = "", room: int = WIDE
) -> Text:
    """Return a bar a user and action where usage is grouped by them, else a bar a period."""
    by_action = shape.by_action and not counter
    by_period = not (shape.by_user or by_action)
    labels: dict[tuple[int, str, int], str] = {}
    sums: Counter[tuple[int, str, int]] = Counter()
    for row in rows:
        # The key is the start of a period: when a clock goes back, two hours have one name.
        start = row.start_time.seconds if by_period else 0
        key = start, row.user_id, row.counter if by_action else 0
        parts = (row.user_id, counter_name(key[2]))
        labels[key] = shape.period(row) if by_period else " ".join(each for each in parts if each)
        sums[key] += _value(row, counter)
    made: list[Bar] = [(label, sums[key], "") for key, label in labels.items()]
    what = words(counter or ("actions" if by_action else TOTAL))
    if by_period:
        return bars(f"{what} by {shape.grain_name}", made, room)
    return _greatest(f"{what} in the range, most first", made, room)


def _by_action(rows: Sequence[pb.PeriodUsage], shape: Shape) -> Table:
    made = Table()
    for name in [*_headings(shape), "action"]:
        made.add_column(name, overflow="fold")  # an id that is cut off is of no use
    made.add_column("count", justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*_keys(row, shape), counter_name(row.counter), f"{row.count:,}")
    return made


def _by_counter(rows: Sequence[pb.PeriodUsage], shape: Shape, room: int) -> Table:
    """Return a column a counter; where there is no room, the smallest counters are left out."""
    keys = [len(str(each)) + BORDER for row in rows[:1] for each in _keys(row, shape)]
    every = used_counters(row.counters for row in rows)
    counters = _fitting(rows, every, room - sum(keys) - 1)
    made = counted_table(_headings(shape), counters)
    for row in rows:
        made.add_row(*_keys(row, shape), *values(row.counters, counters))
    if len(counters) < len(every):
        left_out = len(every) - len(counters)
        made.title = f"{left_out} counters left out: a wider terminal or --json has them"
    return made


def _fitting(rows: Sequence[pb.PeriodUsage], counters: list[str], room: int) -> list[str]:
    sums = {name: sum(getattr(row.counters, name) for row in rows) for name in counters}
    widths = {name: _width(rows, name) for name in counters}
    while sum(widths[name] for name in counters) > room and counters != [TOTAL]:
        least = min((name for name in counters if name != TOTAL), key=lambda name: sums[name])
        counters = [name for name in counters if name != least]
    return counters


def _width(rows: Sequence[pb.PeriodUsage], counter: str) -> int:
    longest = max((len(f"{getattr(row.counters, counter):,}") for row in rows), default=0)
    return max(longest, len(heading(counter))) + BORDER


def _headings(shape: Shape) -> list[str]:
    return [shape.grain_name, "user"] if shape.by_user else [shape.grain_name]


def _keys(row: pb.PeriodUsage, shape: Shape) -> list[str | Text]:
    period = shape.period(row)
    return [period, shown(row.user_id)] if shape.by_user else [period]


def _value(row: pb.PeriodUsage, counter: str) -> int:
    if row.HasField("counters"):
        return int(getattr(row.counters, counter or TOTAL))
    return row.count if counter in ("", counter_name(row.counter)) else 0


def _greatest(title: str, rows: list[Bar], room: int) -> Text:
    """Return the longest bars first, and no more than MAX_BARS."""
    greatest = sorted((row for row in rows if row[1]), key=lambda row: -row[1])
    text = bars(title, greatest[:MAX_BARS], room)
    if len(greatest) > MAX_BARS:
        text.append(f"… and {len(greatest) - MAX_BARS:,} more\n")
    return text
