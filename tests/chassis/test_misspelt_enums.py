"""A name in JSON that is no value of its enum is found, wherever in the message it stands."""

from __future__ import annotations

import pytest
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2 as activity_events
from prospect.enrichment.v1 import events_pb2 as enrichment_events

from chassis.validation import misspelt_enum_of

BATCH = activity_pb.RecordActivitiesRequest.DESCRIPTOR
RECORDED = activity_events.ActivitiesRecorded.DESCRIPTOR
REQUESTED = enrichment_events.EnrichmentRequested.DESCRIPTOR


@pytest.mark.parametrize(
    ("kind", "body", "field"),
    [
        (REQUESTED, {"priority": "HIGH"}, "priority"),
        (RECORDED, {"action_types": ["ACTION_TYPE_LOGIN", "LOGIN"]}, "action_types[1]"),
        (RECORDED, {"actionTypes": [1, "LOGIN"]}, "action_types[1]"),
        (
            BATCH,
            {"activities": [{"action_type": 1}, {"actionType": "X"}]},
            "activities[1].action_type",
        ),
    ],
)
def test_the_field_is_named(kind: object, body: object, field: str) -> None:
    found = misspelt_enum_of(kind, body)
    assert found is not None
    assert (found.field, found.rule) == (field, "enum.defined_only")


@pytest.mark.parametrize("value", ["PRIORITY_HIGH", 3, "3", 99, "99", -1, None], ids=repr)
def test_names_and_numbers_are_none(value: object) -> None:
    assert misspelt_enum_of(REQUESTED, {"priority": value, "unknown": {"priority": "X"}}) is None


@pytest.mark.parametrize("body", [None, 1, "text", [], {"activities": None}, {"activities": 1}])
def test_what_is_no_message_is_left_to_the_parser(body: object) -> None:
    assert misspelt_enum_of(BATCH, body) is None
