"""Where a text stands after an erasure: in tables, and in what the broker's streams hold."""

from __future__ import annotations

from nats.aio.client import Client

from chassis import messaging
from services import topology
from tests.harness import Database

TABLES = """
select format('%I.%I', schemaname, tablename) as name from pg_tables
where schemaname in ('activity', 'enrichment', 'metrics')
"""


async def tables_with(database: Database, text: str) -> set[str]:
    """Return the tables of all services in which a text stands, in any column."""
    marked = set()
    for table in [row["name"] for row in await database.fetch(TABLES)]:
        # As text a bytea is hexadecimal, so the mark is looked for in that form as well.
        rows = await database.fetch(
            f"select 1 from {table} t where t::text ilike '%{text}%'"
            f" or t::text like '%{text.encode().hex()}%' limit 1"
        )
        if rows:
            marked.add(table)
    return marked


async def events_with(nats: Client, text: str) -> list[str]:
    """Return the subjects of the events in any stream that have a text in body or headers."""
    return [
        str(event.subject)
        for stream in topology.STREAMS
        async for event in messaging.stored(nats, stream.name, ">")
        if text.lower().encode()
        in ((event.data or b"") + str(event.headers).encode() + str(event.subject).encode()).lower()
    ]
