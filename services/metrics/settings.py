"""What the metrics service reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the metrics service reads beside the common settings."""

    activity_address: str = Field(description="host:port of the activity service (metrics)")
    activity_token_file: Path = Field(
        description="file with a token that has the scope activity:audit (metrics)"
    )
    activity_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed activity's certificate (metrics)"
    )
