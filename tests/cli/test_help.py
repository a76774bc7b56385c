"""`--help` teaches every command by example."""

from __future__ import annotations

import pytest

from tests.cli.process import prospect

COMMANDS = (
    "demo", "dev", "serve", "migrate", "config", "events publish", "streams diff", "streams apply",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = prospect(*command.split(), "--help")
    assert "Example" in done.stdout
