"""An export: a CSV file of what the usage says, in chunks."""

from __future__ import annotations

import csv
import io
from datetime import date

from tests.harness import Database, Identity
from tests.metrics.calls import DAY, export, record, some_activities, usage_of
from tests.metrics.conftest import Pair


async def test_an_export_is_csv_of_what_the_usage_says(pair: Pair, ours: Identity) -> None:
    await record(pair, ours, some_activities(120))
    rows = await usage_of(pair, ours, 120)
    text = b"".join(await export(pair, ours)).decode()
    found = list(csv.DictReader(io.StringIO(text, newline="")))
    assert found == [
        {field.name: str(getattr(row, field.name)) for field in row.DESCRIPTOR.fields}
        for row in rows
    ]
    assert text.endswith("\r\n")


async def test_an_export_of_nothing_has_its_header(pair: Pair, ours: Identity) -> None:
    (chunk,) = await export(pair, ours)
    assert chunk.startswith(b"date,user_id,total_logins,")
    assert chunk.count(b"\r\n") == 1


async def test_a_large_export_comes_in_chunks_of_whole_lines(
    pair: Pair, ours: Identity, database: Database
) -> None:
    await database.fetch(
        "insert into metrics.usage_metrics_daily (date, tenant_id, user_id, total_logins,"
        " total_activities) select $1, $2, gen_random_uuid(), n, n from generate_series(1, 5000) n",
        date.fromisoformat(DAY),
        ours.tenant_id,
    )
    chunks = await export(pair, ours)
    assert len(chunks) > 1
    assert all(len(each) <= 256 * 1024 and each.endswith(b"\r\n") for each in chunks)
    assert b"".join(chunks).count(b"\r\n") == 5001
