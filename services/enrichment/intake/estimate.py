"""Which calls requests would make, reuse or be denied, and the highest cost. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.enrichment.policy.allowance import TenantAllowance
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Key
from services.enrichment.run.plan import Known, Request, first_steps
from services.enrichment.run.state import CLAUDE, StepStatus
from services.enrichment.sources.catalogue import SOURCES, SourceName


@dataclass(frozen=True, slots=True)
class Candidate:
    """A request, what is known of its prospect, and whether there is a summary of just that."""

    request: Request
    keys: Sequence[Key]
    known: Known | None = None
    has_summary: bool = False


@dataclass(slots=True)
class Tally:
    """What would become of the prospects at one source: counts, and the highest cost."""

    calls: int = 0
    fresh: int = 0
    skipped: int = 0
    suppressed: int = 0
    budget_denied: int = 0
    max_cost_micros: int = 0


def estimate(
    candidates: Sequence[Candidate], allowance: TenantAllowance, now: datetime
) -> dict[SourceName, Tally]:
    """Return each source's tally; the allowance's purse is charged as the calls would charge it."""
    tallies = {source: Tally() for source in SourceName}
    for each in candidates:
        _Estimate(each, allowance, tallies).add(now)
    return tallies


@dataclass(slots=True)
class _Estimate:
    """One request's part: whether research would be asked, and whether some of it is known."""

    candidate: Candidate
    allowance: TenantAllowance
    tallies: dict[SourceName, Tally]
    spent: int = 0
    asked: bool = False
    brought: bool = False

    def add(self, now: datetime) -> None:
        request, policy = self.candidate.request, self.allowance.policy
        steps = first_steps(request, self.candidate.known, policy, now)
        suppressed = self.allowance.suppresses(lambda: self.candidate.keys)
        for source, step in steps.items():  # Claude comes last, as in a run
            tally = self.tallies[source]
            if step.reused:
                tally.fresh += 1
                self.brought |= step.status is StepStatus.COMPLETE
            elif step.status is StepStatus.SKIPPED:
                tally.skipped += 1
            elif source is CLAUDE and not self.asked and not self.brought:
                tally.skipped += 1  # there is nothing to summarise
            elif source is CLAUDE and not self.asked and self.candidate.has_summary:
                tally.fresh += 1
            else:
                self._ask(source, tally, suppressed)

    def _ask(self, source: SourceName, tally: Tally, suppressed: bool) -> None:
        ways = ways_to_ask(source, self.candidate.request, self.allowance.policy)
        if not ways:
            tally.skipped += 1
        elif suppressed:
            tally.suppressed += 1
        else:
            called = [self._pay(source, tally) for _ in range(ways)]
            tally.calls += called[0]
            tally.budget_denied += not called[0]
            self.asked |= called[0] and source is not CLAUDE

    def _pay(self, source: SourceName, tally: Tally) -> bool:
        purse, budget = self.allowance.purse, self.candidate.request.budget_micros
        if purse.denial(source, self.spent, budget):
            return False
        cost = purse.reserve(source).reserved_micros
        self.spent += cost
        tally.max_cost_micros += cost
        return True


def ways_to_ask(source: SourceName, request: Request, policy: Policy) -> int:
    """Return how many calls it may take to find a person, 0 where there is no way to ask."""
    if not SOURCES[source].lookups:
        return 1
    return len(set(policy.ways_to_ask(source, request.person)))
