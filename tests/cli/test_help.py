"""`--help` teaches every command by example."""

from __future__ import annotations

import pytest

from tests.cli.process import prospect


@pytest.mark.parametrize("command", ["demo", "dev", "serve", "migrate", "config", "events publish"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = prospect(*command.split(), "--help")
    assert "Example" in done.stdout
