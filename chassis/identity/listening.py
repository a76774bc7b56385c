"""The ports that gRPC listens on: plaintext, TLS, or TLS that demands the client's certificate."""

from __future__ import annotations

import grpc

from chassis.identity.certificates import PemFiles, server_credentials
from chassis.settings import ServiceSettings, SettingsError


def listen(server: grpc.aio.Server, settings: ServiceSettings) -> list[int]:
    """Have the server listen where the settings say; return the ports.

    Raises SettingsError where it cannot, and where they contradict each other: what asks for TLS
    is never served without. gRPC for Python demands certificates of all clients of a port or of
    none, hence the second port.
    """
    files = PemFiles.of(settings, "tls", authority="client_ca_file")
    _refuse_contradictions(settings, files)
    second = settings.mutual_tls_listen
    credentials = None
    if files.certificate:
        demand = files.authority is not None and not second
        credentials = server_credentials(files, demand_client=demand)
    ports = [open_port(server, "PROSPECT_LISTEN", settings.listen, credentials)]
    if second:
        mutual = server_credentials(files, demand_client=True)
        ports.append(open_port(server, "PROSPECT_MUTUAL_TLS_LISTEN", second, mutual))
    return ports


def _refuse_contradictions(settings: ServiceSettings, files: PemFiles) -> None:
    needs = [
        ("TLS_CLIENT_CA_FILE", files.authority, "TLS_CERTIFICATE_FILE", files.certificate),
        ("MUTUAL_TLS_LISTEN", settings.mutual_tls_listen, "TLS_CLIENT_CA_FILE", files.authority),
        ("SERVICE_CALLERS", settings.service_callers, "TLS_CLIENT_CA_FILE", files.authority),
    ]
    for name, given, needed, is_there in needs:
        if given and not is_there:
            raise SettingsError(f"PROSPECT_{name} is set without PROSPECT_{needed}")


def open_port(
    server: grpc.aio.Server,
    variable: str,
    address: str,
    credentials: grpc.ServerCredentials | None = None,
) -> int:
    """Have the server listen at an address and return the port.

    Raises SettingsError, which names the variable.
    """
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError:  # gRPC tells why in its own log line only
        text = f"{address} is in use, or is no host:port of this machine"
        raise SettingsError(f"{variable}: {text}") from None
