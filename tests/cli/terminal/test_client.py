"""What a command says when it cannot call its service at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.__main__ import app


def listed(token_file: Path) -> Result:
    """List activities where no service is."""
    address = ("--address", "127.0.0.1:1")
    return CliRunner().invoke(app, ["activity", "list", *address, "--token-file", str(token_file)])


@pytest.mark.parametrize("content", [b"", b"\xff", b"two\nlines", b"two words"])
def test_a_file_that_holds_no_token_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    done = listed(tmp_path / "token")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "token holds no bearer token: it must be a JWT on one line" in done.stderr


def test_a_service_that_does_not_answer_is_named_with_what_to_check(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token\n")
    done = listed(tmp_path / "token")
    assert done.exit_code == 2
    assert "(127.0.0.1:1): is the service running, and --address right?" in done.stderr
