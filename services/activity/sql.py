"""The activity service's statements, and what they are planned by."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from chassis.database import Plans, Queries

SQL = Queries(Path(__file__).parent / "queries.sql")


SOURCE = "prospect/activity"


RELAY_ROLE = "activity_relay"


FIRST = datetime.fromisoformat("0001-01-02T00:00:00+00:00")


LAST = datetime.fromisoformat("9999-12-30T00:00:00+00:00")


# What reads an index in order has one good plan, which is made once; what depends on how much there
# is of something is planned for its values.
IN_ORDER: Plans = "force_generic_plan"


BY_VALUE: Plans = "force_custom_plan"
