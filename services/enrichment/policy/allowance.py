"""What a tenant may begin now: its runs under way and its money."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from services.enrichment.policy.budget import Purse
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Key


@dataclass(frozen=True, slots=True)
class TenantAllowance:
    """A tenant's policy, purse, and those keys asked about that are on its suppression list."""

    policy: Policy
    purse: Purse
    suppressed: Collection[bytes]

    def suppresses(self, keys: Callable[[], Collection[Key]]) -> bool:
        """Whether one of the keys is on the list; most tenants' is empty, and no key is made."""
        return bool(self.suppressed) and any(key.keyed_hash in self.suppressed for key in keys())


@dataclass(frozen=True, slots=True)
class AllowanceRow:
    """What the database says of a tenant's allowance: its policy and the version of the policy's
    row, what is committed of the day's budgets by source, and whether it has a suppression list.
    """

    policy: Policy
    committed: Mapping[str, int]
    has_suppressions: bool
    version: int

    @property
    def needs_no_lock(self) -> bool:
        """Whether the row is enough: no budget to lock, no suppression list to search."""
        return not (self.policy.has_day_budget or self.has_suppressions)

    def allowance(self, suppressed: Collection[bytes] = frozenset()) -> TenantAllowance:
        """Return the allowance; `suppressed` are those keys asked about that are on the list."""
        return TenantAllowance(self.policy, Purse(self.policy, self.committed), suppressed)
