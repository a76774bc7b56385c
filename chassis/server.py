"""The gRPC server: its limits, and where it listens."""

from __future__ import annotations

import grpc

from chassis.settings import ServiceSettings, SettingsError


def create_server(settings: ServiceSettings) -> grpc.aio.Server:
    """Build the server, listening where the settings say, not yet started.

    Raises SettingsError where it cannot listen there.
    """
    size = settings.max_message_mb * 1024 * 1024
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", size),
            ("grpc.max_send_message_length", size),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    try:
        _listen(server, settings)
    except RuntimeError:  # gRPC tells why in its own log line only
        text = f"{settings.listen} is in use, or is no host:port of this machine"
        raise SettingsError(f"PROSPECT_LISTEN: {text}") from None
    return server


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> None:
    if settings.tls_certificate_file and settings.tls_key_file:
        pair = (settings.tls_key_file.read_bytes(), settings.tls_certificate_file.read_bytes())
        server.add_secure_port(settings.listen, grpc.ssl_server_credentials([pair]))
    else:
        server.add_insecure_port(settings.listen)
