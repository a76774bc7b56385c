"""What the plan says to a request, as its caller gets it."""

from __future__ import annotations

import uuid

from chassis.errors import FailedPrecondition
from services.enrichment.intake.request_ids import answered
from services.enrichment.run.plan import Accepted, CannotJoin

RUN, PROSPECT = uuid.UUID(int=100), uuid.UUID(int=1)


def test_a_request_that_got_a_run_is_answered_with_it() -> None:
    accepted = Accepted(RUN, PROSPECT, joined=True)
    assert answered(accepted) is accepted


def test_a_request_that_cannot_join_is_refused_with_the_run_and_the_field() -> None:
    refusal = answered(CannotJoin(RUN, "it is being cancelled"))
    assert isinstance(refusal, FailedPrecondition)
    assert (refusal.message, refusal.reason) == ("it is being cancelled", "RUN_UNDER_WAY")
    assert refusal.metadata == {"run_id": str(RUN)}
    (violation,) = refusal.violations
    assert (violation.field, violation.rule) == ("prospect_id", "prospect_id.under_way")
    assert violation.message == "it is being cancelled"
