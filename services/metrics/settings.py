"""What the metrics service reads from its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from chassis.settings import ServiceSettings


class Settings(ServiceSettings):
    """What the metrics service reads beside the common settings."""

    activity_address: str = Field(description="host:port of the activity service (metrics)")
    activity_token_file: Path | None = Field(
        None,
        description="file with a token that has the scope activity:audit; not needed where "
        "activity knows metrics by its certificate (metrics)",
    )
    activity_ca_file: Path | None = Field(
        None, description="PEM of the authority that signed activity's certificate (metrics)"
    )
    activity_certificate_file: Path | None = Field(
        None, description="PEM chain with which metrics calls activity (metrics)"
    )
    activity_key_file: Path | None = Field(None, description="PEM key of that certificate")
