"""The limits that gRPC itself keeps, before a call comes to our code."""

from __future__ import annotations

from chassis.settings import ServiceSettings

SERVER_PING_SECONDS = 30


def server_options(settings: ServiceSettings) -> list[tuple[str, int]]:
    """Return the options of a gRPC server that keeps the settings' limits."""
    size = settings.max_message_mb * 1024 * 1024
    metadata = settings.max_metadata_kb * 1024
    return [
        ("grpc.max_receive_message_length", size),
        ("grpc.max_send_message_length", size),
        # Between the two, gRPC would refuse some of the calls by chance.
        ("grpc.max_metadata_size", metadata),
        ("grpc.absolute_max_metadata_size", metadata),
        ("grpc.max_concurrent_streams", settings.max_calls_per_connection),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", _milliseconds(settings.connection_idle_seconds)),
        ("grpc.max_connection_age_ms", _milliseconds(settings.connection_age_seconds)),
        ("grpc.max_connection_age_grace_ms", _milliseconds(settings.connection_grace_seconds)),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", SERVER_PING_SECONDS * 1000),
        # A client may ping while it has no call; gRPC's own limit then is once in two hours.
        ("grpc.keepalive_permit_without_calls", 1),
        (
            "grpc.http2.min_ping_interval_without_data_ms",
            _milliseconds(settings.client_ping_seconds),
        ),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
