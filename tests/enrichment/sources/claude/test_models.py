"""The rows of the models, against what the SDK knows; and what tokens cost by them."""

from __future__ import annotations

import typing

import pytest
from anthropic._data import DEPRECATED_MODELS
from anthropic.types import ThinkingConfigParam
from anthropic.types.model_param import ModelParam
from anthropic.types.output_config_param import OutputConfigParam

from services.enrichment.settings import Settings
from services.enrichment.sources.call import Usage
from services.enrichment.sources.catalogue import SOURCES, SourceName
from services.enrichment.sources.claude.models import (
    MODELS,
    UNKNOWN,
    cost_micros,
    model_of,
)
from services.enrichment.sources.claude.prompt import INSTRUCTIONS

LONGEST_PROMPT = 8_000
"""Tokens: the instructions, and as many facts as the sources give."""
DEFAULT = Settings.model_fields["claude_model"].default
each_model = pytest.mark.parametrize("name", MODELS)


def literals(annotation: object) -> set[str]:
    """Return the strings among a type's values, wherever they are nested."""
    found = typing.get_args(annotation)
    return {each for each in found if isinstance(each, str)}.union(*map(literals, found))


def thinking_types() -> set[str]:
    kinds = typing.get_args(ThinkingConfigParam)
    return set().union(*(literals(typing.get_type_hints(kind)["type"]) for kind in kinds))


@each_model
def test_the_sdk_knows_the_model_and_does_not_call_it_deprecated(name: str) -> None:
    assert name in literals(ModelParam)
    assert name not in DEPRECATED_MODELS


@each_model
def test_the_sdk_knows_how_the_model_is_asked_to_think(name: str) -> None:
    row = MODELS[name]
    assert row.thinking in thinking_types()
    assert row.effort in literals(typing.get_type_hints(OutputConfigParam)["effort"]) | {""}


@each_model
def test_the_dearest_call_of_a_model_is_within_what_is_reserved(name: str) -> None:
    longest = Usage(cache_write_tokens=LONGEST_PROMPT, output_tokens=MODELS[name].more_tokens)
    assert cost_micros(name, longest) <= SOURCES[SourceName.CLAUDE].max_cost_micros


@each_model
def test_an_answer_that_did_not_fit_gets_more_room(name: str) -> None:
    assert MODELS[name].more_tokens > MODELS[name].max_tokens


def test_the_default_model_has_a_row() -> None:
    assert model_of(DEFAULT) is MODELS[DEFAULT]


def test_the_instructions_leave_half_of_the_longest_prompt_to_the_facts() -> None:
    assert len(INSTRUCTIONS) / 4 < LONGEST_PROMPT / 2


def test_each_kind_of_token_has_its_price() -> None:
    usage = Usage(1_000, 100, 2_000, 10_000)
    # 1,000 x $2 + 100 x $10 + 2,000 x $2.50 + 10,000 x $0.10, each for a million
    assert cost_micros("claude-sonnet-5-5", usage) == 2_000 + 1_000 + 5_000 + 1_000


def test_a_model_is_not_taken_for_one_whose_name_begins_alike() -> None:
    tokens = Usage(cache_read_tokens=1_000_000)
    assert cost_micros("claude-sonnet-5", tokens) == 200_000
    assert cost_micros("claude-sonnet-5-5", tokens) == 100_000


def test_a_name_with_its_day_is_the_model() -> None:
    assert model_of("claude-haiku-4-5-20251001") is MODELS["claude-haiku-4-5"]


def test_an_unknown_model_costs_the_most_and_is_asked_with_the_vendors_own_values() -> None:
    most = max(cost_micros(name, Usage(1_000, 1_000)) for name in MODELS)
    assert cost_micros("claude-next", Usage(1_000, 1_000)) >= most
    assert (UNKNOWN.thinking, UNKNOWN.effort) == ("", "")


def test_a_part_of_a_micro_dollar_is_a_whole_one() -> None:
    assert cost_micros("claude-haiku-5-5", Usage(1)) == 1
