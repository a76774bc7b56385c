"""The contracts' rules, applied: each violation names the field as a caller would write it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.enrichment.v1 import events_pb2

from chassis.errors import InvalidArgument
from chassis.validation import parse_time, violations_of


def a_request(**fields: str) -> events_pb2.EnrichmentRequested:
    """Return a valid request, changed by `fields`."""
    ids = {name: str(uuid.uuid4()) for name in ("prospect_id", "tenant_id", "user_id")}
    values = ids | {"name": "Ada Lovelace", "company": "Engines"} | fields
    return events_pb2.EnrichmentRequested(**values)  # type: ignore[arg-type]


def test_a_message_that_holds_has_no_violations() -> None:
    assert violations_of(a_request()) == []


def test_a_violation_names_the_field_the_rule_and_the_rule_in_words() -> None:
    (violation,) = violations_of(a_request(tenant_id="no"))
    assert violation.field == "tenant_id"
    assert violation.rule == "string.uuid"
    assert violation.message == "must be a valid UUID"


def test_a_field_of_a_list_is_named_with_its_index() -> None:
    good = activity_pb.NewActivity(
        user_id=str(uuid.uuid4()), action_type=activity_pb.ACTION_TYPE_LOGIN
    )
    bad = activity_pb.NewActivity(user_id="no", action_type=activity_pb.ACTION_TYPE_LOGIN)
    found = violations_of(activity_pb.RecordActivitiesRequest(activities=[good, bad]))
    assert "activities[1].user_id" in [each.field for each in found]


def test_a_time_of_a_request_is_a_moment_in_utc() -> None:
    moment = Timestamp(seconds=1, nanos=5_000)
    assert parse_time("start_time", moment) == datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC)


@pytest.mark.parametrize("moment", [Timestamp(seconds=10**15), Timestamp(nanos=-1)])
def test_a_time_that_the_calendar_does_not_have_is_refused(moment: Timestamp) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_time("start_time", moment)
    (violation,) = refused.value.violations
    assert (violation.field, violation.rule) == ("start_time", "timestamp")
    assert violation.message == "must be a valid time"
