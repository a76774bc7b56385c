"""A list that is too long is found in the bytes, before they are decoded."""

from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.activity.v1 import events_pb2
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import policy_pb2

from chassis.admission.long_lists import LARGE, long_list_of

ENTRIES = activity_pb.RecordActivitiesRequest.DESCRIPTOR
BATCH = enrichment_pb.BatchRequestEnrichmentsRequest.DESCRIPTOR


def field_of(kind: object, body: bytes) -> str:
    """Return the field that is at fault; empty where none is."""
    found = long_list_of(kind, body)
    return found.field if found else ""


def test_two_million_empty_items_are_one_violation() -> None:
    assert field_of(ENTRIES, b"\x0a\x00" * 2_000_000) == "activities"
    assert field_of(BATCH, b"\x12\x00" * 2_000_000) == "requests"


def test_a_list_within_a_large_item_is_found() -> None:
    long = enrichment_pb.RequestEnrichmentRequest(name="Ada", sources=["exa"] * 10_000)
    batch = enrichment_pb.BatchRequestEnrichmentsRequest(requests=[long])
    assert field_of(BATCH, batch.SerializeToString()) == "requests.sources"


def test_the_paths_of_a_mask_have_a_limit() -> None:
    update = policy_pb2.UpdatePolicyRequest(update_mask=FieldMask(paths=["a"] * 10_000))
    assert field_of(update.DESCRIPTOR, update.SerializeToString()) == "update_mask.paths"


def test_a_field_that_is_sent_again_and_again_is_too_many() -> None:
    assert field_of(ENTRIES, b"\x12\x01a" * 10_000) == "RecordActivitiesRequest"
    assert field_of(ENTRIES, b"\xf8\x7f\x01" * 10_000) == "RecordActivitiesRequest"


def test_the_longest_list_that_is_allowed_is_taken() -> None:
    entry = activity_pb.NewActivity(
        user_id="u" * 36, action_type=activity_pb.ACTION_TYPE_LOGIN, metadata_json="{}" * 40
    )
    request = activity_pb.RecordActivitiesRequest(activities=[entry] * 10_000)
    assert field_of(ENTRIES, request.SerializeToString()) == ""


def test_an_events_lists_without_a_limit_in_the_contract_are_counted_by_its_handler() -> None:
    event = events_pb2.ActivitiesRecorded(
        activity_ids=["a" * 36] * 10_000,
        created_at_micros=[1] * 10_000,
        action_types=[activity_pb.ACTION_TYPE_LOGIN] * 10_000,
    )
    assert field_of(event.DESCRIPTOR, event.SerializeToString()) == ""


@pytest.mark.parametrize("end", [b"", b"\x0a", b"\x0a\xff\xff\xff\xff\x7f", b"\xff" * 20, b"\x0b"])
def test_what_is_no_message_is_left_to_the_decoder(end: bytes) -> None:
    entry = activity_pb.NewActivity(user_agent="x" * LARGE)
    body = activity_pb.RecordActivitiesRequest(activities=[entry]).SerializeToString()
    assert field_of(ENTRIES, body + end) == ""
