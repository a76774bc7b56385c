"""The development stack: PostgreSQL, NATS, the sandbox and the three services, all at once.

All state is in one folder, and all processes are children that die with this one. A source whose
credential is in the environment is called for real; the sandbox answers for the others.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import grpc
import httpx
import jwt
import nkeys
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.clock import utc_now
from chassis.errors import OperatorError
from chassis.identity.nats_login import public_key_of
from chassis.identity.secrets import private
from chassis.migrate import migrate
from chassis.settings import PREFIX
from devstack import servers
from services import permissions
from services.enrichment.sources.catalogue import SourceName, credential_of, urls_of
from services.permissions import User

ROOT = Path(__file__).parents[1]
SERVICES = ("activity", "enrichment", "metrics")
FULL_NAMES = {name: f"prospect.{name}.v1.{name.capitalize()}Service" for name in SERVICES}
# Below the range (32768 and up) from which the kernel gives outgoing connections their ports.
PORTS = {"activity": 8401, "enrichment": 8402, "metrics": 8403, "nats": 4222, "sandbox": 8400}
ALL_SCOPES = (
    "activity:read activity:write activity:admin"
    " enrichment:read enrichment:write enrichment:admin enrichment:operate metrics:read"
    " metrics:admin"
)
# The metrics service reads the log with these, and the audit commands call both services.
AUDIT_SCOPES = "activity:audit metrics:audit"
READY_SECONDS = 30.0
STOP_SECONDS = 5.0


class StackError(OperatorError):
    """The stack did not start; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running stack and how to reach its parts."""

    folder: Path
    addresses: Mapping[str, str]
    nats_url: str
    postgres: servers.Postgres
    sandbox_url: str
    key: Ed25519PrivateKey
    processes: Mapping[str, subprocess.Popen[bytes]]
    environments: Mapping[str, Mapping[str, str]]

    def token(
        self,
        tenant_id: uuid.UUID | None,
        user_id: uuid.UUID,
        scopes: str = ALL_SCOPES,
        lifetime: timedelta = timedelta(hours=12),
    ) -> str:
        """Mint a token that the stack's services accept."""
        return mint(self.key, tenant_id, user_id, scopes, lifetime)

    def sandboxed(self) -> list[SourceName]:
        """Return the sources that the sandbox answers for."""
        return [name for name in SourceName if not os.environ.get(credential_variable(name))]


def mint(
    key: Ed25519PrivateKey,
    tenant_id: uuid.UUID | None,
    user_id: uuid.UUID,
    scopes: str,
    lifetime: timedelta,
    issued_at: datetime | None = None,
) -> str:
    """Sign a development token."""
    now = issued_at or utc_now()
    claims = {
        "iss": "prospect",
        "aud": "prospect",
        "sub": str(user_id),
        "scope": scopes,
        "iat": now,
        "exp": now + lifetime,
    }
    tenant = {"tenant_id": str(tenant_id)} if tenant_id else {}
    return jwt.encode(claims | tenant, key, algorithm="EdDSA")


@contextmanager
def running(
    folder: Path,
    *,
    services: Sequence[str] = SERVICES,
    fixed_ports: bool = False,
    latency_ms: int = 0,
    extra: Mapping[str, str] = {},
) -> Iterator[Stack]:
    """Start everything, yield it once it serves, then stop it; `extra` are settings for all."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = {name: servers.free_port(port if fixed_ports else 0) for name, port in PORTS.items()}
    with ExitStack() as on_exit:
        on_exit.enter_context(_locked(folder))
        postgres = on_exit.enter_context(servers.postgres(folder / "postgres"))
        users = nats_users(folder)
        nats = on_exit.enter_context(
            servers.nats_server(folder / "nats", port=ports["nats"], users=users)
        )
        migrate_all(postgres.dsn())
        key = signing_key(folder / "signing-key.pem")
        sandbox_url = f"http://127.0.0.1:{ports['sandbox']}"
        addresses = {name: f"127.0.0.1:{ports[name]}" for name in SERVICES}
        environments = {
            name: environment(folder, name, postgres, nats.url, key, addresses, sandbox_url)
            | dict(extra)
            for name in SERVICES
        }
        processes: dict[str, subprocess.Popen[bytes]] = {}
        on_exit.callback(_stop_all, processes)
        processes["sandbox"] = start_sandbox(folder, ports["sandbox"], latency_ms)
        for name in services:
            processes[name] = start_service(folder, name, environments[name])
        for name in services:
            wait_serving(name, addresses[name], processes[name], folder)
        yield Stack(
            folder, addresses, nats.url, postgres, sandbox_url, key, processes, environments
        )


def migrate_all(admin_dsn: str) -> None:
    """Bring the three schemas up to date."""
    with ThreadPoolExecutor(1) as own_thread:  # the caller's may be running an event loop
        for name in SERVICES:
            work = migrate(admin_dsn, name, ROOT / "services" / name)
            own_thread.submit(asyncio.run, work).result()


def start_service(
    folder: Path, name: str, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Start one service as `prospect serve` does in production; its log is in the state folder."""
    return _start(folder, name, _module("services", "serve", name), environment)


def start_sandbox(folder: Path, port: int, latency_ms: int) -> subprocess.Popen[bytes]:
    """Start the sources' sandbox."""
    command = _module("devstack.sandbox", "--port", str(port), "--latency", str(latency_ms))
    return _start(folder, "sandbox", command, {})


@contextmanager
def sandbox() -> Iterator[str]:
    """Run the sources' sandbox alone; yield its address once it answers."""
    with tempfile.TemporaryDirectory() as folder:
        port = servers.free_port()
        process = start_sandbox(Path(folder), port, latency_ms=0)
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(transport=httpx.HTTPTransport(retries=20)) as client:
                client.get(f"{url}/_sandbox/calls")
            yield url
        finally:
            servers.stop(process, signal.SIGTERM)


def wait_serving(name: str, address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the service's health says SERVING; raise StackError with its log if it dies."""
    request = health_pb2.HealthCheckRequest(service=FULL_NAMES[name])
    deadline = time.monotonic() + READY_SECONDS
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        while True:
            try:
                if (
                    health.Check(request, timeout=1).status
                    == health_pb2.HealthCheckResponse.SERVING
                ):
                    return
            except grpc.RpcError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                log = folder / "logs" / f"{name}.log"
                tail = "\n".join(log.read_text().splitlines()[-5:])
                raise StackError(f"{name} did not start; the end of {log.name}:\n{tail}")
            time.sleep(0.05)


def _module(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours, whatever the user's folder holds (-P)."""
    return [sys.executable, "-P", "-m", name, *arguments]


def _start(
    folder: Path, name: str, command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    paths = [str(ROOT), str(ROOT / "protos"), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PROSPECT_")}
    with open(logs / f"{name}.log", "wb") as log:
        return subprocess.Popen(
            [*servers.guard(), *command],
            stdout=log,
            stderr=log,
            env=inherited | {"PYTHONPATH": os.pathsep.join(paths)} | dict(environment),
            process_group=0,
        )


def _stop_all(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Signal all before waiting for any, so that they stop at the same time."""
    for process in processes.values():
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes.values():
        servers.stop(process, signal.SIGTERM, STOP_SECONDS)


def environment(
    folder: Path,
    name: str,
    postgres: servers.Postgres,
    nats_url: str,
    key: Ed25519PrivateKey,
    addresses: Mapping[str, str],
    sandbox_url: str,
) -> dict[str, str]:
    """Return a service's settings; the keys and tokens they name are made when missing."""
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    common = {
        "PROSPECT_LISTEN": addresses[name],
        "PROSPECT_POSTGRES_DSN": postgres.dsn(f"{name}_app"),
        "PROSPECT_NATS_URL": nats_url,
        "PROSPECT_NATS_NKEY_SEED_FILE": str(_seed_file(folder, name)),
        "PROSPECT_AUTH_PUBLIC_KEY": public.decode(),
        "PROSPECT_REFLECTION": "true",
        "PROSPECT_DRAIN_PAUSE_SECONDS": "0",  # no load balancer has to learn of a stop
    }
    match name:
        case "enrichment":
            return common | _source_settings(sandbox_url)
        case "metrics":
            return common | _log_access(folder, key, addresses["activity"])
    key_file = folder / "log-signing-key.pem"
    signing_key(key_file)
    return common | {"PROSPECT_LOG_SIGNING_KEY_FILE": str(key_file)}


def nats_users(folder: Path) -> str:
    """Return the broker's users: each service with its own key may do what it needs, and no more.

    Who comes without a key may do everything, since only this machine's users reach the broker.
    """
    users = []
    for name in SERVICES:
        file = _seed_file(folder, name)
        if not file.exists():
            seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
            file.touch(mode=0o600)
            file.write_bytes(bytes(seed))
        users.append(User(name, public_key_of(file), permissions.of_service(name)))
    return permissions.configuration(users, anonymous="anybody")


def _seed_file(folder: Path, name: str) -> Path:
    return folder / f"nats-{name}.nk"


def _log_access(folder: Path, key: Ed25519PrivateKey, activity: str) -> dict[str, str]:
    """Return the settings with which metrics reads the log, and write the token they name."""
    token_file = folder / "activity-audit-token"
    with open(token_file, "w", opener=private) as file:
        file.write(mint(key, None, uuid.UUID(int=0), AUDIT_SCOPES, timedelta(days=365)))
    return {
        "PROSPECT_ACTIVITY_ADDRESS": activity,
        "PROSPECT_ACTIVITY_TOKEN_FILE": str(token_file),
    }


def _source_settings(sandbox_url: str) -> dict[str, str]:
    settings = {k: v for k, v in os.environ.items() if k == "PROSPECT_CLAUDE_MODEL"}
    # Stays the same from start to start, as the suppression lists need; it protects no real list.
    settings["PROSPECT_SUPPRESSION_KEY"] = "development only: not a secret at all"
    for name in SourceName:  # its credential makes a source live, else the sandbox stands in for it
        key = credential_variable(name)
        given = os.environ.get(key)
        settings[key] = given or "sandbox (sandbox@prospect.example)"
        for url in map(_variable, urls_of(name)):
            if os.environ.get(url) or not given:
                settings[url] = os.environ.get(url, sandbox_url)
    return settings


def credential_variable(name: SourceName) -> str:
    """Return the variable that makes a source live: what the vendor knows us by."""
    return _variable(credential_of(name))


def _variable(setting: str) -> str:
    return f"{PREFIX}{setting}".upper()


def signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the key with which tokens are signed, made when missing."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        with open(path, "wb", opener=private) as file:
            file.write(pem)
    loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(loaded, Ed25519PrivateKey):
        raise StackError(f"{path.name} is not an Ed25519 key; delete it")
    return loaded


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder, which may have one stack; the kernel releases a dead process's lock."""
    with open(folder / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                f"a stack is running in {folder}: stop it, or name another folder with --state"
            ) from None
        yield
