"""How Claude's models think, and what they take of a request, in the sandbox.

A model that thinks unless told otherwise spends tokens on it that count towards `max_tokens`, as
the vendor's do: an answer that does not fit ends at `max_tokens`, cut, or without a word of text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

THINKING: Mapping[str, frozenset[str]] = {
    "claude-haiku-5-5": frozenset({"adaptive", "disabled"}),
    "claude-haiku-4-5": frozenset({"enabled", "disabled"}),
    "claude-sonnet-5-5": frozenset({"adaptive", "between_tools"}),
    "claude-sonnet-5": frozenset({"adaptive", "disabled"}),
    "claude-sonnet-4-6": frozenset({"adaptive", "enabled", "disabled"}),
    "claude-opus-5-5": frozenset({"adaptive"}),
    "claude-opus-5": frozenset({"adaptive", "disabled"}),
    "claude-opus-4-8": frozenset({"adaptive", "disabled"}),
    "claude-opus-4-7": frozenset({"adaptive", "disabled"}),
    "claude-opus-4-6": frozenset({"adaptive", "enabled", "disabled"}),
}
"""The values of `thinking.type` that each model takes, from its page of the vendor's."""
THINKS_UNASKED = ("claude-haiku-5", "claude-sonnet-5", "claude-opus-5")
OFF = frozenset({"disabled", "between_tools"})
EFFORTS: Mapping[str, int] = {
    "low": 200, "medium": 600, "high": 1_400, "xhigh": 3_000, "max": 6_000,
}  # fmt: skip
"""How many tokens are spent on thinking, in the sandbox."""
NO_EFFORT = ("claude-haiku-4-5",)
ACCEPTED = (0, "")


@dataclass(frozen=True, slots=True)
class Written:
    """What a model wrote, why it stopped, and how many tokens it took."""

    content: list[dict[str, Any]]
    stop_reason: str
    output_tokens: int
    thinking_tokens: int = 0
    stop_details: Mapping[str, Any] | None = None


def refusal_of(asked: Mapping[str, Any]) -> tuple[int, str]:
    """Return status and message for a request that its model does not take, else ACCEPTED."""
    model = str(asked["model"])
    takes = THINKING.get(model)
    if takes is None:
        return 404, f"model: {model}"
    kind = _thinking(asked)
    if kind and kind not in takes:
        return 400, f'"thinking.type.{kind}" is not supported for this model.'
    effort = asked.get("output_config", {}).get("effort")
    if effort and (effort not in EFFORTS or model in NO_EFFORT):
        return 400, "The effort parameter is not supported for this model."
    if kind in OFF and effort in ("xhigh", "max"):
        return 400, f"output_config.effort: {effort} is not supported with thinking off."
    return ACCEPTED


def write(asked: Mapping[str, Any], text: str, ordered_stop: str) -> Written:
    """Return the answer, in which thoughts and text share the room of `max_tokens`."""
    if ordered_stop and ordered_stop != "max_tokens":
        details = {"type": "refusal", "category": "general_harms", "explanation": None}
        return Written([], ordered_stop, 0, 0, details if ordered_stop == "refusal" else None)
    room, thoughts = int(asked["max_tokens"]), _thoughts(asked)
    thinking = {"type": "thinking", "thinking": "", "signature": "sandbox"}
    content: list[dict[str, Any]] = [thinking] if thoughts else []
    left = room - thoughts
    if ordered_stop:
        left = min(left, len(text) // 8)
    if left <= 0:
        return Written(content, "max_tokens", room, room)
    tokens = len(text) // 4
    fits = tokens <= left
    content.append({"type": "text", "text": text if fits else text[: left * 4]})
    if fits:
        return Written(content, "end_turn", thoughts + tokens, thoughts)
    return Written(content, "max_tokens", room, thoughts)


def _thoughts(asked: Mapping[str, Any]) -> int:
    kind = _thinking(asked)
    unasked = not kind and str(asked["model"]).startswith(THINKS_UNASKED)
    if kind == "enabled":
        return int(asked["thinking"].get("budget_tokens", 0))
    if kind == "adaptive" or unasked:
        return EFFORTS[asked.get("output_config", {}).get("effort") or "high"]
    return 0


def _thinking(asked: Mapping[str, Any]) -> str:
    return str((asked.get("thinking") or {}).get("type", ""))
