"""Exporting: whole lines, safe in a spreadsheet, logged before they leave, at no memory."""

from __future__ import annotations

import csv
import io
import json
import os
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING

import grpc
import psutil
import pytest
from prospect.activity.v1 import activity_service_pb2 as pb
from prospect.activity.v1 import activity_service_pb2_grpc as grpc_api

from chassis.clock import new_id, to_timestamp, utc_now
from services.cli.operate.services import ServiceName
from services.cli.terminal.csv_cells import guarded, unguarded
from tests.activity import log
from tests.harness import Database, Identity, Services, violations

if TYPE_CHECKING:
    from prospect.activity.v1.activity_service_pb2_grpc import ActivityServiceAsyncStub

COLUMNS = [
    "activity_id", "user_id", "action_type", "target_id", "metadata", "created_at", "recorded_at",
    "ip_address", "user_agent",
]  # fmt: skip
MANY = """
insert into activity.activity_log
  (tenant_id, activity_id, user_id, action_type, metadata, created_at)
select $1, gen_random_uuid(), $1, 'login', jsonb_build_object('text', repeat('x', 100)),
  date_trunc('month', now()) + n * interval '1 ms'
from generate_series(1, $2::int) n
"""


async def exported(
    activity: ActivityServiceAsyncStub,
    who: Identity,
    form: pb.ExportFormat.ValueType = pb.EXPORT_FORMAT_NDJSON,
    wanted: pb.ActivityFilter | None = None,
) -> str:
    """Return the whole file."""
    request = pb.ExportActivitiesRequest(filter=wanted, format=form)
    call = activity.ExportActivities(request, metadata=who.metadata())
    return b"".join([each.chunk async for each in call]).decode()


def an_entry(**fields: object) -> pb.NewActivity:
    """Return an entry whose every field is set."""
    values: dict[str, object] = {
        "activity_id": str(new_id()),
        "user_id": str(uuid.uuid4()),
        "action_type": pb.ACTION_TYPE_SEARCH_EXECUTED,
        "target_id": "list-7",
        "metadata_json": '{"query": "caf\\u00e9 \\"x\\"\\n", "n": 1}',
        "created_at": to_timestamp(utc_now()),
        "ip_address": "2001:db8::1",
        "user_agent": "curl/8",
    }
    return pb.NewActivity(**(values | fields))  # type: ignore[arg-type]


async def test_a_line_of_ndjson_has_every_field_of_the_entry(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    entry = an_entry()
    await log.record(activity, ours, [entry])
    line = json.loads(await exported(activity, ours))
    assert list(line) == COLUMNS
    assert line["metadata"] == {"query": 'café "x"\n', "n": 1}
    assert line["action_type"] == "search_executed"
    assert line["created_at"] == f"{entry.created_at.ToDatetime():%Y-%m-%dT%H:%M:%S.%f}Z"
    assert line["recorded_at"].endswith("Z")
    same = ("activity_id", "user_id", "target_id", "ip_address", "user_agent")
    assert [line[name] for name in same] == [getattr(entry, name) for name in same]


async def test_csv_has_a_header_and_the_same_fields(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    await log.record(activity, ours, [an_entry()])
    wanted = pb.ActivityFilter(action_types=[pb.ACTION_TYPE_SEARCH_EXECUTED])
    line = json.loads(await exported(activity, ours, wanted=wanted))
    text = await exported(activity, ours, pb.EXPORT_FORMAT_CSV, wanted)
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert text.startswith(",".join(COLUMNS) + "\r\n")
    assert row | {"metadata": json.loads(row["metadata"])} == line


async def test_an_export_of_nothing_is_a_header_or_nothing(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    nobody = pb.ActivityFilter(user_ids=[str(uuid.uuid4())])
    assert await exported(activity, ours, wanted=nobody) == ""
    text = await exported(activity, ours, pb.EXPORT_FORMAT_CSV, nobody)
    assert text == ",".join(COLUMNS) + "\r\n"


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "'"])
async def test_a_cell_that_a_spreadsheet_would_run_begins_with_an_apostrophe(
    activity: ActivityServiceAsyncStub, ours: Identity, first: str
) -> None:
    dangerous = f'{first}HYPERLINK("http://evil",1)'
    await log.record(activity, ours, [an_entry(target_id=dangerous, user_agent=dangerous)])
    text = await exported(activity, ours, pb.EXPORT_FORMAT_CSV)
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["target_id"], row["user_agent"]) == ("'" + dangerous, "'" + dangerous)


ODD_CELLS = [
    "\uff1dcmd", "\uff0b1", "\uff0d1", "\uff201", "a;=1+1", 'a;"=1', "a\t=1", "a\r\n@x", "\t\t=1",
    ";;'=1", "'", "''=", "a;b", "plain", "a'=1",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_CELLS)
async def test_a_cell_is_guarded_as_the_commands_guard_theirs(
    database: Database, text: str
) -> None:
    (row,) = await database.fetch("select activity.csv_cell($1) as cell", text)
    ((cell,),) = csv.reader(io.StringIO(row["cell"], newline=""))
    assert cell == guarded(text)
    assert unguarded(cell) == text


async def test_the_export_is_logged_for_its_caller_without_what_it_filters_by(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    wanted = pb.ActivityFilter(user_ids=[str(uuid.uuid4())], target_ids=["list-7"])
    await exported(activity, ours, pb.EXPORT_FORMAT_CSV, wanted)
    page = await activity.ListActivities(pb.ListActivitiesRequest(), metadata=ours.metadata())
    (entry,) = page.activities
    metadata = json.loads(entry.metadata_json)
    assert (entry.action_type, entry.user_id) == (pb.ACTION_TYPE_CSV_EXPORTED, str(ours.user_id))
    assert metadata["format"] == "csv"
    assert uuid.UUID(metadata["export_id"]).version == 7
    assert metadata["filter"] == {"user_count": 1, "target_count": 1}


async def test_the_export_is_in_the_log_when_its_first_bytes_arrive_and_not_in_itself(
    activity: ActivityServiceAsyncStub, ours: Identity, database: Database
) -> None:
    (recorded,) = await log.record(activity, ours, [an_entry()])
    call = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
    first = await call.read()
    assert isinstance(first, pb.ExportActivitiesResponse)
    rows = await database.fetch(
        "select 1 from activity.activity_log where action_type = 'csv_exported'"
    )
    assert len(rows) == 1
    assert json.loads(first.chunk)["activity_id"] == recorded


async def test_another_tenants_entries_are_not_exported(
    activity: ActivityServiceAsyncStub, ours: Identity, theirs: Identity
) -> None:
    await log.record(activity, theirs, [an_entry()])
    assert await exported(activity, ours) == ""


async def test_a_large_export_comes_in_chunks_of_whole_lines_at_constant_memory(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await database.fetch(MANY, ours.tenant_id, 200_000)
        activity = grpc_api.ActivityServiceStub(channel)
        call = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        process = psutil.Process(os.getpid())  # the service runs in this process
        lines = size = before = 0
        async for response in call:
            before = before or process.memory_info().rss
            assert response.chunk.endswith(b"\n")
            assert len(response.chunk) < 256 * 1024
            lines += response.chunk.count(b"\n")
            size += len(response.chunk)
            assert response.row_count == lines
        grown = process.memory_info().rss - before
        trailing = dict(await call.trailing_metadata())
    assert lines == 200_000
    assert (trailing["exported-rows"], trailing["exported-bytes"]) == (str(lines), str(size))
    assert grown < size / 4  # what it sent is some 90 MB


async def test_the_sealed_log_is_exported_whole_or_not_at_all(
    activity: ActivityServiceAsyncStub, ours: Identity
) -> None:
    wanted = pb.ActivityFilter(target_ids=["list-7"])
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await exported(activity, ours, pb.EXPORT_FORMAT_SEALED_NDJSON, wanted)
    assert violations(refused.value) == [("filter", "export.sealed_whole")]


async def test_no_more_exports_run_at_once_than_leave_connections_for_other_calls(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY, postgres_pool_size=2) as channel:
        await database.fetch(MANY, ours.tenant_id, 20_000)
        activity = grpc_api.ActivityServiceStub(channel)
        running = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        await running.read()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await exported(activity, ours)
        running.cancel()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_entry_recorded_while_an_export_runs_is_not_in_it(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY) as channel:
        await database.fetch(MANY, ours.tenant_id, 20_000)
        activity = grpc_api.ActivityServiceStub(channel)
        call = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        chunks = aiter(call)
        await anext(chunks)
        later = an_entry(created_at=to_timestamp(utc_now() + timedelta(hours=1)))
        await log.record(activity, ours, [later])
        rest = b"".join([each.chunk async for each in chunks])
    assert later.activity_id.encode() not in rest


async def test_an_export_whose_client_stands_still_lets_go_of_the_database_and_says_so(
    services: Services, ours: Identity, database: Database
) -> None:
    async with services.running(ServiceName.ACTIVITY, stalled_client_seconds=0.5) as channel:
        await database.fetch(MANY, ours.tenant_id, 100_000)
        activity = grpc_api.ActivityServiceStub(channel)
        call = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        chunks = aiter(call)
        await anext(chunks)
        while await database.fetch(
            "select 1 from pg_stat_activity where xact_start is not null and query ~ 'as line'"
            " and application_name = 'prospect-activity'"
        ):
            pass  # the service runs in this loop, and is given time by the await
        with pytest.raises(grpc.aio.AioRpcError, match=r"nothing was taken for 0\.5 s"):
            await to_the_end(chunks)
        assert await call.code() is grpc.StatusCode.ABORTED
        again = activity.ExportActivities(pb.ExportActivitiesRequest(), metadata=ours.metadata())
        assert await again.read()
        again.cancel()


async def to_the_end(chunks: AsyncIterator[pb.ExportActivitiesResponse]) -> None:
    """Take what is left."""
    async for _ in chunks:
        pass
