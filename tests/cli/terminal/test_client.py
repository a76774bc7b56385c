"""What a command says when it cannot call its service at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.__main__ import app
from services.cli.operate.services import ServiceName
from tests.certificates import Certificates
from tests.cli.in_process import invoke
from tests.harness import Identity, Services


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


async def test_a_command_calls_a_service_that_demands_a_certificate(
    quiet: None, services: Services, ours: Identity, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    certificates.issue("server")
    certificates.issue("operator", "operator")
    (tmp_path / "token").write_text(ours.metadata()[0][1].split()[1])
    settings = certificates.settings("tls", "server", "tls_client_ca_file")
    credentials = certificates.credentials("operator")
    async with services.running(ServiceName.ACTIVITY, credentials=credentials, **settings):
        call: list[object] = [
            "activity", "list", "--address", services.addresses[ServiceName.ACTIVITY],
            "--token-file", tmp_path / "token", "--ca-file", certificates.path("ca"),
        ]  # fmt: skip
        certificate = ["--certificate-file", certificates.path("operator")]
        key = ["--key-file", certificates.key("operator")]
        assert (await invoke(*call, *certificate, *key, environment={})).exit_code == 0
        assert "unavailable" in (await invoke(*call, environment={})).stderr
        half = await invoke(*call, *certificate, environment={})
        assert "--certificate-file and --key-file come together" in half.stderr
        other = await invoke(*call, *certificate, "--key-file", certificates.key("server"),
                             environment={})  # fmt: skip
        assert "the key is not the certificate's" in other.stderr
