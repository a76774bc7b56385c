"""What the tokens of each Claude model cost.

List prices of https://platform.claude.com/docs/en/about-claude/pricing, as of November 2026, for
prompts of at most 100,000 tokens and five-minute caches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.enrichment.sources.call import Usage


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Micro-dollars for a thousand tokens, which is the dollars for a million times a thousand."""

    input: int
    output: int
    cache_write: int
    cache_read: int


# By the beginning of the model's name, the longest first that fits.
PRICES: Mapping[str, TokenPrice] = {
    "claude-haiku-5-5": TokenPrice(100, 500, 125, 10),
    "claude-haiku-4-5": TokenPrice(1_000, 5_000, 1_250, 100),
    "claude-sonnet-5-5": TokenPrice(2_000, 10_000, 2_500, 100),
    "claude-sonnet-5": TokenPrice(2_000, 10_000, 2_500, 200),
    "claude-sonnet-4": TokenPrice(3_000, 15_000, 3_750, 300),
    "claude-opus-5-5": TokenPrice(4_000, 20_000, 5_000, 200),
    "claude-opus-5": TokenPrice(5_000, 25_000, 6_250, 500),
    "claude-opus-4": TokenPrice(5_000, 25_000, 6_250, 500),
}
# A model that is not named costs what the dearest does: a budget is rather kept than broken.
DEAREST = TokenPrice(10_000, 50_000, 12_500, 1_000)


def cost_micros(model: str, usage: Usage) -> int:
    """Return what a call cost, rounded up to a whole micro-dollar."""
    names = (name for name in sorted(PRICES, key=len, reverse=True) if model.startswith(name))
    price = PRICES.get(next(names, ""), DEAREST)
    thousandths = (
        usage.input_tokens * price.input
        + usage.output_tokens * price.output
        + usage.cache_write_tokens * price.cache_write
        + usage.cache_read_tokens * price.cache_read
    )
    return -(-thousandths // 1_000)
