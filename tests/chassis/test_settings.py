"""Settings: read from the environment; what is missing, wrong or misspelt is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.settings import (
    ServiceSettings,
    SettingsError,
    is_secret,
    load,
    refuse_unknown,
    variables,
)
from services.cli.operate.services import ServiceName, known_variables, settings_of


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


@pytest.mark.parametrize(
    ("name", "setting"), [("LOG_FORMAT", "LOG_LEVEL"), ("POOL_LIMIT", "POOL_SIZE")]
)
def test_a_setting_that_shares_little_but_the_prefix_is_not_suggested(
    name: str, setting: str
) -> None:
    with pytest.raises(SettingsError, match=r"is not a setting \(see `prospect config`\)"):
        refuse_unknown({f"PROSPECT_{name}": "x"}, [f"PROSPECT_{setting}"])


def test_variables_of_others_and_those_that_are_read_are_let_be() -> None:
    refuse_unknown({"PATH": "", "PROSPECT_POOL_SIZE": "7"}, ["PROSPECT_POOL_SIZE"])


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Set what every service needs, but for the DSN; return the file in which that is to be."""
    monkeypatch.setenv("PROSPECT_NATS_URL", "nats://nats:4222")
    monkeypatch.setenv("PROSPECT_POSTGRES_DSN_FILE", str(tmp_path / "dsn"))
    return tmp_path / "dsn"


def test_a_secret_is_read_from_the_file_that_its_variable_names(common: Path) -> None:
    common.write_text("postgresql://app:secret@db/prospect\n")
    settings = load(ServiceSettings)
    assert settings.postgres_dsn.get_secret_value() == "postgresql://app:secret@db/prospect"
    assert "secret@" not in repr(settings)


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file or directory"), (b"", "is empty"), (b"\xff", "is no text")],
)
def test_a_file_without_a_secret_stops_the_start_and_is_named(
    common: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        common.write_bytes(content)
    with pytest.raises(SettingsError, match=f"PROSPECT_POSTGRES_DSN_FILE: {common}:? {why}"):
        load(ServiceSettings)


def test_a_secret_given_twice_stops_the_start(
    common: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common.write_text("one")
    monkeypatch.setenv("PROSPECT_POSTGRES_DSN", "another")
    with pytest.raises(SettingsError, match="are both set: unset one") as refused:
        load(ServiceSettings)
    assert "another" not in str(refused.value)


def test_every_secret_may_be_in_a_file() -> None:
    known = known_variables()
    for name in ServiceName:
        for field, setting in settings_of(name).model_fields.items():
            if is_secret(setting):
                assert f"PROSPECT_{field.upper()}_FILE" in known


def test_what_has_a_secrets_name_is_one() -> None:
    fields = {
        name: field
        for service in ServiceName
        for name, field in settings_of(service).model_fields.items()
        if name.endswith(("_key", "_keys", "_dsn", "_password", "_secret"))
    }
    assert [name for name, field in fields.items() if not is_secret(field)] == ["auth_public_key"]
