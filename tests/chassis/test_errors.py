"""Refusals: the status that a caller gets, with the reason and each field at fault."""

from __future__ import annotations

import base64
import urllib.parse

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import (
    MAX_STATUS,
    FieldViolation,
    InvalidArgument,
    Limit,
    NotFound,
    Refusal,
    ResourceExhausted,
    Unavailable,
    found,
    internal_status,
)

TEXTS = st.text(max_size=3000) | st.sampled_from(
    ["x" * 10_000, "ü" * 5_000, "%" * 5_000, "\0" * 900]
)
VIOLATIONS = st.builds(FieldViolation, TEXTS, st.just("string.uuid"), TEXTS)
HEADER_BYTES = 8_192
"""What gRPC's clients take of trailers where nobody says otherwise."""


def violations(count: int) -> list[FieldViolation]:
    """Return as many violations, each of its own field."""
    return [FieldViolation(f"f{n}", f"rule{n}", f"is wrong {n}") for n in range(count)]


def details(refusal: Refusal) -> dict[str, Message]:
    """Return the details of a refusal's status by their names."""
    kinds = {
        "ErrorInfo": error_details_pb2.ErrorInfo(),
        "BadRequest": error_details_pb2.BadRequest(),
        "RetryInfo": error_details_pb2.RetryInfo(),
        "QuotaFailure": error_details_pb2.QuotaFailure(),
    }
    packed = {each.type_url.rpartition(".")[2]: each for each in refusal.status().details}
    for name, detail in packed.items():
        assert detail.Unpack(kinds[name])
    return {name: kinds[name] for name in packed}


def test_a_status_has_the_code_the_message_and_the_reason_with_its_values() -> None:
    refusal = NotFound("there is no run", reason="RUN_NOT_FOUND", metadata={"run": "7"})
    assert refusal.status().code == grpc.StatusCode.NOT_FOUND.value[0]
    assert refusal.status().message == str(refusal) == "there is no run"
    assert details(refusal) == {
        "ErrorInfo": error_details_pb2.ErrorInfo(
            reason="RUN_NOT_FOUND", domain="prospect", metadata={"run": "7"}
        )
    }


def test_a_status_names_each_field_the_rule_and_the_rule_in_words() -> None:
    refusal = InvalidArgument.field("name", "string.min_len", "must not be empty")
    assert refusal.message == "name: must not be empty"
    assert refusal.reason == "INVALID_ARGUMENT"
    assert details(refusal)["BadRequest"] == error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field="name", description="must not be empty", reason="string.min_len"
            )
        ]
    )


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, "f0: is wrong 0; f1: is wrong 1"),
        (3, "f0: is wrong 0; f1: is wrong 1; f2: is wrong 2"),
        (5, "f0: is wrong 0; f1: is wrong 1; f2: is wrong 2 (and 2 more)"),
    ],
)
def test_the_message_names_three_fields_and_counts_the_rest(count: int, message: str) -> None:
    assert InvalidArgument.of(violations(count)).message == message


def test_the_details_name_a_hundred_fields_at_most() -> None:
    bad_request = details(InvalidArgument.of(violations(101)))["BadRequest"]
    assert isinstance(bad_request, error_details_pb2.BadRequest)
    assert [each.field for each in bad_request.field_violations] == [f"f{n}" for n in range(100)]


def test_a_refusal_keeps_its_own_copy_of_what_it_was_given() -> None:
    metadata = {"run": "7"}
    refusal = NotFound("no", reason="RUN_NOT_FOUND", metadata=metadata)
    metadata.clear()
    assert refusal.metadata == {"run": "7"}
    assert refusal.violations == ()


def test_a_row_that_is_there_is_returned_and_one_that_is_not_is_named() -> None:
    assert found(0, "run", 7) == 0
    with pytest.raises(NotFound, match="there is no run 7") as refused:
        found(None, "run", 7)
    assert refused.value.reason == "RUN_NOT_FOUND"


def test_the_same_refusal_for_a_limit_is_put_into_words_once() -> None:
    def refusal(subject: str) -> ResourceExhausted:
        limit = Limit("open_calls", subject, 1)
        return ResourceExhausted.beyond(limit, "too many", reason="TOO_MANY_CALLS")

    assert refusal("tenant:1").status() is refusal("tenant:1").status()
    assert refusal("tenant:1").status() != refusal("tenant:2").status()


def test_of_a_bug_the_caller_sees_that_there_is_one() -> None:
    status = internal_status()
    assert (status.code, status.message) == (grpc.StatusCode.INTERNAL.value[0], "internal error")
    assert not status.details


def size_of_trailers(refusal: Refusal) -> int:
    """Return what a refusal takes on the wire: each header with the 32 bytes that HTTP/2 counts."""
    status = refusal.status()
    message = urllib.parse.quote(status.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    headers = {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": "3",
        "grpc-message": message,
        "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode(),
    }
    return sum(len(name) + len(value) + 32 for name, value in headers.items())


@given(
    st.lists(VIOLATIONS, max_size=120),
    TEXTS,
    st.dictionaries(st.text(max_size=200), TEXTS, max_size=8),
)
def test_a_status_has_room_in_the_trailers_whatever_is_told(
    told: list[FieldViolation], message: str, metadata: dict[str, str]
) -> None:
    limit = Limit("unread_bytes", "tenant:0", 1)
    refusal = ResourceExhausted.beyond(
        limit, message, reason="TOO_SLOW", metadata=metadata, retry_seconds=1
    )
    refusal.violations = tuple(told)
    assert size_of_trailers(refusal) < HEADER_BYTES
    bad, info = details(refusal).get("BadRequest"), details(refusal)["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, info.metadata["limit"]) == ("TOO_SLOW", "unread_bytes")
    named = len(bad.field_violations) if isinstance(bad, error_details_pb2.BadRequest) else 0
    assert named >= min(len(told), 1)
    assert len(told) - named == int(info.metadata.get("omitted_violations", "0"))


def test_a_value_that_has_no_room_is_left_out_whole() -> None:
    metadata = {"long": "x" * 2_000, "run": "7"}
    info = details(NotFound("no", reason="RUN_NOT_FOUND", metadata=metadata))["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert dict(info.metadata) == {"run": "7"}


def test_a_value_that_just_has_room_is_told() -> None:
    for length, told in ((1_191, True), (1_192, False)):
        refusal = NotFound("no", reason="RUN_NOT_FOUND", metadata={"n": "x" * length})
        info = details(refusal)["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert ("n" in info.metadata) is told


def test_violations_leave_room_for_how_many_are_omitted() -> None:
    for length in range(400, 600):
        told = [FieldViolation("f", "r", "x" * length)] * 100
        assert InvalidArgument.of(told).status().ByteSize() <= MAX_STATUS


def test_a_message_of_a_thousand_letters_and_spaces_is_whole() -> None:
    message = "x " * 500
    assert NotFound(message, reason="RUN_NOT_FOUND").status().message == message


def test_what_utf_8_does_not_have_is_replaced() -> None:
    assert NotFound("\ud800", reason="RUN_NOT_FOUND").status().message == "?"


def test_a_long_message_is_cut() -> None:
    message = NotFound("é" * 900, reason="RUN_NOT_FOUND").status().message
    assert message == "é" * 157 + "…"


def test_who_may_try_again_is_told_when() -> None:
    passing = details(Unavailable("no", reason="STOPPING"))["RetryInfo"]
    assert isinstance(passing, error_details_pb2.RetryInfo)
    assert passing.retry_delay.seconds == 1
    later = details(Unavailable("no", reason="USAGE_MOVING", retry_seconds=0.25))["RetryInfo"]
    assert isinstance(later, error_details_pb2.RetryInfo)
    assert later.retry_delay.ToMilliseconds() == 250
    assert "RetryInfo" not in details(NotFound("no", reason="RUN_NOT_FOUND"))
    limit = Limit("expensive_calls", "replica", 5)
    beyond = ResourceExhausted.beyond(limit, "too many", reason="TOO_MANY", retry_seconds=2)
    assert beyond.retry_seconds == 2


def test_a_limit_stands_in_the_metadata_and_in_the_quota_failure() -> None:
    limit = Limit("expensive_calls", "replica", 5)
    told = details(ResourceExhausted.beyond(limit, "too many", reason="TOO_MANY_EXPENSIVE_CALLS"))
    info, quota = told["ErrorInfo"], told["QuotaFailure"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert isinstance(quota, error_details_pb2.QuotaFailure)
    assert dict(info.metadata) == {
        "limit": "expensive_calls",
        "limit_of": "replica",
        "limit_value": "5",
    }
    (violation,) = quota.violations
    assert (violation.subject, violation.quota_id) == ("replica", "expensive_calls")
    assert (violation.description, violation.quota_value) == ("too many", 5)
