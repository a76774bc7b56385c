"""The connection to the broker: one client that lasts as long as the process.

nats-py closes a client for good when the broker says `-ERR`, such as for a password that is being
changed or a place that is not free, and ends its attempts to connect at an error that it does not
expect. Here every connection, the first too, is made by the loop that makes one anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Any

import nats.errors
import prometheus_client
import structlog
from nats.aio.client import Client, Srv
from nats.aio.msg import Msg
from nats.aio.transport import TcpTransport

from chassis.identity.nats_login import Login

NOBODY = Login()
SILENCE_SECONDS = 6.0
CONNECT_SECONDS = 2.0  # for each step of a connection: TCP, the server's first line, TLS, login
AGAIN_SECONDS = 0.5
CLOSE_SECONDS = 2.0
TELL_AGAIN_SECONDS = 10.0
_PINGS = 3
CONNECTED = prometheus_client.Gauge(
    "prospect_broker_connected", "1 while this process is connected to NATS, else 0"
)
_log = structlog.get_logger()


async def connect(
    servers: str,
    name: str,
    login: Login = NOBODY,
    *,
    inbox: str = "",
    tls: ssl.SSLContext | None = None,
) -> BrokerClient:
    """Return a client that is connected; wait for that for as long as it takes."""
    client = await open_client(servers, name, login, inbox=inbox, tls=tls)
    await client.connected.wait()
    return client


async def open_client(
    servers: str,
    name: str,
    login: Login = NOBODY,
    *,
    inbox: str = "",
    tls: ssl.SSLContext | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> BrokerClient:
    """Return a client that connects in the background to any of the servers, now and for good.

    `servers` are addresses with commas between. Answers come to subjects below `_INBOX_<inbox>`, of
    the client's name by default: another client that may listen to its own answers hears none of
    these. With `tls`, or an address that begins with tls://, a server without TLS is refused.
    """
    client = BrokerClient(demands_tls=_demands_tls(servers, tls))
    await client.connect(
        **_options(servers, name, login, inbox, tls),
        error_cb=client.tell,
        reconnected_cb=client.on_connected,
        disconnected_cb=client.on_disconnected,
        max_reconnect_attempts=-1,
        reconnect_time_wait=AGAIN_SECONDS,  # type: ignore[arg-type]
        connect_timeout=CONNECT_SECONDS,  # type: ignore[arg-type]
        ping_interval=silence_seconds / _PINGS,  # type: ignore[arg-type]
        max_outstanding_pings=_PINGS - 1,
    )
    return client


async def connect_once(
    servers: str,
    name: str,
    login: Login = NOBODY,
    *,
    inbox: str = "",
    tls: ssl.SSLContext | None = None,
) -> Client:
    """Return a client with one connection, for a command; raise where no server lets it in."""

    async def on_error(error: Exception) -> None:
        _log.debug("nats trouble", error=repr(error))

    client = _CheckedClient(demands_tls=_demands_tls(servers, tls))
    await client.connect(
        **_options(servers, name, login, inbox, tls),
        error_cb=on_error,
        allow_reconnect=False,
        max_reconnect_attempts=1,
        connect_timeout=5,
    )
    return client


def inbox_prefix(name: str) -> str:
    """Return what subjects of answers to a client begin with."""
    return f"_INBOX_{name}"


def _demands_tls(servers: str, tls: ssl.SSLContext | None) -> bool:
    return tls is not None or "tls://" in servers


def _options(
    servers: str, name: str, login: Login, inbox: str, tls: ssl.SSLContext | None
) -> dict[str, Any]:
    login.check()
    addresses = [each.strip() for each in servers.split(",") if each.strip()]
    if not addresses:
        raise nats.errors.NoServersError
    # Replicas begin with different servers. The one that is connected stands last (nats-py turns
    # the list), so that the next connection is tried with another.
    random.shuffle(addresses)
    return {
        "servers": addresses,
        "dont_randomize": True,
        "tls": tls,
        "name": name,
        "inbox_prefix": inbox_prefix(inbox or name),
        "user_credentials": str(login.credentials_file) if login.credentials_file else None,
        "nkeys_seed": str(login.nkey_seed_file) if login.nkey_seed_file else None,
    }


class _CheckedClient(Client):
    """A client that sends nothing in the clear where TLS is demanded.

    nats-py uses TLS where the server's first line says so: whoever stands between could leave that
    out, and read the credentials.
    """

    def __init__(self, *, demands_tls: bool) -> None:
        super().__init__()
        self._demands_tls = demands_tls
        logging.getLogger("asyncio").addFilter(is_of_use)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if initial_connection and self._demands_tls and not info.get("tls_required"):
            raise nats.errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


class BrokerClient(_CheckedClient):
    """A client that only we close: whatever happens, it connects again.

    Subscriptions, and all that was made from the client, go on with the next connection. While
    there is none, what waits for an answer is refused at once.
    """

    def __init__(self, *, demands_tls: bool = False) -> None:
        super().__init__(demands_tls=demands_tls)
        self.connected = asyncio.Event()
        self.in_doubt = asyncio.Event()
        """A stream or a consumer may be missing: the connection is new, or nobody answered."""
        self.when_connected: set[Callable[[], None]] = set()
        """What is called at each new connection."""
        self._told, self._told_at = "", 0.0

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = 0.5,  # noqa: ASYNC109 -- as nats-py has it
        old_style: bool = False,
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Send a request and wait for its answer; raise at once where none can come."""
        self._check(payload, headers, answered=True)
        try:
            return await super().request(subject, payload, timeout, old_style, headers)
        except nats.errors.NoRespondersError:
            self.in_doubt.set()
            raise

    async def publish(
        self,
        subject: str,
        payload: bytes = b"",
        reply: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        """Publish; without a connection keep it for the next one, unless an answer is awaited."""
        self._check(payload, headers, answered=bool(reply))
        await super().publish(subject, payload, reply, headers)

    def _check(self, payload: bytes, headers: Mapping[str, str] | None, *, answered: bool) -> None:
        """Raise where the broker would not answer, or would end the connection.

        nats-py would send a request with the next connection, when nobody waits for its answer any
        more, and looks at the size of a message without its headers.
        """
        if answered and not self.is_connected:
            raise nats.errors.ConnectionReconnectingError
        if headers and len(payload) + _size(headers) > self.max_payload:
            raise nats.errors.MaxPayloadError

    async def close(self) -> None:
        """End the connection; give up what it does not take within CLOSE_SECONDS."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().close()
        except TimeoutError:
            self._abort()

    async def tell(self, error: Exception) -> None:
        """Log what goes wrong with a connection: each thing once, again while it lasts."""
        text, now = repr(error), time.monotonic()
        if text != self._told or now - self._told_at > TELL_AGAIN_SECONDS:
            self._told, self._told_at = text, now
            _log.warning("nats trouble", error=text)

    async def on_connected(self) -> None:
        """Take note of a new connection."""
        server = self.connected_url.netloc.rpartition("@")[2] if self.connected_url else ""
        _log.info("nats connected", server=server)
        self._told = ""
        CONNECTED.set(1)
        self.connected.set()
        self.in_doubt.set()
        for each in tuple(self.when_connected):
            each()

    async def on_disconnected(self) -> None:
        """Take note that there is no connection."""
        CONNECTED.set(0)
        self.connected.clear()

    # Of nats-py: what connects, and what ends a connection.

    async def _select_next_server(self) -> None:
        if self._reconnection_task is None:  # `connect` would end at what it does not expect
            self._current_server = self._server_pool[-1]
        else:
            await super()._select_next_server()

    async def _process_connect_init(self) -> None:
        if self._reconnection_task is None:
            self._status = Client.RECONNECTING
            self._reconnection_task = asyncio.create_task(self._attempt_reconnect())
        else:
            await super()._process_connect_init()

    async def _attempt_reconnect(self) -> None:
        while not self.is_closed:
            self._abort()
            try:
                return await super()._attempt_reconnect()
            except Exception as error:  # such as a seed file that is being written
                self._status = Client.RECONNECTING
                await self.tell(error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _connect_to_server(self, s: Srv) -> None:
        self._abort()  # nats-py leaves open what it could not log in on
        await super()._connect_to_server(s)

    def _abort(self) -> None:
        """End the connection without waiting for what has not left: it may lead nowhere."""
        if isinstance(self._transport, TcpTransport) and self._transport._io_writer:
            self._transport._io_writer.transport.abort()

    async def _process_err(self, err_msg: str) -> None:
        """Tell what the broker says; where it ends the connection, that has us connect anew."""
        self._err = nats.errors.Error(f"nats: {err_msg.strip(chr(39))}")
        await self._error_cb(self._err)

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        if "connect_urls" in info:  # servers that have left the cluster are not tried any more
            there = info["connect_urls"] or ()
            pool = self._server_pool
            self._server_pool = [e for e in pool if not e.discovered or e.uri.netloc in there]
        await super()._process_info(info, initial_connection)


def _size(headers: Mapping[str, str]) -> int:
    """Return how many bytes headers take on the wire."""
    lines = (len(name) + len(str(value).encode()) + 4 for name, value in headers.items())
    return len("NATS/1.0\r\n\r\n") + sum(lines)


def is_of_use(record: logging.LogRecord) -> bool:
    """Whether a line tells something: asyncio writes one when nats-py's TLS connection ends."""
    return not str(record.msg).startswith("returning true from eof_received()")
