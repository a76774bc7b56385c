"""What a tenant may begin now: its runs under way and its money."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from services.enrichment.policy.budget import Purse
from services.enrichment.policy.policy import Policy
from services.enrichment.policy.suppression import Key


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a tenant's gate shows: its policy, what it has committed of the day's budgets
    by source, whether it suppresses anybody, and the version of the policy's row.
    """

    policy: Policy
    committed: Mapping[str, int]
    suppresses: bool
    version: int

    @property
    def is_enough(self) -> bool:
        """Whether nothing has to be held still or looked up besides."""
        return not (self.policy.has_day_budget or self.suppresses)


@dataclass(frozen=True, slots=True)
class TenantGate:
    """A tenant's policy, purse, and those keys asked about that are on its suppression list."""

    policy: Policy
    purse: Purse
    suppressed: Collection[bytes]

    def suppresses(self, keys: Callable[[], Collection[Key]]) -> bool:
        """Whether one of the keys is on the list; most tenants' is empty, and no key is made."""
        return bool(self.suppressed) and any(key.digest in self.suppressed for key in keys())
