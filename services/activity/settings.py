"""What the activity service reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the activity service reads beside the common settings."""

    postgres_reading_pool_size: int = Field(
        10, ge=1, le=200, description="connections beside the pool's, for pages and single entries"
    )
    retention_days: int = Field(395, ge=31, description="days for which the log is kept (activity)")
    tail_backlog_bytes: int = Field(
        8 * 1024 * 1024,
        ge=1,
        description="bytes of events that may wait for a tail's client before the tail ends",
    )
    tails_backlog_bytes: int = Field(
        64 * 1024 * 1024,
        ge=1,
        description="bytes of events that may wait for the clients of all tails together",
    )
    tail_rest_seconds: float = Field(
        15, gt=0, description="seconds without an entry after which a tail sends an empty response"
    )
    log_signing_key_file: Path = Field(
        description="PEM Ed25519 private key that signs the log's checkpoints"
    )
    log_former_keys_file: Path | None = Field(
        None, description="PEM Ed25519 public keys that signed earlier checkpoints"
    )
