"""gRPC with TLS and with clients' certificates: real handshakes, changed files, refused starts."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from structlog.testing import capture_logs

from chassis.identity.listening import listen
from chassis.settings import ServiceSettings, SettingsError
from devstack import servers
from services.cli.operate.services import ServiceName
from tests.certificates import Certificates
from tests.harness import Identity, Services, channel_to

ACTIVITY = ServiceName.ACTIVITY


async def answers(address: str, credentials: grpc.ChannelCredentials | None) -> bool:
    """Return whether a new connection with these credentials is served."""
    async with channel_to(address, credentials) as channel:
        call = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        code = await call.code()
    assert code in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)
    return code is grpc.StatusCode.OK


def shown_certificate(address: str, trust: Certificates) -> x509.Certificate:
    """Return the certificate that a new connection is shown, once it has been verified."""
    host, port = address.split(":")
    context = ssl.create_default_context(cafile=trust.path("ca"))
    with (
        socket.create_connection((host, int(port))) as connection,
        context.wrap_socket(connection, server_hostname=host) as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown
    return x509.load_der_x509_certificate(shown)


def in_file(certificates: Certificates, file: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificates.path(file).read_bytes())


async def test_with_a_certificate_nothing_is_served_in_the_clear(
    services: Services, certificates: Certificates, strangers: Certificates
) -> None:
    trusting = certificates.credentials()
    async with services.running(
        ACTIVITY, credentials=trusting, **certificates.settings("tls", "server")
    ):
        address = services.addresses[ACTIVITY]
        assert await answers(address, trusting)
        assert not await answers(address, None)
        assert not await answers(address, strangers.credentials())


async def test_with_an_authority_of_clients_only_its_clients_are_served(
    services: Services, certificates: Certificates, strangers: Certificates
) -> None:
    known = certificates.credentials("crm")
    settings = certificates.settings("tls", "server", "tls_client_ca_file")
    async with services.running(ACTIVITY, credentials=known, **settings):
        address = services.addresses[ACTIVITY]
        assert await answers(address, known)
        assert not await answers(address, certificates.credentials())
        shutil.copy(certificates.path("ca"), strangers.path("server-ca"))
        forged = strangers.credentials("prospect-metrics", trust="server-ca")
        assert not await answers(address, forged)


async def test_a_second_port_demands_certificates_and_the_first_does_not(
    services: Services, certificates: Certificates
) -> None:
    second = f"127.0.0.1:{servers.free_port()}"
    settings = certificates.settings("tls", "server", "tls_client_ca_file")
    bare = certificates.credentials()
    async with services.running(ACTIVITY, credentials=bare, **settings, mutual_tls_listen=second):
        assert await answers(services.addresses[ACTIVITY], bare)
        assert await answers(second, certificates.credentials("crm"))
        assert not await answers(second, bare)


async def test_a_changed_certificate_is_shown_to_the_next_client(
    services: Services, certificates: Certificates
) -> None:
    trusting = certificates.credentials()
    async with services.running(
        ACTIVITY, credentials=trusting, **certificates.settings("tls", "server")
    ) as channel:
        address = services.addresses[ACTIVITY]
        first = in_file(certificates, "server")
        assert await asyncio.to_thread(shown_certificate, address, certificates) == first
        certificates.issue("server")
        second = await asyncio.to_thread(shown_certificate, address, certificates)
        assert second == in_file(certificates, "server") != first
        # The connection from before goes on.
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


async def test_files_that_cannot_be_used_leave_the_former_certificate_in_use(
    services: Services, certificates: Certificates, strangers: Certificates
) -> None:
    trusting = certificates.credentials()
    async with services.running(
        ACTIVITY, credentials=trusting, **certificates.settings("tls", "server")
    ):
        address = services.addresses[ACTIVITY]
        first = in_file(certificates, "server")
        with capture_logs() as logs:
            shutil.copy(strangers.path("server"), certificates.path("server"))
            assert await asyncio.to_thread(shown_certificate, address, certificates) == first
            certificates.path("server").unlink()
            assert await asyncio.to_thread(shown_certificate, address, certificates) == first
        told = [each["error"] for each in logs if each["event"] == "certificates not read"]
        assert "the key is not the certificate's" in told
        shutil.copy(strangers.path("server"), certificates.path("server"))
        shutil.copy(strangers.key("server"), certificates.key("server"))
        shown = await asyncio.to_thread(shown_certificate, address, strangers)
        assert shown == in_file(strangers, "server")


async def test_clients_of_a_changed_authority_are_served_without_a_restart(
    services: Services, certificates: Certificates, strangers: Certificates
) -> None:
    known = certificates.credentials("crm")
    settings = certificates.settings("tls", "server", "tls_client_ca_file")
    settings["tls_client_ca_file"] = certificates.folder / "clients.pem"
    shutil.copy(certificates.path("ca"), settings["tls_client_ca_file"])
    shutil.copy(certificates.path("ca"), strangers.path("server-ca"))
    newcomer = strangers.credentials("prospect-metrics", trust="server-ca")
    async with services.running(ACTIVITY, credentials=known, **settings):
        address = services.addresses[ACTIVITY]
        assert not await answers(address, newcomer)
        shutil.copy(strangers.path("ca"), settings["tls_client_ca_file"])
        assert await answers(address, newcomer)
        assert not await answers(address, known)


async def test_probes_without_tls_have_a_port_of_their_own_and_nothing_but_health(
    services: Services, certificates: Certificates, ours: Identity
) -> None:
    probes = f"127.0.0.1:{servers.free_port()}"
    settings = certificates.settings("tls", "server", "tls_client_ca_file")
    known = certificates.credentials("crm")
    async with (
        services.running(ACTIVITY, credentials=known, **settings, health_listen=probes),
        channel_to(probes, None) as channel,
    ):
        assert await answers(probes, None)
        call = activity_api.ActivityServiceStub(channel).ListActivities(
            pb.ListActivitiesRequest(), metadata=ours.metadata()
        )
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED


REFUSED: Mapping[str, Mapping[str, str]] = {
    "TLS_CERTIFICATE_FILE is set without PROSPECT_TLS_KEY_FILE": {"tls_certificate_file": "server"},
    "TLS_KEY_FILE is set without PROSPECT_TLS_CERTIFICATE_FILE": {"tls_key_file": "server-key"},
    "POSTGRES_KEY_FILE is set without PROSPECT_POSTGRES_C": {"postgres_key_file": "server-key"},
    "NATS_CERTIFICATE_FILE is set without PROSPECT_NATS_K": {"nats_certificate_file": "server"},
    "TLS_CLIENT_CA_FILE is set without PROSPECT_TLS_CERTIFICATE_FILE": {"tls_client_ca_file": "ca"},
    "the key is not the certificate's": {
        "tls_certificate_file": "server", "tls_key_file": "crm-key",
    },
    "No such file or directory": {"tls_certificate_file": "server", "tls_key_file": "none"},
    "Unable to load PEM": {"tls_certificate_file": "server-key", "tls_key_file": "server-key"},
}  # fmt: skip


@pytest.mark.parametrize(("why", "files"), REFUSED.items())
async def test_certificates_that_are_not_whole_stop_the_start(
    services: Services, certificates: Certificates, why: str, files: Mapping[str, str]
) -> None:
    settings: dict[str, Any] = {name: certificates.path(file) for name, file in files.items()}
    with pytest.raises(SettingsError, match=f"PROSPECT_.*{why}"):
        async with services.running(ACTIVITY, **settings):
            pytest.fail("it runs")


@pytest.mark.parametrize("setting", ["mutual_tls_listen", "service_callers"])
async def test_what_needs_clients_certificates_is_refused_without_their_authority(
    services: Services, certificates: Certificates, setting: str
) -> None:
    given = certificates.settings("tls", "server") | {setting: "127.0.0.1:0=activity:audit"}
    text = f"^PROSPECT_{setting.upper()} is set without PROSPECT_TLS_CLIENT_CA_FILE$"
    with pytest.raises(SettingsError, match=text):
        async with services.running(ACTIVITY, **given):
            pytest.fail("it runs")


@pytest.mark.parametrize("setting", ["listen", "mutual_tls_listen"])
async def test_a_port_that_is_in_use_is_told_with_its_setting(
    certificates: Certificates, setting: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        given = certificates.settings("tls", "server", "tls_client_ca_file")
        values: dict[str, Any] = {"postgres_dsn": "x", "nats_url": "x", "listen": "127.0.0.1:0"}
        settings = ServiceSettings(**(values | given | {setting: address}))
        text = (
            f"^PROSPECT_{setting.upper()}: {address} is in use, or is no host:port of this machine$"
        )
        with pytest.raises(SettingsError, match=text):
            listen(grpc.aio.server(options=[("grpc.so_reuseport", 0)]), settings)
