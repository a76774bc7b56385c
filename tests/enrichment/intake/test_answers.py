"""What the plan says to a request, as its caller gets it."""

from __future__ import annotations

import uuid

import pytest

from chassis.errors import FailedPrecondition
from services.enrichment.intake.request_ids import answered
from services.enrichment.run.plan import Accepted, CannotJoin

RUN, PROSPECT = uuid.UUID(int=100), uuid.UUID(int=1)


def test_a_request_that_got_a_run_is_answered_with_it() -> None:
    accepted = Accepted(RUN, PROSPECT, joined=True)
    assert answered(accepted) is accepted


@pytest.mark.parametrize(
    ("being_cancelled", "reason"), [(False, "RUN_UNDER_WAY"), (True, "RUN_BEING_CANCELLED")]
)
def test_a_request_that_cannot_join_is_refused_with_the_run_the_field_and_its_reason(
    being_cancelled: bool, reason: str
) -> None:
    refusal = answered(CannotJoin(RUN, "ask again later", being_cancelled))
    assert isinstance(refusal, FailedPrecondition)
    assert (refusal.message, refusal.reason) == ("ask again later", reason)
    assert refusal.metadata == {"run_id": str(RUN)}
    (violation,) = refusal.violations
    assert (violation.field, violation.rule) == ("prospect_id", "prospect_id.under_way")
    assert violation.message == "ask again later"
