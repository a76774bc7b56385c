"""The counters: one row each."""

from __future__ import annotations

from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.metrics.v1 import metrics_service_pb2 as pb

# The actions as SQL and docs write them, such as `login`.
ACTION_NAMES = {
    number: name.removeprefix("ACTION_TYPE_").lower()
    for name, number in activity_pb.ActionType.items()
}


COUNTERS = {
    number: name.removeprefix("COUNTER_").lower() for name, number in pb.Counter.items() if number
}


COUNTER_NUMBERS = {name: number for number, name in COUNTERS.items()}


PERIODS = {pb.QUOTA_PERIOD_DAY: "day", pb.QUOTA_PERIOD_MONTH: "month"}


PERIOD_NUMBERS = {name: number for number, name in PERIODS.items()}


NEW_LIST = 100
"""The action code of an add_to_list that made a list, beside the numbers of the contract."""


ACTION_COUNTERS = {
    "login": "total_logins",
    "search_executed": "searches_executed",
    "profile_viewed": "profiles_viewed",
    "profile_enriched": "profiles_enriched",
    "csv_exported": "csv_exports",
    "add_to_list": "list_additions",
    "remove_from_list": "list_removals",
    "status_updated": "statuses_updated",
    "note_added": "notes_added",
    "persona_created": "personas_created",
    "lookalike_search": "lookalike_searches",
}
