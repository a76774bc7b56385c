"""The table of counters: which number of the contract, which heading, and what each counts.

Everything that lists counters follows from it: the maps below, the columns in queries.sql (written
by `make sql`), and the command's headings.
"""

from __future__ import annotations

from typing import NamedTuple

from prospect.activity.v1 import activity_service_pb2 as activity
from prospect.metrics.v1 import metrics_service_pb2 as pb

NEW_LIST = 100
"""The action code of an add_to_list that made a list, beside the numbers of the contract."""


class Counter(NamedTuple):
    """One row: the counter, its heading on screen, and the action codes that it counts."""

    number: pb.Counter.ValueType
    heading: str
    codes: tuple[int, ...] = ()
    """Empty for the counter of everything."""

    @property
    def column(self) -> str:
        """Return its name in SQL, messages and options, such as `total_logins`."""
        return pb.Counter.Name(self.number).removeprefix("COUNTER_").lower()


# fmt: off
TABLE = (
    Counter(pb.COUNTER_TOTAL_LOGINS, "logins", (activity.ACTION_TYPE_LOGIN,)),
    Counter(pb.COUNTER_SEARCHES_EXECUTED, "searches", (activity.ACTION_TYPE_SEARCH_EXECUTED,)),
    Counter(pb.COUNTER_PROFILES_VIEWED, "views", (activity.ACTION_TYPE_PROFILE_VIEWED,)),
    Counter(pb.COUNTER_PROFILES_ENRICHED, "enriched", (activity.ACTION_TYPE_PROFILE_ENRICHED,)),
    Counter(pb.COUNTER_CSV_EXPORTS, "exports", (activity.ACTION_TYPE_CSV_EXPORTED,)),
    Counter(pb.COUNTER_LISTS_CREATED, "new lists", (NEW_LIST,)),
    Counter(pb.COUNTER_LIST_ADDITIONS, "additions", (activity.ACTION_TYPE_ADD_TO_LIST, NEW_LIST)),
    Counter(pb.COUNTER_LIST_REMOVALS, "removals", (activity.ACTION_TYPE_REMOVE_FROM_LIST,)),
    Counter(pb.COUNTER_STATUSES_UPDATED, "statuses", (activity.ACTION_TYPE_STATUS_UPDATED,)),
    Counter(pb.COUNTER_NOTES_ADDED, "notes", (activity.ACTION_TYPE_NOTE_ADDED,)),
    Counter(pb.COUNTER_PERSONAS_CREATED, "personas", (activity.ACTION_TYPE_PERSONA_CREATED,)),
    Counter(pb.COUNTER_LOOKALIKE_SEARCHES, "lookalikes", (activity.ACTION_TYPE_LOOKALIKE_SEARCH,)),
    Counter(pb.COUNTER_TOTAL_ACTIVITIES, "all"),
)
# fmt: on

COUNTERS = {row.number: row.column for row in TABLE}
COUNTER_NUMBERS = {row.column: row.number for row in TABLE}
HEADINGS = {row.column: row.heading for row in TABLE}

ACTION_COUNTERS: dict[int, str] = {
    row.codes[0]: row.column for row in TABLE if row.codes and row.codes[0] != NEW_LIST
}
"""The counter of each action that this version knows, by the action's number."""

ACTION_NAMES: dict[int, str] = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in activity.ActionType.items()
    if number in ACTION_COUNTERS
}
"""The same actions as SQL and docs write them, such as `login`."""

PERIODS = {pb.QUOTA_PERIOD_DAY: "day", pb.QUOTA_PERIOD_MONTH: "month"}
PERIOD_NUMBERS = {name: number for number, name in PERIODS.items()}
