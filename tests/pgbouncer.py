"""PgBouncer between the services and PostgreSQL: `pytest --pgbouncer`, after `make pgbouncer`.

Each role `<service>_app` then reaches its database through PgBouncer in transaction mode; the tests
themselves, and who migrates, reach PostgreSQL itself.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack import servers

UNPACKED = Path(__file__).parents[1] / "build" / "pgbouncer"
USERS = ("activity_app", "enrichment_app", "metrics_app", "metrics_owner", "postgres")
CONFIG = """
[databases]
* = host={socket_folder}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
max_client_conn = 1000
default_pool_size = {size}
"""


@dataclass(frozen=True, slots=True)
class PooledPostgres(servers.Postgres):
    """A PostgreSQL whose services come through PgBouncer."""

    address: str

    def dsn(self, user: str = "postgres", database: str = "postgres") -> str:
        """Return a DSN for `user`."""
        if user.endswith("_app"):
            return f"postgresql://{user}@{self.address}/{database}"
        return servers.Postgres.dsn(self, user, database)


@contextmanager
def pgbouncer(
    folder: Path, server: servers.Postgres, *, mode: str = "transaction", size: int = 4
) -> Iterator[str]:
    """Run PgBouncer with `size` connections for each role and database; yield its address."""
    user = servers.Unprivileged.choose()
    home = user.home_for(folder)
    port = servers.free_port()
    (home / "users").write_text("".join(f'"{each}" ""\n' for each in USERS))
    config = home / "pgbouncer.ini"
    config.write_text(
        CONFIG.format(
            socket_folder=server.socket_folder,
            port=port,
            users=home / "users",
            mode=mode,
            size=size,
        )
    )
    for each in (home / "users", config):
        user.chown(each)
    with open(home / "pgbouncer.log", "ab") as log:
        process = user.start([*_program(), str(config)], log, death=signal.SIGINT)
    try:
        _wait_for(port, home / "pgbouncer.log")
        yield f"127.0.0.1:{port}"
    finally:
        servers.stop(process, signal.SIGINT)


def _program() -> list[str]:
    """Return the command: the system's own PgBouncer, or the one that `make pgbouncer` unpacked."""
    if installed := shutil.which("pgbouncer"):
        return [installed]
    unpacked = UNPACKED / "usr" / "sbin" / "pgbouncer"
    assert unpacked.exists(), "there is no PgBouncer: run `make pgbouncer`"
    libraries = os.pathsep.join(map(str, (UNPACKED / "usr" / "lib").glob("*-linux-*")))
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(unpacked)]


def _wait_for(port: int, log: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
