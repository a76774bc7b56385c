"""What the engine must know of each source before it is asked: one row a source.

Prices are list prices in millionths of a US dollar (ContactOut: one e-mail and one phone credit;
Exa: one search with contents; Claude: the longest prompt and answer that the limits allow). They
bound what one call may cost; what it did cost comes with its answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class SourceName(StrEnum):
    """The four sources, by the name that proto, SQL, settings and docs use."""

    CONTACTOUT = "contactout"
    EXA = "exa"
    SEC = "sec"
    CLAUDE = "claude"


@dataclass(frozen=True, slots=True)
class Profile:
    """How a source is to be treated.

    `most_cost_micros` is reserved before a call leaves, 0 for a free source; `fresh_for` is how
    long an answer, "not found" included, stands before it is bought again; `lookups` are the ways
    to ask, tried in this order until one finds the person.
    """

    most_cost_micros: int
    fresh_for: timedelta
    lookups: tuple[str, ...] = ("",)

    @property
    def paid(self) -> bool:
        """Whether a lost reply may have been paid for."""
        return self.most_cost_micros > 0


PROFILES: Mapping[SourceName, Profile] = {
    SourceName.CONTACTOUT: Profile(
        most_cost_micros=400_000,
        fresh_for=timedelta(days=30),
        lookups=("linkedin_url", "email", "name_and_company"),
    ),
    SourceName.EXA: Profile(
        most_cost_micros=20_000,
        fresh_for=timedelta(days=7),
    ),
    SourceName.SEC: Profile(
        most_cost_micros=0,
        fresh_for=timedelta(days=1),
    ),
    SourceName.CLAUDE: Profile(
        most_cost_micros=150_000,
        fresh_for=timedelta(days=365),
    ),
}
