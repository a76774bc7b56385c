"""A list that is too long is refused by its length, before any of its items is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from buf.validate import validate_pb2
from prospect.activity.v1 import activity_service_pb2 as activity_pb
from prospect.enrichment.v1 import enrichment_service_pb2 as enrichment_pb
from prospect.enrichment.v1 import policy_pb2

from chassis.errors import InvalidArgument
from chassis.validation import (
    CHECKED_AT_ONCE,
    MAX_FOUND,
    first_violation_of,
    violations_of,
    violations_of_batch,
)
from devstack.stack import SERVICES

# Its paths are counted by a rule of the field that holds it.
COUNTED_ELSEWHERE = {"google.protobuf.FieldMask.paths"}


def received(service: str) -> Iterator[Any]:
    """Yield the descriptors of what a service may be sent: the requests and all events."""
    contract = import_module(f"prospect.{service}.v1.{service}_service_pb2").DESCRIPTOR
    for rpcs in contract.services_by_name.values():
        yield from (method.input_type for method in rpcs.methods)
    events = import_module(f"prospect.{service}.v1.events_pb2").DESCRIPTOR
    yield from events.message_types_by_name.values()


def unlimited_lists(kind: Any, seen: set[str]) -> Iterator[str]:
    """Yield the repeated fields of a message, and of the messages in it, that have no limit."""
    for field in kind.fields:
        rules = field.GetOptions().Extensions[validate_pb2.field].repeated
        if field.is_repeated and not rules.max_items:
            yield field.full_name
        if field.message_type and field.message_type.full_name not in seen:
            seen.add(field.message_type.full_name)
            yield from unlimited_lists(field.message_type, seen)


@pytest.mark.parametrize("service", SERVICES)
def test_every_list_that_anyone_may_send_has_a_limit(service: str) -> None:
    found = {name for kind in received(service) for name in unlimited_lists(kind, set())}
    assert found <= COUNTED_ELSEWHERE


def test_a_list_that_is_too_long_is_one_violation_whatever_its_items_are() -> None:
    request = activity_pb.RecordActivitiesRequest.FromString(b"\x0a\x00" * 10_001)
    (violation,) = violations_of(request)
    assert (violation.field, violation.rule) == ("activities", "repeated.max_items")


def test_a_list_within_an_item_that_is_too_long_is_named_by_its_index() -> None:
    good = enrichment_pb.RequestEnrichmentRequest(name="Ada", company="Engines")
    long = enrichment_pb.RequestEnrichmentRequest(sources=["exa"] * 100)
    chunk = enrichment_pb.BatchRequestEnrichmentsRequest(requests=[good, long])
    violation = violations_of(chunk)[0]
    assert (violation.field, violation.rule) == ("requests[1].sources", "repeated.max_items")


def test_beside_a_list_that_is_too_long_all_else_is_checked() -> None:
    long = enrichment_pb.RequestEnrichmentRequest(name="Ada", company="E", sources=["exa"] * 100)
    bad = enrichment_pb.RequestEnrichmentRequest(name="Ada", company="E", email="no")
    chunk = enrichment_pb.BatchRequestEnrichmentsRequest(batch_id="no", requests=[long, bad])
    assert {(each.field, each.rule) for each in violations_of(chunk)} == {
        ("requests[0].sources", "repeated.max_items"),
        ("batch_id", "string.uuid"),
        ("requests[1].email", "string.email"),
    }


def test_a_list_that_is_too_long_within_a_message_is_counted_first() -> None:
    policy = policy_pb2.Policy(contact_lookups=["email"] * 100_000)
    violation = violations_of(policy_pb2.UpdatePolicyRequest(policy=policy))[0]
    assert (violation.field, violation.rule) == ("policy.contact_lookups", "repeated.max_items")


def test_a_list_of_just_the_limit_is_looked_at_item_by_item() -> None:
    request = activity_pb.RecordActivitiesRequest.FromString(b"\x0a\x00" * 3)
    assert {each.field for each in violations_of(request)} == {
        f"activities[{place}].{name}" for place in range(3) for name in ("user_id", "action_type")
    }


GOOD = activity_pb.NewActivity(
    user_id="01890000-0000-7000-8000-000000000001",
    action_type=activity_pb.ACTION_TYPE_LOGIN,
    metadata_json="{}",
)
BAD = activity_pb.NewActivity(user_id="me")


def a_batch(*entries: activity_pb.NewActivity, request_id: str = "") -> Any:
    return activity_pb.RecordActivitiesRequest(activities=entries, request_id=request_id)


@pytest.mark.parametrize(
    "batch",
    [
        a_batch(GOOD, GOOD),
        a_batch(),
        a_batch(GOOD, BAD, GOOD, BAD),
        a_batch(GOOD, request_id="mine"),
        a_batch(BAD, request_id="mine"),
        a_batch(*[GOOD] * 10_001, request_id="mine"),
    ],
)
async def test_a_batch_is_found_to_break_what_a_message_is(batch: Any) -> None:
    same = type(batch).FromString(batch.SerializeToString())
    found = await violations_of_batch(batch, "activities", first_only=False)
    assert sorted(map(str, found)) == sorted(map(str, violations_of(same)))


async def test_of_each_item_only_the_first_violation_is_told_if_so_wished() -> None:
    found = await violations_of_batch(a_batch(GOOD, BAD, BAD), "activities", first_only=True)
    assert [each.field.partition(".")[0] for each in found] == ["activities[1]", "activities[2]"]


async def test_a_batch_of_bad_items_is_refused_without_a_look_at_the_rest() -> None:
    bad = a_batch(*[BAD] * 10_000)
    with pytest.raises(InvalidArgument) as refused:
        await violations_of_batch(bad, "activities", first_only=False)
    assert len(refused.value.violations) == MAX_FOUND
    fewer = a_batch(*[BAD] * (MAX_FOUND // 2 - 1))
    found = await violations_of_batch(fewer, "activities", first_only=False)
    assert len(found) == MAX_FOUND - 2


async def test_others_have_their_turns_while_bad_items_are_looked_at() -> None:
    turns = 0

    async def another() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(another())
    await violations_of_batch(a_batch(*[BAD] * 2_000), "activities", first_only=True)
    other.cancel()
    assert 2_000 / CHECKED_AT_ONCE <= turns < 2 * 2_000 / CHECKED_AT_ONCE


async def test_a_batch_that_keeps_the_rules_is_looked_at_once() -> None:
    looking = violations_of_batch(a_batch(*[GOOD] * 3), "activities", first_only=True)
    with pytest.raises(StopIteration) as ended:
        looking.send(None)
    assert ended.value.value == []


def test_one_violation_is_enough_to_refuse_an_event() -> None:
    first = first_violation_of(a_batch(BAD, BAD))
    assert first
    assert first.field.startswith("activities[0]")
    assert first_violation_of(a_batch(GOOD)) is None
    too_long = first_violation_of(a_batch(*[GOOD] * 10_001))
    assert too_long
    assert too_long.rule == "repeated.max_items"
