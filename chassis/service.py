"""A service's life: connect, serve, report health, drain, stop.

A service's `wiring.py` gives the parts; this module runs them in one task group, so that a part
that ends by an error ends the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import signal
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import nats.errors
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from chassis import auth, inbox, telemetry
from chassis.admission.admission import Admission
from chassis.admission.drain import OpenCalls
from chassis.admission.health import NATS, POSTGRES, Health
from chassis.admission.server_options import server_options
from chassis.broker.client import BrokerClient, open_client
from chassis.broker.keeper import StreamKeeper
from chassis.broker.streams import with_limits
from chassis.consumer import Handler, consume
from chassis.database import Patience, Pool, open_pool, reaching_by
from chassis.identity.certificates import PemFiles, client_context
from chassis.identity.listening import listen, open_port
from chassis.identity.nats_login import Login, LoginError
from chassis.identity.secrets import without_password
from chassis.identity.service_callers import ServiceCallers
from chassis.interceptor import Interceptor, Rpc
from chassis.loops import repeat, sleep
from chassis.messaging import Topology
from chassis.outbox import Relay
from chassis.postgres.schema_check import demand_schema
from chassis.published.keeper import PublishedEvents
from chassis.settings import ServiceSettings, SettingsError
from chassis.tokens import TokenKeys, read_keys

HEALTH_SECONDS = 1.0
INBOX_SECONDS = 3_600.0
START_SECONDS = 3.0  # then a service begins without the broker
_log = structlog.get_logger()
Loop = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a service's parts are built from; `stopping` is set once clients should have left."""

    pool: Pool
    nats: BrokerClient
    streams: StreamKeeper
    relay: Relay
    published: PublishedEvents
    stopping: asyncio.Event
    token_keys: TokenKeys
    postgres_tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What makes one service: its contract and table of RPCs, its event handlers and loops."""

    service: ServiceDescriptor
    rpcs: Mapping[str, Rpc]
    handlers: Sequence[Handler[Any]] = ()
    loops: Sequence[Loop] = ()
    close: Sequence[Callable[[], Awaitable[None]]] = field(default=())


async def run(
    name: str,
    settings: ServiceSettings,
    topology: Topology,
    build: Callable[[Foundation], Awaitable[Parts]],
) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    _spare_the_collector()
    telemetry.count_tasks(asyncio.get_running_loop())
    telemetry.log_uncaught(asyncio.get_running_loop())
    stop_metrics = telemetry.serve_metrics(settings.metrics_listen)
    asked_to_stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, asked_to_stop.set)
    try:
        await serve(name, settings, topology, build, asked_to_stop)
    finally:
        stop_metrics()


def _spare_the_collector() -> None:
    """Collect garbage seldom, and never walk the objects that were imported.

    A page or a batch is thousands of objects that are soon gone and in no cycle: at Python's own
    threshold of 700 the collector takes a tenth of the time of a page of 1,000 entries.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


async def serve(
    name: str,
    settings: ServiceSettings,
    topology: Topology,
    build: Callable[[Foundation], Awaitable[Parts]],
    asked_to_stop: asyncio.Event,
) -> None:
    """Serve until `asked_to_stop` is set, then drain."""
    async with _foundation(name, settings, topology, asked_to_stop) as foundation:
        parts = await build(foundation)
        try:
            await _serve(settings, foundation, parts, asked_to_stop)
        finally:
            for close in parts.close:
                await close()
    _log.info("stopped")


@asynccontextmanager
async def _foundation(
    name: str, settings: ServiceSettings, topology: Topology, asked_to_stop: asyncio.Event
) -> AsyncIterator[Foundation]:
    dsn = settings.postgres_dsn.get_secret_value()
    tls = client_context(PemFiles.of(settings, "postgres"))
    with reaching_by("PROSPECT_POSTGRES_DSN", dsn):
        pool = await open_pool(
            dsn,
            schema=name,
            size=settings.postgres_pool_size,
            tls=tls,
            patience=Patience.of(settings),
        )
    async with pool:
        await demand_schema(pool, name, Path(inspect.getfile(type(settings))).parent)
        token_keys = await read_keys(settings.token_keys.get_secret_value(), pool)
        client = await _open_nats(name, settings)
        try:
            relay = Relay(pool, client, f"{name}_relay", topology.consumed_by)
            published = PublishedEvents(pool, client, relay, topology.consumed_by)
            owned = [with_limits(each, settings) for each in topology.owns]
            streams = StreamKeeper(client, owned, topology.consumers, topology.needs)
            async with streams.keeping(START_SECONDS, asked_to_stop):
                stopping = asyncio.Event()
                yield Foundation(pool, client, streams, relay, published, stopping, token_keys, tls)
        finally:
            with contextlib.suppress(OSError, nats.errors.Error):  # it may be away already
                await client.close()


async def _open_nats(name: str, settings: ServiceSettings) -> BrokerClient:
    url = settings.nats_url.get_secret_value()
    try:
        return await open_client(
            url,
            f"prospect-{name}",
            _login(settings),
            tls=client_context(PemFiles.of(settings, "nats")),
            silence_seconds=settings.nats_silence_seconds,
        )
    except nats.errors.Error as error:
        text = f"PROSPECT_NATS_URL: {without_password(str(error), url)}"
        raise SettingsError(text) from None


def _login(settings: ServiceSettings) -> Login:
    """Return who this service is to the broker; raise SettingsError where its file is none."""
    login = Login(settings.nats_credentials_file, settings.nats_nkey_seed_file)
    try:
        login.check()
    except LoginError as error:
        name = "CREDENTIALS" if login.credentials_file else "NKEY_SEED"
        raise SettingsError(f"PROSPECT_NATS_{name}_FILE: {error}") from None
    return login


async def _serve(
    settings: ServiceSettings, foundation: Foundation, parts: Parts, asked_to_stop: asyncio.Event
) -> None:
    stopping = foundation.stopping
    server = grpc.aio.server(options=server_options(settings))
    ports, open_calls = listen(server, settings), OpenCalls()
    status = Health(settings.first_message_seconds)
    status.tell(parts.service.full_name, serving=False)  # known also where it stops at once
    serving = [server, *_probed(settings, status)]
    expensive = settings.expensive_calls or settings.postgres_pool_size // 2
    interceptor = Interceptor(
        auth.verifier(settings),
        ServiceCallers(settings.service_callers),
        Admission(settings, expensive),
        open_calls,
        settings.deadline_seconds,
        settings.first_message_seconds,
        settings.stalled_client_seconds,
    )
    interceptor.register(server, parts.service, parts.rpcs)
    status.register(server)
    if settings.reflection:
        names = (parts.service.full_name, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
    for each in serving:
        await each.start()
    _log.info("serving", listen=settings.listen)
    drained = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_follow_health(status, foundation, parts.service.full_name, stopping))
        # The relay outlives the calls and the consumers: it publishes what they leave.
        tasks.create_task(foundation.relay.run(drained))
        work = [consume(foundation.nats, handler, stopping) for handler in parts.handlers]
        working = [tasks.create_task(each) for each in work]
        working += [tasks.create_task(_loop(loop, stopping)) for loop in parts.loops]
        working.append(tasks.create_task(_forget_old_events(foundation, stopping)))
        working.append(tasks.create_task(foundation.published.run(stopping)))
        await asked_to_stop.wait()
        _log.info("draining")
        status.stop()
        await asyncio.sleep(settings.drain_pause_seconds)
        stopping.set()
        tls = settings.tls_certificate_file is not None
        await open_calls.drain(ports, settings.drain_seconds, tls=tls)
        await asyncio.gather(*(each.stop(None) for each in serving))
        if working:
            await asyncio.wait(working)
        drained.set()


def _probed(settings: ServiceSettings, status: Health) -> list[grpc.aio.Server]:
    """Return the server of health alone, for probes that have no TLS; none without its setting."""
    if not settings.health_listen:
        return []
    server = grpc.aio.server(options=server_options(settings))
    open_port(server, "PROSPECT_HEALTH_LISTEN", settings.health_listen)
    status.register(server)
    return [server]


async def _forget_old_events(foundation: Foundation, stopping: asyncio.Event) -> None:
    async def forget() -> None:
        await inbox.forget_old(foundation.pool, foundation.relay.role)

    await repeat(forget, stopping, name="inbox", every_seconds=INBOX_SECONDS)


async def _loop(loop: Loop, stopping: asyncio.Event) -> None:
    await loop(stopping)


async def _follow_health(
    status: Health, foundation: Foundation, name: str, stopping: asyncio.Event
) -> None:
    """Tell how the parts are, and with them the service; "" is the process itself.

    What callers need is Postgres. Without NATS they are served, and events wait in the outbox.
    """
    while not stopping.is_set():
        telemetry.flush_logs()
        for each in (POSTGRES, name):
            status.tell(each, serving=foundation.pool.answers)
        status.tell(NATS, serving=foundation.nats.is_connected)
        await sleep(HEALTH_SECONDS, stopping)
