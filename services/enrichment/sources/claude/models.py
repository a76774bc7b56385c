"""The models of Claude, a row each: price, how thinking is turned down, and room for the answer.

List prices of https://platform.claude.com/docs/en/about-claude/pricing, as of December 2026, for
prompts of at most 100,000 tokens and five-minute caches. Which `thinking` a model takes is from its
page and migration guide there: a model that thinks unless told otherwise counts its thoughts
towards `max_tokens`, and another value than those it takes is HTTP 400. A test holds the rows
against what the SDK knows of models, thinking, effort and retirement.
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


@dataclass(frozen=True, slots=True)
class Model:
    """What a request to a model says, and what its tokens cost.

    `thinking` is the value that turns thinking off, or down where it cannot be turned off;
    `effort` is empty where the model knows none, and both are for a model that is not named.
    `max_tokens` is the room for the answer, `more_tokens` where the answer did not fit.
    """

    price: TokenPrice
    thinking: str = "disabled"
    effort: str = "low"
    max_tokens: int = 2_048
    more_tokens: int = 4_000


_SONNET = TokenPrice(2_000, 10_000, 2_500, 200)
_OPUS = TokenPrice(5_000, 25_000, 6_250, 500)
MODELS: Mapping[str, Model] = {
    "claude-haiku-5-5": Model(TokenPrice(100, 500, 125, 10)),
    "claude-haiku-4-5": Model(TokenPrice(1_000, 5_000, 1_250, 100), effort=""),
    "claude-sonnet-5-5": Model(TokenPrice(2_000, 10_000, 2_500, 100), thinking="between_tools"),
    "claude-sonnet-5": Model(_SONNET),
    "claude-sonnet-4-6": Model(TokenPrice(3_000, 15_000, 3_750, 300)),
    # It thinks all the same, and needs room for its thoughts.
    "claude-opus-5-5": Model(
        TokenPrice(4_000, 20_000, 5_000, 200), "adaptive", max_tokens=4_096, more_tokens=5_120
    ),
    "claude-opus-5": Model(_OPUS),
    "claude-opus-4-8": Model(_OPUS),
    "claude-opus-4-7": Model(_OPUS),
    "claude-opus-4-6": Model(_OPUS),
}
# A model that is not named is asked with the vendor's own values, and costs what the dearest does:
# a budget is rather kept than broken.
UNKNOWN = Model(
    TokenPrice(10_000, 50_000, 12_500, 1_000), "", "", max_tokens=4_096, more_tokens=8_192
)


def model_of(name: str) -> Model:
    """Return a model's row: that of its name, or of its name with a day (-20251001) behind."""
    base, _, day = name.rpartition("-")
    return MODELS.get(name) or (MODELS.get(base) if day.isdecimal() else None) or UNKNOWN


def cost_micros(name: str, usage: Usage) -> int:
    """Return what a call cost, rounded up to a whole micro-dollar."""
    price = model_of(name).price
    thousandths = (
        usage.input_tokens * price.input
        + usage.output_tokens * price.output
        + usage.cache_write_tokens * price.cache_write
        + usage.cache_read_tokens * price.cache_read
    )
    return -(-thousandths // 1_000)
