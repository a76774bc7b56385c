"""Money: what may be spent, and the permit without which no call leaves. Pure.

Amounts are integers in millionths of a US dollar. The highest cost of a call is reserved before it
leaves and settled after it; what it did not cost is refunded. A lost reply keeps its reservation:
it may have been paid for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.enrichment.policy.policy import Policy
from services.enrichment.sources.catalogue import SOURCES, SourceName

ALL = "all"
NOTHING: Mapping[SourceName, int] = {}


@dataclass(frozen=True, slots=True)
class Permit:
    """Says that a call's highest cost is reserved; only `Purse.reserve` makes one."""

    source: SourceName
    reserved_micros: int


class Purse:
    """A tenant's spending of the day, as it stands under the day's lock."""

    def __init__(self, policy: Policy, committed: Mapping[str, int]) -> None:
        self._policy = policy
        self._committed = dict(committed)

    def denial(
        self,
        source: SourceName,
        run_spent: int,
        run_budget: int,
        let_go: Mapping[SourceName, int] = NOTHING,
    ) -> str | None:
        """Say which budget a call would exceed; `run_budget` of 0 means the policy's.

        `let_go` is what the run has reserved of the day's budgets and not spent: it may spend that
        itself, others only once the refund is written.
        """
        cost = SOURCES[source].max_cost_micros
        if not cost:
            return None
        limits = (
            ("the run", run_spent, run_budget or self._policy.run_budget_micros),
            (
                f"{source.value} today",
                self._committed.get(source.value, 0) - let_go.get(source, 0),
                self._policy.source(source).day_budget_micros,
            ),
            (
                "today",
                self._committed.get(ALL, 0) - sum(let_go.values()),
                self._policy.day_budget_micros,
            ),
        )
        for name, spent, limit in limits:
            if limit and spent + cost > limit:
                return (
                    f"the budget for {name} is {dollars(limit)}, of which {dollars(spent)} is "
                    f"spent; a call may cost {dollars(cost)}"
                )
        return None

    def reserve(self, source: SourceName) -> Permit:
        """Take a call's highest cost out of the day's budgets."""
        cost = SOURCES[source].max_cost_micros
        for key in (source.value, ALL):
            self._committed[key] = self._committed.get(key, 0) + cost
        return Permit(source, cost)


def dollars(micros: int) -> str:
    """Return an amount for people, such as $0.3000."""
    return f"${micros / 1_000_000:,.4f}"
