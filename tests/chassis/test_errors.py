"""Refusals: the status that a caller gets, with the reason and each field at fault."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from chassis.errors import FieldViolation, InvalidArgument, NotFound, found, internal_status


def violations(count: int) -> list[FieldViolation]:
    """Return as many violations, each of its own field."""
    return [FieldViolation(f"f{n}", f"rule{n}", f"is wrong {n}") for n in range(count)]


def details(refusal: InvalidArgument | NotFound) -> dict[str, Message]:
    """Return the details of a refusal's status by their names."""
    kinds = {
        "ErrorInfo": error_details_pb2.ErrorInfo(),
        "BadRequest": error_details_pb2.BadRequest(),
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


def test_of_a_bug_the_caller_sees_that_there_is_one() -> None:
    status = internal_status()
    assert (status.code, status.message) == (grpc.StatusCode.INTERNAL.value[0], "internal error")
    assert not status.details
