"""Settings: read from the environment; what is missing, wrong or misspelt is named."""

from __future__ import annotations

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.settings import SettingsError, load, refuse_unknown, variables


class Small(BaseSettings):
    """Two settings."""

    model_config = SettingsConfigDict(env_prefix="PROSPECT_")

    pool_size: int = Field(ge=2, description="connections")
    undescribed: str = ""


def test_a_setting_is_read_from_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_POOL_SIZE", "7")
    assert load(Small).pool_size == 7


def test_a_setting_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROSPECT_POOL_SIZE", raising=False)
    with pytest.raises(SettingsError) as refused:
        load(Small)
    assert str(refused.value) == "PROSPECT_POOL_SIZE is not set (see `prospect config`)"


def test_a_setting_that_is_wrong_is_named_with_the_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROSPECT_POOL_SIZE", "1")
    with pytest.raises(SettingsError) as refused:
        load(Small)
    assert str(refused.value) == (
        "PROSPECT_POOL_SIZE is wrong: Input should be greater than or equal to 2"
        " (see `prospect config`)"
    )


def test_each_variable_is_told_with_its_meaning() -> None:
    assert variables(Small) == {"PROSPECT_POOL_SIZE": "connections", "PROSPECT_UNDESCRIBED": ""}


def test_a_variable_that_nothing_reads_is_refused_with_what_is_likely_meant() -> None:
    with pytest.raises(SettingsError) as refused:
        refuse_unknown({"PROSPECT_POOLSIZE": "7"}, ["PROSPECT_LISTEN", "PROSPECT_POOL_SIZE"])
    assert str(refused.value) == (
        "PROSPECT_POOLSIZE is not a setting; did you mean PROSPECT_POOL_SIZE?"
    )


def test_a_variable_that_is_like_none_is_refused_with_where_to_look() -> None:
    with pytest.raises(SettingsError) as refused:
        refuse_unknown({"PROSPECT_QQQQQQQQQQQQQQQQ": "7"}, ["PROSPECT_POOL_SIZE"])
    assert (
        str(refused.value) == "PROSPECT_QQQQQQQQQQQQQQQQ is not a setting (see `prospect config`)"
    )


def test_variables_of_others_and_those_that_are_read_are_let_be() -> None:
    refuse_unknown({"PATH": "", "PROSPECT_POOL_SIZE": "7"}, ["PROSPECT_POOL_SIZE"])
