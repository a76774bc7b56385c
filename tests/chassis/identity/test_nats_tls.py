"""NATS over TLS: real handshakes, a client's certificate, changed files, and never in the clear."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import nats.errors
import pytest

from chassis.broker.client import connect, connect_once
from chassis.broker.streams import ensure
from chassis.identity.certificates import PemFiles, client_context
from devstack import servers
from services import topology
from services.cli.operate.services import ServiceName
from tests.certificates import Certificates
from tests.cli.process import prospect
from tests.harness import Services


def configuration(certificates: Certificates) -> str:
    """Return what has the server demand TLS and a client's certificate."""
    return (
        f'tls {{ cert_file: "{certificates.path("server")}"'
        f', key_file: "{certificates.key("server")}"'
        f', ca_file: "{certificates.path("ca")}", verify: true }}\n'
    )


@pytest.fixture
def secure(tmp_path: Path, certificates: Certificates) -> Iterator[servers.Nats]:
    """A NATS that demands TLS and a certificate of its clients."""
    with servers.nats_server(tmp_path / "nats-tls", users=configuration(certificates)) as server:
        yield server


def files_of(certificates: Certificates, client: str) -> PemFiles:
    return PemFiles(
        "nats", certificates.path(client), certificates.key(client), certificates.path("ca")
    )


async def connects(url: str, files: PemFiles) -> bool:
    """Return whether a client with these files is let in."""
    try:
        client = await connect_once(url, "test", tls=client_context(files))
    except (OSError, nats.errors.Error):
        return False
    await client.close()
    return True


async def test_a_client_with_a_certificate_of_the_authority_is_let_in(
    secure: servers.Nats, certificates: Certificates, strangers: Certificates
) -> None:
    assert await connects(secure.url, files_of(certificates, "crm"))
    assert not await connects(secure.url, files_of(strangers, "prospect-metrics"))
    only_trusting = PemFiles("nats", authority=certificates.path("ca"))
    assert not await connects(secure.url, only_trusting)


async def test_with_files_a_server_without_tls_is_refused_before_credentials_are_sent(
    nats_server: servers.Nats, certificates: Certificates
) -> None:
    tls = client_context(files_of(certificates, "crm"))
    with pytest.raises(nats.errors.SecureConnWantedError):
        await connect_once(nats_server.url, "test", tls=tls)
    address = nats_server.url.replace("nats://", "tls://")
    with pytest.raises(nats.errors.SecureConnWantedError):
        await connect_once(address, "test")


async def test_an_open_client_follows_a_change_of_all_certificates(
    secure: servers.Nats, certificates: Certificates, strangers: Certificates
) -> None:
    strangers.issue("crm", "crm")
    tls = client_context(files_of(certificates, "crm"))
    client = await connect(secure.url, "test", tls=tls)
    for file in ("ca", "server", "server-key", "crm", "crm-key"):
        shutil.copy(strangers.path(file), certificates.path(file))
    secure.process.send_signal(signal.SIGHUP)  # the server reads its certificates again
    async with asyncio.timeout(20):
        while not await connects(secure.url, files_of(strangers, "crm")):
            await asyncio.sleep(0.01)
        # As a network that breaks: the client finds its server again, by the new certificates.
        transport = client._transport
        assert transport is not None
        transport.close()  # type: ignore[no-untyped-call]
        while client.stats["reconnects"] < 2 or not client.is_connected:
            await asyncio.sleep(0.01)
    await client.flush()
    await client.close()


async def test_a_service_runs_on_a_nats_that_demands_certificates(
    secure: servers.Nats, certificates: Certificates, services: Services
) -> None:
    files = certificates.settings("nats", "prospect-metrics", "nats_ca_file")
    async with services.running(ServiceName.ACTIVITY, nats_url=secure.url, **files):
        pass


async def test_the_command_publishes_over_tls(
    secure: servers.Nats, certificates: Certificates
) -> None:
    client = await connect(secure.url, "test", tls=client_context(files_of(certificates, "crm")))
    await ensure(client, topology.STREAMS)
    await client.close()
    done = await asyncio.to_thread(
        prospect,
        "events", "publish", "metrics.aggregate.daily", '{"date": "2026-11-24"}',
        PROSPECT_NATS_URL=secure.url,
        PROSPECT_NATS_CA_FILE=str(certificates.path("ca")),
        PROSPECT_NATS_CERTIFICATE_FILE=str(certificates.path("crm")),
        PROSPECT_NATS_KEY_FILE=str(certificates.key("crm")),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
