"""Settings: environment variables named PROSPECT_…, typed, checked at start, told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.errors import OperatorError

PREFIX = "PROSPECT_"
S = TypeVar("S", bound=BaseSettings)


class SettingsError(OperatorError):
    """A setting is missing, wrong or unknown; the text names the variable and the fix."""


class ServiceSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    listen: str = Field("0.0.0.0:50051", description="host:port that gRPC listens on")
    postgres_dsn: SecretStr = Field(description="DSN of the service's own role, <service>_app")
    postgres_pool_size: int = Field(10, ge=2, le=200, description="connections held at most")
    nats_url: str = Field(description="NATS server, such as nats://nats:4222")
    nats_credentials_file: Path | None = Field(None, description="NATS .creds file")
    auth_public_key: str = Field("", description="PEM public key that tokens are signed with")
    auth_jwks_url: str = Field("", description="JWKS address, instead of auth_public_key")
    auth_issuer: str = Field("prospect", description="iss that tokens must carry")
    auth_audience: str = Field("prospect", description="aud that tokens must carry")
    auth_leeway_seconds: float = Field(
        30, ge=0, le=300, description="how far the issuer's clock may be behind or ahead"
    )
    token_keys: SecretStr = Field(
        SecretStr(""),
        description="secrets that sign page and resume tokens, 32 characters or more each, with "
        "spaces between: the first signs, all verify; empty means one that the database keeps",
    )
    tls_certificate_file: Path | None = Field(None, description="PEM chain; absent means no TLS")
    tls_key_file: Path | None = Field(None, description="PEM key of the certificate")
    max_message_mb: int = Field(4, ge=1, le=64, description="largest gRPC message in megabytes")
    max_metadata_kb: int = Field(
        32, ge=8, le=1024, description="largest metadata of a call in kilobytes, its token included"
    )
    max_connections: int = Field(
        2_000, ge=10, description="connections of clients at once; more are closed at once"
    )
    max_calls_per_connection: int = Field(
        1_000, ge=1, description="calls open on one connection; more wait at the client"
    )
    connection_idle_seconds: float = Field(
        900, gt=0, description="a connection without a call is closed after so long"
    )
    connection_age_seconds: float = Field(
        120,
        gt=0,
        description="a connection gets no new call after about so long: its client connects anew "
        "and finds new replicas",
    )
    connection_grace_seconds: float = Field(
        3_600,
        gt=0,
        description="how much longer the calls of such a connection have; then streams are cut off",
    )
    client_ping_seconds: float = Field(
        8, gt=0, description="a client that pings more often than this is disconnected"
    )
    first_message_seconds: float = Field(
        10, gt=0, description="within so long the request of a call must have arrived"
    )
    deadline_seconds: float = Field(
        30, gt=0, description="deadline of a unary call whose caller set none, and the longest"
    )
    drain_seconds: float = Field(4, gt=0, description="grace for calls in flight after SIGTERM")
    reflection: bool = Field(False, description="serve gRPC reflection (development)")
    metrics_listen: str = Field(
        "", description="host:port where Prometheus reads metrics, over plain HTTP; empty is none"
    )
    log_level: str = Field("info", description="debug, info, warning or error")


def load(cls: type[S]) -> S:
    """Read the settings of `cls` from the environment; raise SettingsError in one clear line."""
    try:
        return cls()
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in first['loc'])}".upper()
        what = "is not set" if first["type"] == "missing" else f"is wrong: {first['msg']}"
        raise SettingsError(f"{name} {what} (see `prospect config`)") from None


def variables(cls: type[BaseSettings]) -> dict[str, str]:
    """Return each variable that `cls` reads and what it means."""
    fields = cls.model_fields.items()
    return {f"{PREFIX}{name}".upper(): field.description or "" for name, field in fields}


def refuse_unknown(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise SettingsError for a PROSPECT_ variable that nothing reads: it is likely misspelt."""
    names = set(known)
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else " (see `prospect config`)"
            raise SettingsError(f"{name} is not a setting{hint}")
