"""The roll-up counted again from the log, past both services, and what differs from theirs."""

from __future__ import annotations

from typing import Any

from devstack.stack import Stack
from services.metrics.counters import ACTION_COUNTERS, ACTION_NAMES
from tests.chaos.killing import fetch

ACTIONS = {ACTION_NAMES[number]: column for number, column in ACTION_COUNTERS.items()}
COUNTERS = [*ACTIONS.values(), "lists_created", "total_activities", "digest"]
RECOUNTED = ", ".join(
    [f"count(*) filter (where action_type = '{action}')" for action in ACTIONS]
    + [
        "count(*) filter (where action_type = 'add_to_list' and metadata->'new_list' = 'true')",
        "count(*)",
        "sum(hashtextextended(activity_id::text || action_type, 0))",
    ]
)
SUMS = ", ".join(f"sum({name})" for name in COUNTERS)
ZONED = "left join metrics.settings s using (tenant_id)"
ZONE = "coalesce(s.time_zone, 'UTC')"

UTC_DAYS = f"""
select tenant_id, (created_at at time zone 'UTC')::date as date, user_id, {RECOUNTED}
from activity.activity_log group by 1, 2, 3
""", f"""
select tenant_id, (quarter_hour at time zone 'UTC')::date, user_id, {SUMS}
from metrics.usage_metrics_quarter_hours group by 1, 2, 3
"""  # fmt: skip
LOCAL_DAYS = f"""
select tenant_id, (created_at at time zone {ZONE})::date as date, user_id, {RECOUNTED}
from activity.activity_log {ZONED} group by 1, 2, 3
""", f"""
select tenant_id, date, user_id, {", ".join(COUNTERS)} from metrics.usage_metrics_daily
"""  # fmt: skip


async def differing(stack: Stack, sides: tuple[str, str]) -> list[Any]:
    """Return the rows that one side has and the other has not, or not with the same counters."""
    log, rollup = sides
    return await fetch(
        stack,
        f"with log as ({log}), rollup as ({rollup})"
        " select 'log' as side, * from (table log except all table rollup) as missing"
        " union all"
        " select 'roll-up', * from (table rollup except all table log) as excess"
        " order by 2, 3, 4, 1",
    )
