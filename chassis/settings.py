"""Settings: environment variables named PROSPECT_…, typed, checked at start, told in one line.

A secret may stand in a file instead, which the variable `…_FILE` names, as Kubernetes mounts it.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from pydantic import Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from chassis.admission.tenants import TenantLimits
from chassis.errors import OperatorError

PREFIX = "PROSPECT_"
CUTOFF = 0.75  # how alike, beyond the prefix, a setting must be to be what was meant
FILE = "_FILE"
S = TypeVar("S", bound=BaseSettings)


class SettingsError(OperatorError):
    """A setting is missing, wrong or unknown; the text names the variable and the fix."""


def is_secret(field: FieldInfo) -> bool:
    """Return whether a setting may be given in a file, and is not shown."""
    return field.annotation is SecretStr


def read_secret(variable: str, environment: Mapping[str, str]) -> str | None:
    """Return the secret that a variable holds, or that the file does which `…_FILE` names.

    Raises SettingsError where both are set, and where the file has nothing to read.
    """
    given, path = environment.get(variable), environment.get(f"{variable}{FILE}")
    if not path:
        return given
    if given is not None:
        raise SettingsError(f"{variable} and {variable}{FILE} are both set: unset one")
    try:
        secret = Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{variable}{FILE}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}{FILE}: {path} is no text") from None
    if not secret:
        raise SettingsError(f"{variable}{FILE}: {path} is empty")
    return secret


class _SecretFiles(PydanticBaseSettingsSource):
    """Has pydantic read each secret with `read_secret`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        variable = f"{PREFIX}{field_name}".upper()
        secret = read_secret(variable, os.environ) if is_secret(field) else None
        return secret, field_name, False

    def __call__(self) -> dict[str, Any]:
        fields = self.settings_cls.model_fields.items()
        secrets = {name: self.get_field_value(field, name)[0] for name, field in fields}
        return {name: secret for name, secret in secrets.items() if secret is not None}


class EnvironmentSettings(BaseSettings):
    """Settings that are read from the environment, and from the files of secrets that it names."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and the files of secrets."""
        return init_settings, _SecretFiles(settings_cls), env_settings


class PostgresFiles(EnvironmentSettings):
    """The files of TLS to Postgres; without them its DSN says whether there is TLS."""

    postgres_ca_file: Path | None = Field(
        None,
        description="PEM of the authority that signed Postgres' certificate; with any of these "
        "three files TLS is demanded and the server's name verified",
    )
    postgres_certificate_file: Path | None = Field(
        None, description="PEM chain of the role's own certificate for Postgres"
    )
    postgres_key_file: Path | None = Field(None, description="PEM key of that certificate")


class NatsFiles(EnvironmentSettings):
    """The files of TLS to NATS; without them, and without tls:// in its address, there is none."""

    nats_ca_file: Path | None = Field(
        None,
        description="PEM of the authority that signed NATS' certificate; with any of these three "
        "files, or tls:// in the address, TLS is demanded and the server's name verified",
    )
    nats_certificate_file: Path | None = Field(
        None, description="PEM chain of the service's own certificate for NATS"
    )
    nats_key_file: Path | None = Field(None, description="PEM key of that certificate")


class StreamSettings(EnvironmentSettings):
    """What the operator says of streams; services declare it of those that they own."""

    nats_stream_max_mb: int = Field(
        0,
        ge=0,
        description="largest size of each stream that the service owns, which the broker sets "
        "aside when the stream is made; a full one refuses events, which wait; 0 is no limit",
    )
    nats_max_event_kb: int = Field(
        0, ge=0, description="largest event in those streams; 0 is the broker's max_payload"
    )
    nats_stream_replicas: int = Field(
        0,
        ge=0,
        le=5,
        description="nodes that keep each of those streams; 0 is as it is, or 1",
    )
    nats_stream_tags: str = Field(
        "", description="tags of the nodes that keep those streams, with commas between"
    )


class ServiceSettings(PostgresFiles, NatsFiles, StreamSettings):
    """What every service reads."""

    listen: str = Field("0.0.0.0:50051", description="host:port that gRPC listens on")
    postgres_dsn: SecretStr = Field(description="DSN of the service's own role, <service>_app")
    postgres_pool_size: int = Field(10, ge=2, le=200, description="connections held at most")
    postgres_idle_transaction_seconds: float = Field(
        30, gt=0, description="a replica that is silent in a transaction loses it, and its locks"
    )
    postgres_lock_seconds: float = Field(
        30, gt=0, description="how long a statement waits for a lock; then it is tried again"
    )
    postgres_silence_seconds: float = Field(
        10, ge=2, description="a connection to Postgres that nothing comes through is given up"
    )
    postgres_acquire_seconds: float = Field(
        5, gt=0, description="how long a call waits for a connection before it is UNAVAILABLE"
    )
    nats_url: SecretStr = Field(
        description="NATS servers, any of which will do, with commas between, such as "
        "nats://nats-0:4222,nats://nats-1:4222"
    )
    nats_silence_seconds: float = Field(
        6, ge=1, description="a connection to NATS that nothing comes through is given up"
    )
    nats_credentials_file: Path | None = Field(
        None, description="file with the service's JWT and seed for NATS (.creds)"
    )
    nats_nkey_seed_file: Path | None = Field(
        None, description="file with the seed of the service's NKey for NATS, instead of a .creds"
    )
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
    tls_client_ca_file: Path | None = Field(
        None, description="PEM of the authority of clients' certificates, which are then demanded"
    )
    mutual_tls_listen: str = Field(
        "", description="host:port where they are demanded, and not on `listen`; empty is `listen`"
    )
    health_listen: str = Field(
        "", description="host:port of gRPC health alone, without TLS, for probes; empty is none"
    )
    service_callers: str = Field(
        "",
        description="services that call with a certificate and no token, by its alternative name: "
        "name=scope scope, name=scope",
    )
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
        45,
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
    stalled_client_seconds: float = Field(
        60,
        gt=0,
        description="after so long a stream whose client takes nothing is given up",
    )
    max_calls: int = Field(2_000, ge=10, description="calls open at once in a replica")
    max_calls_in_work: int = Field(
        128, ge=2, description="unary calls served at once in a replica; others wait unread"
    )
    message_memory_mb: int = Field(
        32,
        ge=1,
        description="megabytes that large requests and answers may have at once in a replica; "
        "decoded, a request takes about five times its size",
    )
    expensive_calls: int = Field(
        0,
        ge=0,
        description="exports, counts and verifications that run at once in a replica; 0 is half of "
        "the pool's connections",
    )
    queue_seconds: float = Field(
        5,
        gt=0,
        description="how long a call waits for work, memory or a limit before it is refused",
    )
    tenant_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="the part of each limit, such as calls or memory, that one tenant may hold",
    )
    reads_per_second: float = Field(
        5_000, ge=0, description="of one tenant at a replica; 0 is no limit"
    )
    writes_per_second: float = Field(
        5_000, ge=0, description="of one tenant at a replica; 0 is no limit"
    )
    expensive_per_second: float = Field(
        200, ge=0, description="of one tenant at a replica; 0 is no limit"
    )
    burst_seconds: float = Field(
        10,
        ge=0,
        description="how many seconds of its rate a quiet tenant may spend at once",
    )
    tenant_limits: dict[UUID, TenantLimits] = Field(
        {},
        description="what single tenants have instead, as JSON: "
        '{"<tenant>": {"share": 0.2, "read": 100, "write": 50, "expensive": 1}}',
    )
    deadline_seconds: float = Field(
        30, gt=0, description="deadline of a unary call whose caller set none, and the longest"
    )
    drain_pause_seconds: float = Field(
        5,
        ge=0,
        description="after SIGTERM the health says NOT_SERVING, and calls are served for so long, "
        "while clients and load balancers learn that this replica goes",
    )
    drain_seconds: float = Field(4, gt=0, description="then the grace for calls in flight")
    reflection: bool = Field(False, description="serve gRPC reflection (development)")
    metrics_listen: str = Field(
        "", description="host:port where Prometheus reads metrics, over plain HTTP; empty is none"
    )
    log_level: str = Field("info", description="debug, info, warning or error")


def load(cls: type[S], given: Mapping[str, Any] = {}) -> S:
    """Read the settings of `cls` from the environment; raise SettingsError in one clear line.

    `given` has settings that come before the environment's, by their names without prefix.
    """
    try:
        return cls(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"{PREFIX}{'_'.join(str(part) for part in first['loc'])}".upper()
        what = "is not set" if first["type"] == "missing" else f"is wrong: {first['msg']}"
        raise SettingsError(f"{name} {what} (see `prospect config`)") from None


def variables(cls: type[BaseSettings]) -> dict[str, str]:
    """Return each variable that `cls` reads and what it means."""
    known = {}
    for name, field in cls.model_fields.items():
        variable = f"{PREFIX}{name}".upper()
        known[variable] = field.description or ""
        if is_secret(field):
            known[f"{variable}{FILE}"] = f"file that holds {variable}"
    return known


def refuse_unknown(environment: Mapping[str, str], known: Iterable[str]) -> None:
    """Raise SettingsError for a PROSPECT_ variable that nothing reads: it is likely misspelt."""
    names = {each.removeprefix(PREFIX) for each in known}
    for name in sorted(environment):
        wanted = name.removeprefix(PREFIX)
        if wanted != name and wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=CUTOFF)
            hint = f"; did you mean {PREFIX}{near[0]}?" if near else " (see `prospect config`)"
            raise SettingsError(f"{name} is not a setting{hint}")
