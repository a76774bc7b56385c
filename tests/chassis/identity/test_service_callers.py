"""A service that calls by its certificate has the scopes that the setting gives it, no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from cryptography import x509
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as activity_api
from prospect.metrics.v1 import metrics_service_pb2 as metrics_pb
from prospect.metrics.v1 import metrics_service_pb2_grpc as metrics_api

from chassis.auth import Caller
from chassis.clock import utc_now
from chassis.identity.service_callers import NOBODY, ServiceCallers
from chassis.settings import SettingsError
from services.cli.operate.services import ServiceName
from tests.certificates import Certificates
from tests.harness import Identity, Services, channel_to

ACTIVITY, METRICS = ServiceName.ACTIVITY, ServiceName.METRICS
TODAY = utc_now().date().isoformat()
DAY = pb.ListDayDigestsRequest(date=TODAY)


def settings_of(certificates: Certificates, callers: str) -> dict[str, Any]:
    return certificates.settings("tls", "server", "tls_client_ca_file") | {
        "service_callers": callers
    }


async def code_of(
    address: str, credentials: grpc.ChannelCredentials, metadata: Any = ()
) -> grpc.StatusCode:
    """Return how a call that needs activity:audit ends."""
    async with channel_to(address, credentials) as channel:
        try:
            await activity_api.ActivityServiceStub(channel).ListDayDigests(DAY, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_a_certificate_stands_for_a_token_with_the_scopes_of_its_service(
    services: Services, certificates: Certificates, ours: Identity
) -> None:
    known = certificates.credentials("prospect-metrics")
    settings = settings_of(certificates, "prospect-metrics=activity:audit, crm=activity:read")
    async with services.running(ACTIVITY, credentials=known, **settings):
        address = services.addresses[ACTIVITY]
        assert await code_of(address, known) is grpc.StatusCode.OK
        other = certificates.credentials("crm")
        assert await code_of(address, other) is grpc.StatusCode.PERMISSION_DENIED
        certificates.issue("nobody", "prospect-metrics.example", "prospect_metrics")
        nobody = certificates.credentials("nobody")
        assert await code_of(address, nobody) is grpc.StatusCode.UNAUTHENTICATED
        # A token says who calls, also where it says less.
        metadata = ours.metadata("activity:read")
        assert await code_of(address, known, metadata) is grpc.StatusCode.PERMISSION_DENIED


async def test_a_certificates_service_has_no_tenant(
    services: Services, certificates: Certificates
) -> None:
    known = certificates.credentials("prospect-metrics")
    settings = settings_of(certificates, "prospect-metrics=activity:read")
    async with services.running(ACTIVITY, credentials=known, **settings) as channel:
        stub = activity_api.ActivityServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="names no tenant_id"):
            await stub.ListActivities(pb.ListActivitiesRequest())


async def test_the_common_name_counts_only_without_alternative_names(
    services: Services, certificates: Certificates
) -> None:
    certificates.issue("renamed", "prospect-metrics", "crm")
    renamed = certificates.credentials("renamed")
    settings = settings_of(certificates, "crm=activity:audit")
    async with services.running(ACTIVITY, credentials=renamed, **settings):
        assert await code_of(services.addresses[ACTIVITY], renamed) is grpc.StatusCode.OK


async def is_equal(stub: metrics_api.MetricsServiceAsyncStub, who: Identity) -> bool:
    """Have metrics compare today with the log; return whether it found no difference."""
    request = metrics_pb.VerifyUsageRequest(start_date=TODAY, end_date=TODAY)
    answers = stub.VerifyUsage(request, metadata=who.metadata("metrics:audit"))
    return not any([each.findings async for each in answers])


async def test_metrics_audits_the_log_without_a_token(
    services: Services, certificates: Certificates, ours: Identity
) -> None:
    known = certificates.credentials("prospect-metrics")
    settings = settings_of(certificates, "prospect-metrics=activity:audit")
    async with services.running(ACTIVITY, credentials=known, **settings):
        calling = certificates.settings("activity", "prospect-metrics", "activity_ca_file")
        calling["activity_address"] = services.addresses[ACTIVITY]
        async with services.running(METRICS, **calling) as channel:
            stub = metrics_api.MetricsServiceStub(channel)
            assert await is_equal(stub, ours)
            certificates.issue("prospect-metrics", "somebody-else")
            with pytest.raises(grpc.aio.AioRpcError):
                await is_equal(stub, ours)
            certificates.issue("prospect-metrics", "prospect-metrics")
            assert await is_equal(stub, ours)


async def test_metrics_without_a_token_or_a_certificate_does_not_start(services: Services) -> None:
    with pytest.raises(SettingsError, match="neither PROSPECT_ACTIVITY_TOKEN_FILE nor"):
        async with services.running(METRICS, activity_address="127.0.0.1:1"):
            pytest.fail("it runs")


@pytest.mark.parametrize("wrong", ["prospect-metrics", "=activity:audit", "a=", "a=b,c"])
def test_a_setting_of_another_form_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="PROSPECT_SERVICE_CALLERS is wrong"):
        ServiceCallers(wrong)


class Connection:
    """The end of a connection whose client has a certificate with these names."""

    def __init__(self, certificates: Certificates, **names: list[bytes]) -> None:
        pem = certificates.path("crm").read_bytes()
        self._peer = {f"x509_{name}": found for name, found in names.items()}
        self._peer["x509_pem_cert"] = [pem]
        self.expires_at = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()

    def auth_context(self) -> Mapping[str, list[bytes]]:
        return self._peer


def found(connection: Any, setting: str = "crm=activity:audit activity:read") -> Caller | None:
    return ServiceCallers(setting).find(connection)


def test_the_service_is_who_calls_until_its_certificate_expires(certificates: Certificates) -> None:
    named = Connection(certificates, subject_alternative_name=[b"other", b"crm"])
    scopes = frozenset({"activity:audit", "activity:read"})
    assert found(named) == Caller(NOBODY, None, scopes, named.expires_at)


def test_a_certificate_without_alternative_names_is_known_by_its_common_name(
    certificates: Certificates,
) -> None:
    assert found(Connection(certificates, common_name=[b"crm"]))
    both = Connection(certificates, common_name=[b"crm"], subject_alternative_name=[b"other"])
    assert found(both) is None


def test_a_name_that_is_no_text_is_nobodys(certificates: Certificates) -> None:
    assert found(Connection(certificates, common_name=[b"\xff"])) is None


def test_a_certificates_name_may_have_an_equals_sign(certificates: Certificates) -> None:
    named = Connection(certificates, common_name=[b"spiffe://x?a=b"])
    caller = found(named, "spiffe://x?a=b=activity:read")
    assert caller
    assert caller.scopes == {"activity:read"}
