"""A hot standby of a PostgreSQL, by streaming replication."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devstack import servers


@contextmanager
def standby_of(
    primary: servers.Postgres, folder: Path, *, durable: bool = False
) -> Iterator[servers.Postgres]:
    """Run a standby on a copy of the primary's data."""
    user = servers.Unprivileged.choose()
    program = user.reachable(servers.postgres_root()) / "bin" / "pg_basebackup"
    data = user.home_for(folder) / "data"
    source = ["-h", str(primary.socket_folder), "-U", "postgres"]
    user.run([str(program), *source, "-D", str(data), "-R", "-c", "fast", "--no-sync"])
    with servers.postgres(folder, durable=durable) as server:
        yield server
