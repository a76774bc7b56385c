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
from services.cli.messages import enum_name
from services.cli.show import shown
from services.cli.usage_options import TOTAL
from services.cli.usage_show import (
    Bar,
    bars,
    counted_table,
    counter_name,
    used_counters,
    values,
    words,
)

MOST_BARS = 40


@dataclass(frozen=True, slots=True)
class Shape:
    """How usage is cut and told apart, and the zone whose days it has."""

    grain: pb.UsageGrain.ValueType
    by_user: bool
    by_action: bool
    zone: ZoneInfo

    def period(self, row: pb.PeriodUsage) -> str:
        """Return a period as its reader's clock and calendar have it."""
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


def table(rows: Sequence[pb.PeriodUsage], shape: Shape) -> Table:
    """A row a period; where it is told apart further, those of zero are left out."""
    told = [row for row in rows if row.count or not (shape.by_user or shape.by_action)]
    keys = [shape.grain_name]
    if shape.by_user:
        keys.append("user")
    if shape.by_action:
        made = counted_table([*keys, "action"], [])
        made.add_column("count", justify="right")
        for row in told:
            made.add_row(*_keys(row, shape), counter_name(row.counter), f"{row.count:,}")
    else:
        counters = used_counters(row.counters for row in told)
        made = counted_table(keys, counters)
        for row in told:
            made.add_row(*_keys(row, shape), *values(row.counters, counters))
    if len(told) < len(rows):
        made.caption = f"{len(rows) - len(told):,} rows of zero left out; --json has them"
    return made


def chart(rows: Sequence[pb.PeriodUsage], shape: Shape, counter: str) -> Text:
    """A bar a user and action, where these are told apart, else a bar a period."""
    by_action = shape.by_action and not counter
    by_period = not (shape.by_user or by_action)
    labels: dict[tuple[int, str, int], str] = {}
    sums: Counter[tuple[int, str, int]] = Counter()
    for row in rows:
        # Periods are told apart by where they begin: two hours may have one name.
        start = row.start_time.seconds if by_period else 0
        key = start, row.user_id, row.counter if by_action else 0
        parts = (row.user_id, counter_name(key[2]))
        labels[key] = shape.period(row) if by_period else " ".join(each for each in parts if each)
        sums[key] += _value(row, counter)
    made: list[Bar] = [(label, sums[key], "") for key, label in labels.items()]
    return _periods(made, shape, counter) if by_period else _greatest(made, counter, by_action)


def _keys(row: pb.PeriodUsage, shape: Shape) -> list[str | Text]:
    period = shape.period(row)
    return [period, shown(row.user_id)] if shape.by_user else [period]


def _value(row: pb.PeriodUsage, counter: str) -> int:
    if row.HasField("counters"):
        return int(getattr(row.counters, counter or TOTAL))
    return row.count if counter in ("", counter_name(row.counter)) else 0


def _periods(rows: list[Bar], shape: Shape, counter: str) -> Text:
    return bars(f"{words(counter or TOTAL)} by {shape.grain_name}", rows)


def _greatest(rows: list[Bar], counter: str, by_action: bool) -> Text:
    """The longest bars first; of many users the end is left out."""
    greatest = sorted((row for row in rows if row[1]), key=lambda row: -row[1])
    what = "activities" if by_action else words(counter or TOTAL)
    text = bars(f"{what} in the range, most first", greatest[:MOST_BARS])
    if len(greatest) > MOST_BARS:
        text.append(f"… and {len(greatest) - MOST_BARS:,} more\n")
    return text
