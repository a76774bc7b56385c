"""`prospect certs dev`: an authority, what it has signed, and keys for the owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from tests.cli.in_process import invoke


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


async def test_the_command_writes_certificates_of_one_authority_and_says_how_to_use_them(
    tmp_path: Path,
) -> None:
    done = await invoke(
        "certs", "dev", tmp_path, "--host", "db.example", "--host", "10.0.0.7",
        "--client", "crm", environment={},
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    authority = certificate(tmp_path / "ca.pem")
    for name in ("server", "prospect-metrics", "crm"):
        certificate(tmp_path / f"{name}.pem").verify_directly_issued_by(authority)
    names = certificate(tmp_path / "server.pem").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    hosts = names.value.get_values_for_type(x509.DNSName)
    addresses = map(str, names.value.get_values_for_type(x509.IPAddress))
    assert {"localhost", "db.example"} <= set(hosts)
    assert {"127.0.0.1", "::1", "10.0.0.7"} == set(addresses)
    assert f"PROSPECT_TLS_KEY_FILE={tmp_path}/server-key.pem" in done.output
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {mode for name, mode in modes.items() if name.endswith("-key.pem")} == {0o600}
    assert not [name for name in modes if name.startswith(".")]


async def test_the_command_run_again_changes_certificates_and_keeps_the_authority(
    tmp_path: Path,
) -> None:
    await invoke("certs", "dev", tmp_path, environment={})
    authority, server = certificate(tmp_path / "ca.pem"), certificate(tmp_path / "server.pem")
    await invoke("certs", "dev", tmp_path, environment={})
    assert certificate(tmp_path / "ca.pem") == authority
    assert certificate(tmp_path / "server.pem") != server


async def test_an_authority_that_cannot_be_read_is_named_and_kept(tmp_path: Path) -> None:
    for name in ("ca.pem", "ca-key.pem"):
        (tmp_path / name).write_text("not a certificate")
    done = await invoke("certs", "dev", tmp_path, environment={})
    assert done.exit_code == 2
    assert "cannot be read: delete them" in done.output
    assert (tmp_path / "ca-key.pem").read_text() == "not a certificate"


@pytest.mark.parametrize("option", ["--host", "--client"])
@pytest.mark.parametrize("name", ["", "../elsewhere", "spiffe://prospect/metrics", "two words"])
async def test_what_is_no_name_is_refused_before_anything_is_written(
    tmp_path: Path, option: str, name: str
) -> None:
    wide = {"COLUMNS": "200"}
    done = await invoke("certs", "dev", tmp_path / "new", option, name, environment=wide)
    assert done.exit_code == 2
    assert "is neither a name nor an address" in done.output
    assert not (tmp_path / "new").exists()
