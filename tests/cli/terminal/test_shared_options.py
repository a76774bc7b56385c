"""The options that all commands share: after a command's name, or before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from services.__main__ import app
from services.cli.terminal.client import Client
from services.cli.terminal.shared_options import ACTIVITY, before_command, calls

SHARED = {"as_json", "address", "token_file", "ca_file", "certificate_file", "key_file"}
CALL_NO_SERVICE = {"activity maintain"}
seen: list[Client] = []
small = typer.Typer(callback=before_command(ACTIVITY))


@small.command("one")
@calls(ACTIVITY)
def one(client: Client, name: str, often: int = 1) -> None:
    """Keep what the client is."""
    assert (name, often) == ("Ada", 2)
    seen.append(client)


@small.command("two")
@calls(ACTIVITY, Path("auditor"))
def two(client: Client) -> None:
    """Keep what the client is."""
    seen.append(client)


def client_of(*arguments: str, **environment: str) -> Client:
    """Run the small command; return the client that it was given."""
    done = CliRunner(env=environment).invoke(small, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return seen.pop()


def commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every command below one, with its name."""
    for each, below in getattr(command, "commands", {}).items():
        yield from commands(below, f"{name} {each}".strip())
    if not hasattr(command, "commands"):
        yield name, command


def test_a_command_has_its_own_options_and_the_shared_ones() -> None:
    assert client_of("one", "Ada", "--often", "2", "--json") == Client(
        "127.0.0.1:8401", Path(".state/dev/token"), None, as_json=True
    )


def test_shared_options_may_stand_before_the_name_of_a_command() -> None:
    given = client_of("--json", "--address", "there:1", "--ca-file", "ca.pem", "two")
    assert given == Client("there:1", Path("auditor"), Path("ca.pem"), as_json=True)


def test_what_stands_after_the_name_of_a_command_counts_for_more_than_what_stands_before() -> None:
    assert client_of("--address", "there:1", "two", "--address", "here:2").address == "here:2"


def test_what_is_written_counts_for_more_than_the_environment() -> None:
    environment = {ACTIVITY.variable: "environment:1"}
    assert client_of("two", **environment).address == "environment:1"
    assert client_of("--address", "there:1", "two", **environment).address == "there:1"


@pytest.mark.parametrize("group", ["activity", "enrich", "usage"])
def test_every_command_that_calls_a_service_shows_them_in_its_help(group: str) -> None:
    for name, command in commands(get_command(app)):
        if name.startswith(f"{group} ") and name not in CALL_NO_SERVICE:
            assert {each.name for each in command.params} >= SHARED, name


def test_the_help_of_every_command_has_an_example() -> None:
    for name, command in commands(get_command(app)):
        assert f"prospect {name}" in command.help, name
