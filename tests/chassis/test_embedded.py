"""A port for an embedded server is free, and is given to nobody else."""

from __future__ import annotations

import socket

from devstack import servers


def test_a_free_port_is_given_to_nobody_else() -> None:
    given = [servers.free_port() for _ in range(300)]
    assert len(set(given)) == len(given)


def test_a_free_port_can_be_listened_on() -> None:
    socket.create_server(("127.0.0.1", servers.free_port())).close()


def test_a_port_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert servers.free_port(port) != port


def test_a_preferred_port_is_given_while_it_is_free() -> None:
    port = servers.free_port()
    assert servers.free_port(port) == port
