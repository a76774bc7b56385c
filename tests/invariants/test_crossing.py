"""No RPC of any service shows or changes what is another tenant's, whatever ids a request names."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import asyncpg
import grpc
import pytest
from buf.validate import validate_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.clock import new_id, utc_now
from services.cli.operate.services import ServiceName
from tests.enrichment.rows import Rows
from tests.harness import Database, Identity
from tests.invariants.rpcs import EVERY_RPC, NEEDED, call_of, first_answer
from tests.invariants.test_tenancy import ROWS

Ids = Mapping[str, str]
# What an answer that holds nothing of theirs looks like; an RPC without a line finds nothing.
HOLDS_OURS_ONLY: dict[str, Callable[[Any], bool]] = {
    "RecordActivity": lambda answer: not answer.duplicate,
    "RecordActivities": lambda answer: not (answer.duplicate_count or answer.is_repeat),
    "StreamActivities": lambda answer: not (answer.duplicate_count or answer.is_repeat),
    "ListActivities": lambda answer: not answer.activities,
    "CountActivities": lambda answer: not any(each.activity_count for each in answer.counts),
    "TailActivities": lambda answer: not answer.activities,
    "ExportActivities": lambda answer: answer is None,
    "VerifyLog": lambda answer: answer.summary.intact and not answer.summary.checked_count,
    "EraseUser": lambda answer: not answer.receipt.erased_count,
    "GetRetention": lambda answer: answer.is_default,
    "UpdateRetention": lambda answer: answer.retention_days == 90,
    "RequestEnrichment": lambda answer: not answer.joined,
    "BatchRequestEnrichments": lambda answer: not answer.accepted.joined,
    "ListProspects": lambda answer: not answer.prospects,
    "ListRuns": lambda answer: not answer.runs,
    "ReplayRuns": lambda answer: not answer.matched,
    "EstimateEnrichment": lambda answer: (
        not (answer.in_flight or any(each.fresh or each.suppressed for each in answer.sources))
    ),
    "ListSources": lambda answer: not any(each.calls_today for each in answer.sources),
    "PauseSource": lambda answer: not answer.source.calls_today,
    "GetPolicy": lambda answer: answer.policy.weight == 1,
    "UpdatePolicy": lambda answer: answer.policy.weight == 1,
    "Suppress": lambda answer: not answer.known,
    "Unsuppress": lambda answer: not answer.removed,
    "GetUsage": lambda answer: not answer.rows,
    "GetTenantSummary": lambda answer: not answer.current.active_users,
    "ListTopUsers": lambda answer: not answer.users,
    "WatchUsage": lambda answer: not answer.active_users,
    "ExportUsage": lambda answer: answer.chunk.count(b"\n") <= 1,
    "CheckQuota": lambda answer: answer.allowed and not answer.quotas,
    "SetQuota": lambda answer: answer.quota.soft_limit == 7,
    "ListQuotas": lambda answer: not answer.quotas,
    "SetTimeZone": lambda answer: answer.settings.time_zone == "Europe/Paris",
    "GetSettings": lambda answer: answer.settings.time_zone == "UTC",
}
# For the deployment's own tools, whose tokens have no tenant.
ACROSS_TENANTS = {
    "ListPartitions",
    "ListDayDigests",
    "CountDay",
    "StreamDayCounts",
    "VerifyUsage",
    "RebuildUsage",
}
MORE_OF_THEIRS = """
update activity.activity_log set target_id = 'TENANT', activity_id = 'ACTIVITY',
  created_at = uuid_extract_timestamp('ACTIVITY') where tenant_id = 'TENANT';
update enrichment.policies set weight = 9 where tenant_id = 'TENANT';
update metrics.settings set time_zone = 'Asia/Tokyo' where tenant_id = 'TENANT';
update metrics.usage_metrics_daily set total_logins = 1, total_activities = 1
where tenant_id = 'TENANT';
update metrics.usage_metrics_daily_totals set total_logins = 1, total_activities = 1
where tenant_id = 'TENANT';
update enrichment.batches set closed_at = null where tenant_id = 'TENANT';
-- What a service would work at by itself, and so change: an erasure to end, entries to seal, runs,
-- events.
update activity.erasures set user_id = '00000000-0000-0000-0000-000000000000';
delete from activity.batches;
update enrichment.runs set wake_at = now() + interval '1 hour';
delete from activity.outbox;
delete from enrichment.outbox;
delete from metrics.outbox;
"""


@pytest.fixture
async def ids(database: Database, theirs: Identity) -> Ids:
    """Fill another tenant's tables; return the ids of what it has, by the names of the fields."""
    tenant = str(theirs.tenant_id)
    today = utc_now().date()
    # Any id will do for theirs: one that is the same everywhere needs no looking up.
    one_row_each = (
        ROWS.replace("gen_random_uuid()", f"'{tenant}'::uuid")
        .replace("2026-01-15", today.isoformat())
        .replace("2026-01-01", today.replace(day=1).isoformat())
    )
    rows = Rows(database, theirs.tenant_id)
    answered = {"exa": {"status": "complete", "at": "2099-01-01T00:00:00+00:00"}}
    prospect_id, failed_prospect_id = await rows.prospect(answered=answered), await rows.prospect()
    run_id = await rows.run(prospect_id, status="pending", steps={"exa": "pending"})
    failed = await rows.run(failed_prospect_id, status="failed", steps={"exa": "failed"})
    batch_id = await rows.batch(failed, run_id)
    connection = await asyncpg.connect(database.dsn())
    activity_id = str(new_id())
    sql = (one_row_each + MORE_OF_THEIRS).replace("ACTIVITY", activity_id)
    await connection.execute(sql.replace("TENANT", tenant))
    await connection.close()
    return dict.fromkeys(("user", "target", "request", "tenant"), tenant) | {
        "activity": activity_id,
        "prospect": str(prospect_id),
        "failed_prospect": str(failed_prospect_id),
        "run": str(run_id),
        "batch": str(batch_id),
    }


async def snapshot(
    database: Database, schema: ServiceName, tenant_id: uuid.UUID
) -> dict[str, list[str]]:
    """Return all rows of a tenant, as text."""
    tables = await database.fetch(
        "select c.oid::regclass::text as name from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid"
        " where relnamespace = $1::text::regnamespace and relkind in ('r', 'p')"
        " and attname = 'tenant_id'",
        schema,
    )
    return {
        table["name"]: [
            row["text"]
            for row in await database.fetch(
                f"select t::text as text from {table['name']} t where tenant_id = $1 order by 1",
                tenant_id,
            )
        ]
        for table in tables
    }


def named_after(field: Any) -> str | None:
    """Return of what a field names the id or ids: `user` for `user_ids`; None for other fields."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    name: str = field.name.removesuffix("s")
    if name.endswith("_id") or rules.string.uuid or rules.repeated.items.string.uuid:
        return name.removesuffix("_id")
    return None


def has_ids(message: Any) -> bool:
    """Tell whether a message, or one inside it, has an id field."""
    return any(
        has_ids(field.message_type) if is_of_ours(field) else named_after(field) is not None
        for field in message.fields
    )


def is_of_ours(field: Any) -> bool:
    """Tell whether a field holds a message of our contracts."""
    message = field.message_type
    return message is not None and message.file.package.startswith("prospect.")


def name_theirs(message: Message, ids: Ids) -> None:
    """Put another tenant's ids into every id field of a request, however deep."""
    for field in message.DESCRIPTOR.fields:
        if is_of_ours(field):
            inner = getattr(message, field.name)
            if field.is_repeated and not inner and has_ids(field.message_type):
                inner.add()
            for each in inner if field.is_repeated else [inner]:
                name_theirs(each, ids)
        elif noun := named_after(field):
            assert noun in ids, f"{field.full_name}: say which row of theirs it is to name"
            setting = [ids[noun]] if field.is_repeated else ids[noun]
            message.MergeFrom(type(message)(**{field.name: setting}))


def request_naming_theirs(method: MethodDescriptor, ids: Ids) -> Message:
    """Return a request that is valid, but for whose ids it names."""
    if method.name == "ReplayRuns":  # which would find nothing while a run is open
        ids = {**ids, "prospect": ids["failed_prospect"]}
    request = GetMessageClass(method.input_type)(**NEEDED.get(method.name, {}))
    name_theirs(request, ids)
    return request


@EVERY_RPC
async def test_an_rpc_neither_shows_nor_changes_what_is_anothers(
    ids: Ids,  # first: a service that runs would take up what is being filled in
    channel: grpc.aio.Channel,
    ours: Identity,
    theirs: Identity,
    database: Database,
    name: ServiceName,
    method: MethodDescriptor,
) -> None:
    before = await snapshot(database, name, theirs.tenant_id)
    request = request_naming_theirs(method, ids)
    sent = sending([request]) if method.client_streaming else request
    call = call_of(channel, method, sent, ours.metadata())
    holds = HOLDS_OURS_ONLY.get(method.name)
    if holds:
        assert holds(await first_answer(call))
    else:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_answer(call)
        across = method.name in ACROSS_TENANTS
        wanted = grpc.StatusCode.PERMISSION_DENIED if across else grpc.StatusCode.NOT_FOUND
        assert refused.value.code() is wanted, refused.value.details()
    call.cancel()
    assert await snapshot(database, name, theirs.tenant_id) == before


async def sending(requests: list[Message]) -> AsyncIterator[Message]:
    """Send messages one after the other."""
    for request in requests:
        yield request
