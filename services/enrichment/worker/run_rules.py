"""The rules of a turn: may a call leave, by policy, suppression, availability and budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.enrichment.availability.breaker import Breakers
from services.enrichment.availability.rate import Limits
from services.enrichment.policy.allowance import TenantAllowance
from services.enrichment.policy.budget import Permit
from services.enrichment.policy.suppression import Hasher
from services.enrichment.run.state import CLAUDE, Denial, Findings, Step, StepStatus
from services.enrichment.sources.call import Answer
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.findings import Finding
from services.enrichment.worker.store import LeasedRun

STOPPED_PAUSE = timedelta(seconds=5)
PREVIOUS_CALL_PAUSE = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class RuleInputs:
    """What a replica's rules are built from: availability, suppression hashes and summaries."""

    breakers: Breakers
    limits: Limits
    hasher: Hasher
    memo_key: Callable[[Mapping[SourceName, Finding]], str]
    template: Callable[[Mapping[SourceName, Finding]], Finding]


class RunRules:
    """The rules of one run's turn (see `state.Rules`); `admitted` holds its admissions."""

    def __init__(
        self,
        run: LeasedRun,
        allowance: TenantAllowance,
        inputs: RuleInputs,
        admitted: MutableMapping[SourceName, float],
        now: datetime,
    ) -> None:
        self._run = run
        self._allowance = allowance
        self._inputs = inputs
        self._admitted = admitted
        self._now = now
        self._committed = run.committed_micros
        self._let_go: dict[SourceName, int] = {}

    @property
    def ask_paid_again(self) -> bool:
        """Whether a paid source is asked once more when a crash lost its reply."""
        return self._allowance.policy.ask_paid_again

    def denial(self, step: Step) -> Denial | None:
        """Say why a call may not leave: policy first, then the source's state, then money."""
        policy, source = self._allowance.policy, step.source
        if policy.is_stopped:
            until = self._now + STOPPED_PAUSE
            return Denial(StepStatus.PARKED, "the tenant's kill switch is on", until)
        if not policy.source(source).is_enabled:
            return Denial(StepStatus.SKIPPED, "the tenant's policy does not allow it")
        if self._run.state.lookups.get(source) == ():
            return Denial(StepStatus.SKIPPED, "the tenant's policy leaves no way to ask it")
        if self._allowance.suppresses(lambda: self._run.keys(self._inputs.hasher)):
            reason = "the person is on the suppression list"
            return Denial(StepStatus.SUPPRESSED, reason)
        held = self._previous_call(source)
        if not held and source not in self._admitted:
            held = self._inputs.breakers.denial(source)
        if held:
            return held
        budget = self._run.budget_micros
        over = self._allowance.purse.denial(source, self._committed, budget, self._let_go)
        return Denial(StepStatus.BUDGET_DENIED, over) if over else None

    def _previous_call(self, source: SourceName) -> Denial | None:
        """Deny a call that an earlier run has made: it is, or may be, paid for."""
        previous = self._run.previous
        if source in previous.out:
            reason = "an earlier run's call is still out: what it brings is taken over"
            return Denial(StepStatus.PARKED, reason, self._now + PREVIOUS_CALL_PAUSE)
        if source in previous.lost and SOURCES[source].is_paid and not self.ask_paid_again:
            reason = "an earlier run's reply was lost; not asked again, so as not to pay twice"
            return Denial(StepStatus.FAILED, reason)
        return None

    def admit(self, source: SourceName) -> float | None:
        """Take the admission that was waited for; a source without limits needs none."""
        if source in self._admitted:
            return self._admitted.pop(source)
        free = self._inputs.limits.is_free(source) and self._inputs.breakers.is_closed(source)
        return 0.0 if free else None

    def reserve(self, source: SourceName) -> Permit:
        """Reserve what the call may cost."""
        permit = self._allowance.purse.reserve(source)
        self._committed += permit.reserved_micros
        return permit

    def settle(self, source: SourceName, cost_micros: int) -> None:
        """Let go what was reserved for a call and not spent."""
        reserved, day = self._run.reserved.get(source, (0, self._now.date()))
        self._committed += cost_micros - reserved
        if day == self._now.date():
            self._let_go[source] = reserved - cost_micros

    def refuses(self, answer: Answer) -> Denial | None:
        """Say why what a source brought is not kept, None where it is."""
        if self._run.outdated:
            reason = "the prospect has been asked about in other words since"
            return Denial(StepStatus.SKIPPED, reason)
        if answer.finding and self._suppresses(answer.finding):
            reason = "what it brought is of somebody on the suppression list"
            return Denial(StepStatus.SUPPRESSED, reason)
        return None

    def _suppresses(self, finding: Finding) -> bool:
        tenant_id, hasher = self._run.lease.tenant_id, self._inputs.hasher
        # The person may have been put on the list while the call was out.
        return self._allowance.suppresses(
            lambda: [*self._run.keys(hasher), *hasher.of_finding(tenant_id, finding)]
        )

    def recall(self, source: SourceName, brought: Findings) -> Answer | None:
        """Return what an earlier run's call has brought since this one was made, or the summary
        that the prospect has, where it rests on just this evidence.
        """
        if source is not CLAUDE:
            return self._run.previous.answers.get(source)
        known = self._run.remembered
        if known and known.memo == self._inputs.memo_key(self._run.evidence(brought)):
            return Answer(known.summary)
        return None

    def fallback(self, brought: Findings) -> Finding:
        """Return a plain summary of what was found."""
        return self._inputs.template(self._run.evidence(brought))
