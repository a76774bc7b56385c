"""The connection to the broker: whatever ends it, the client is connected again by itself."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats.errors
import psutil
import pytest
from nats.aio.msg import Msg
from nats.js.errors import NoStreamResponseError

from chassis.broker.client import BrokerClient, connect, is_of_use, open_client
from chassis.identity.nats_login import Login
from devstack import servers
from tests.broker_faults import addresses, cluster, link, meets

Configure = Callable[[str], None]


@pytest.fixture
def configure(nats_server: servers.Nats, tmp_path: Path) -> Configure:
    """Have the server take more configuration while it runs."""
    file = tmp_path / "nats" / "nats.conf"
    original = file.read_text()

    def add(text: str) -> None:
        file.write_text(original + text)
        nats_server.process.send_signal(signal.SIGHUP)

    return add


async def until(holds: Callable[[], Awaitable[bool] | bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(30):
        while True:
            held = holds()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.sleep(0.02)


async def hears_itself(client: BrokerClient, heard: asyncio.Queue[Msg]) -> bool:
    """Return whether a subscription that was made before still brings what is published."""
    await client.publish("news", b"")
    try:
        await asyncio.wait_for(heard.get(), 0.5)
    except TimeoutError:
        return False
    return True


async def listening(client: BrokerClient) -> asyncio.Queue[Msg]:
    """Subscribe to what `hears_itself` publishes."""
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("news", cb=heard.put)
    return heard


PASSWORD = 'authorization {{ users = [ {{ user: a, password: "{}" }} ] }}\n'


async def test_a_client_whose_password_is_refused_is_back_when_it_is_good_again(
    nats_server: servers.Nats, configure: Configure
) -> None:
    configure(PASSWORD.format("good"))
    client = await connect(nats_server.url.replace("://", "://a:good@"), "test")
    heard = await listening(client)
    configure(PASSWORD.format("other"))
    await until(lambda: not client.is_connected)
    await asyncio.sleep(1.5)  # some attempts are refused
    assert not client.is_connected
    configure(PASSWORD.format("good"))
    await until(lambda: hears_itself(client, heard))
    await client.close()


async def test_a_client_without_a_place_is_back_when_there_is_room(
    nats_server: servers.Nats, configure: Configure
) -> None:
    clients = [await connect(nats_server.url, "test") for _ in range(2)]
    heard = [await listening(client) for client in clients]
    configure("max_connections: 1\n")
    await until(lambda: sum(client.is_connected for client in clients) < 2)
    configure("max_connections: 100\n")
    for client, queue in zip(clients, heard, strict=True):
        await until(lambda client=client, queue=queue: hears_itself(client, queue))  # type: ignore[misc]
        await client.close()


async def test_a_message_that_is_too_large_is_refused_and_costs_no_connection(
    nats_server: servers.Nats, configure: Configure
) -> None:
    client = await connect(nats_server.url, "test")
    with pytest.raises(nats.errors.MaxPayloadError):
        await client.publish("news", bytes(client.max_payload - 20), headers={"long": "x" * 20})
    heard = await listening(client)
    assert await hears_itself(client, heard)
    assert client.stats["reconnects"] == 1  # the first connection
    await client.close()


async def test_a_message_that_has_become_too_large_ends_the_connection_and_not_the_client(
    nats_server: servers.Nats, configure: Configure
) -> None:
    client = await connect(nats_server.url, "test")
    heard = await listening(client)
    configure("max_payload: 1000\n")
    await asyncio.sleep(0.5)
    await client.publish("news", bytes(2_000))
    await until(lambda: client.stats["reconnects"] == 2)
    await until(lambda: hears_itself(client, heard))
    await client.close()


async def test_a_seed_file_that_is_away_for_a_while_ends_no_attempts(
    nats_server: servers.Nats, tmp_path: Path
) -> None:
    seed = tmp_path / "user.nk"
    seed.write_bytes(b"SUAOLI2IL5AGUVT2ALLN5EHH2ODIBR6MTIPLYBFHWVV5KJABI7ZGAMDIZI")
    client = await connect(nats_server.url, "test", Login(None, seed))
    heard = await listening(client)
    content = seed.read_bytes()
    seed.write_bytes(b"half of a seed")
    reconnects = client.stats["reconnects"]
    client._abort()
    await until(lambda: not client.is_connected)
    await asyncio.sleep(1.2)
    seed.write_bytes(content)
    await until(lambda: client.stats["reconnects"] > reconnects)
    await until(lambda: hears_itself(client, heard))
    await client.close()


async def test_a_client_of_a_silent_server_is_connected_anew(nats_server: servers.Nats) -> None:
    async with link(nats_server) as way:
        client = await open_client(way.url, "test", silence_seconds=0.6)
        await client.connected.wait()
        heard = await listening(client)
        way.cut()
        await client.publish("other", bytes(500_000))  # more than the network takes
        await until(lambda: not client.is_connected)
        way.mend()
        await until(lambda: hears_itself(client, heard))
        assert way.connections > 1
        await client.close()


async def test_a_client_goes_to_another_server_of_the_list_when_its_own_is_silent(
    nats_server: servers.Nats,
) -> None:
    async with link(nats_server) as one, link(nats_server) as other:
        client = await open_client(f"{one.url}, {other.url}", "test", silence_seconds=0.6)
        await client.connected.wait()
        heard = await listening(client)
        assert client.connected_url
        (one if client.connected_url.port == one.port else other).cut()
        await until(lambda: hears_itself(client, heard))
        await client.close()


async def test_attempts_that_come_to_nothing_leave_no_connection_open(
    nats_server: servers.Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.broker.client.CONNECT_SECONDS", 0.1)
    nats_server.process.send_signal(signal.SIGSTOP)  # it takes connections and says nothing
    client = await open_client(nats_server.url, "test")
    await until(lambda: client._server_pool[0].reconnects >= 4)
    port = int(nats_server.url.rpartition(":")[2])
    sockets = psutil.Process().net_connections("tcp")
    assert sum(bool(each.raddr) and each.raddr.port == port for each in sockets) <= 1
    await client.close()


async def test_a_client_begins_where_no_server_is_and_connects_when_one_comes(
    tmp_path: Path,
) -> None:
    port = servers.free_port()
    client = await open_client(f"nats://127.0.0.1:{port}", "test")
    heard = await listening(client)
    with servers.nats_server(tmp_path / "late", port=port):
        await client.connected.wait()
        assert await hears_itself(client, heard)
        await client.close()


async def test_what_waits_for_an_answer_is_refused_at_once_without_a_connection() -> None:
    client = await open_client(f"nats://127.0.0.1:{servers.free_port()}", "test")
    for _ in range(3):
        with pytest.raises(nats.errors.ConnectionReconnectingError):
            await client.jetstream().publish("news", b"")
        with pytest.raises(nats.errors.ConnectionReconnectingError):
            await client.publish("news", reply="answers")
    assert client._resp_map == {}
    await client.close()


async def test_a_request_that_nobody_answers_puts_the_streams_in_doubt(
    nats_server: servers.Nats,
) -> None:
    client = await connect(nats_server.url, "test")
    client.in_doubt.clear()
    with pytest.raises(NoStreamResponseError):
        await client.jetstream().publish("news", b"")
    assert client.in_doubt.is_set()
    await client.close()


async def test_a_client_ends_at_once_while_the_broker_is_silent(nats_server: servers.Nats) -> None:
    async with link(nats_server) as way:
        client = await connect(way.url, "test")
        way.cut()
        await client.publish("other", bytes(500_000))
        async with asyncio.timeout(10):
            await client.close()


async def test_a_client_of_a_cluster_survives_the_death_of_its_node(tmp_path: Path) -> None:
    with cluster(tmp_path) as nodes:
        await meets(nodes)
        client = await connect(addresses(nodes), "test")
        jetstream = client.jetstream()
        await jetstream.add_stream(name="NEWS", subjects=["news"], num_replicas=3)
        heard = await listening(client)
        url = client.connected_url
        assert url
        (own,) = (node for node in nodes if node.url.endswith(f":{url.port}"))
        own.process.kill()
        await until(lambda: client.connected_url not in (None, url) and client.is_connected)
        assert await hears_itself(client, heard)
        await until(lambda: is_stored(client))
        await client.close()


async def is_stored(client: BrokerClient) -> bool:
    """Return whether the stream takes an event."""
    try:
        await client.jetstream().publish("news", b"", timeout=1)
    except nats.errors.Error:
        return False
    return True


async def test_a_client_begins_with_whichever_server_answers(nats_server: servers.Nats) -> None:
    nobody = f"nats://127.0.0.1:{servers.free_port()}"
    for _ in range(4):
        client = await connect(f"{nobody},{nats_server.url},{nobody}", "test")
        await client.close()


def test_of_asyncios_lines_the_one_at_the_end_of_each_tls_connection_is_left_out() -> None:
    ended = "returning true from eof_received() has no effect when using ssl"
    records = [logging.makeLogRecord({"msg": line}) for line in (ended, "other")]
    assert [is_of_use(each) for each in records] == [False, True]
