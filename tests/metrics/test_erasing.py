"""An erased user is named by no table any more, and known again when more is counted of them."""

from __future__ import annotations

import asyncio
import uuid
from datetime import date, timedelta

import asyncpg
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from nats.aio.client import Client
from prospect.activity.v1 import events_pb2 as activity_events

from chassis import messaging
from chassis.clock import new_id, to_timestamp, utc_now
from chassis.database import Pool, tenant_transaction
from chassis.messaging import OutgoingEvent
from devstack.stack import ROOT
from services.metrics import store
from services.metrics.proof.activity_log import ActivityLog
from services.metrics.proof.rebuild import Rebuilder
from services.metrics.proof.reconcile import reconcile
from services.metrics.sql import ANONYMOUS, SQL
from services.metrics.store import Digest, Reconciliation
from tests.harness import Database, Identity
from tests.metrics.calls import DAY, USERS, record, some_activities, usage, usage_of
from tests.metrics.conftest import Pair
from tests.metrics.feed import all_applied, no_dead_letters

metrics_pool = pytest.mark.parametrize("pool", ["metrics"], indirect=True)
TABLES = """
select c.relname::text as name from pg_class c join pg_namespace n on n.oid = relnamespace
where nspname = 'metrics' and relkind = 'r'
"""
MIGRATION = ROOT / "services" / "metrics" / "migrations" / "0005_erasures_name_nobody.sql"
REMEMBER_BEFORE = """
insert into metrics.erasures (tenant_id, user_id, erased_at) values ($1, $2, now())
on conflict do nothing
"""
"""As the release before 0005 remembers an erasure."""
SHADOW = """
insert into metrics.usage_shadow
  (tenant_id, rebuild_id, quarter_hour, user_id, total_logins, total_activities)
values ($1, $2, $3, $4, 2, 2), ($1, $2, $3, $5, 3, 3)
"""
COUNTED = "select user_id, total_activities from metrics.usage_shadow"


async def erase(
    nats: Client, who: Identity, user_id: str, erased_at: Timestamp | None = None
) -> None:
    """Tell that activity has erased a user."""
    message = activity_events.UserErased(
        tenant_id=str(who.tenant_id),
        user_id=user_id,
        receipt_id=str(uuid.uuid4()),
        erased_at=erased_at or to_timestamp(utc_now()),
    )
    event = OutgoingEvent.of(f"tenant.erased.{who.tenant_id}", message, "test")
    await messaging.publish(nats, event)


async def naming(database: Database, user_id: str) -> list[str]:
    """Return the tables that have the user anywhere in a row."""
    return [
        row["name"]
        for row in await database.fetch(TABLES)
        if await database.fetch(
            f"select from metrics.{row['name']} t where t::text like $1", f"%{user_id}%"
        )
    ]


@metrics_pool
async def test_an_erased_user_is_named_by_no_table(
    pair: Pair, ours: Identity, nats: Client, pool: Pool, log: ActivityLog, database: Database
) -> None:
    await record(pair, ours, some_activities(100))
    await usage_of(pair, ours, 100)
    await database.fetch("update metrics.usage_metrics_quarter_hours set digest = digest + 1")
    await reconcile(Rebuilder(pool, log, all_applied, no_dead_letters), date.fromisoformat(DAY))
    await database.fetch(SHADOW, ours.tenant_id, new_id(), utc_now(), USERS[0], ANONYMOUS)
    await database.fetch(SHADOW, ours.tenant_id, new_id(), utc_now(), USERS[0], USERS[1])
    assert "reconciliations" in await naming(database, USERS[0])
    await erase(nats, ours, USERS[0])
    while await naming(database, USERS[0]):
        pass
    assert "reconciliations" in await naming(database, USERS[1])
    assert await database.fetch("select from metrics.erasures")
    counted = sorted((str(row["user_id"]), row[1]) for row in await database.fetch(COUNTED))
    assert counted == sorted([(str(ANONYMOUS), 5), (str(ANONYMOUS), 2), (USERS[1], 3)])


async def test_an_erasure_at_no_moment_of_the_calendar_is_a_dead_letter_at_once(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    dead = await nats.subscribe("dead.>")
    await erase(nats, ours, USERS[0], Timestamp(seconds=253_402_300_800))
    letter = await dead.next_msg(timeout=20)
    assert letter.headers
    assert letter.headers["Prospect-Dead-Reason"].startswith("erased_at:")


@metrics_pool
async def test_what_is_found_of_a_user_who_was_erased_meanwhile_does_not_name_it(
    pool: Pool, database: Database
) -> None:
    tenant_id, day = uuid.uuid4(), date.fromisoformat(DAY)
    findings = [{"user_id": each, "log_count": 1} for each in (USERS[0], USERS[1], "")]
    found = Reconciliation("repaired", Digest(), Digest(), 345, findings)
    async with tenant_transaction(pool, tenant_id) as connection:
        await connection.execute(SQL.remember_erasure, tenant_id, USERS[0], utc_now())
        await store.note_reconciliation(connection, tenant_id, day, found)
    (noted,) = await database.fetch(
        "select finding_count, jsonb_path_query_array(findings, '$[*].user_id')::text as users"
        " from metrics.reconciliations"
    )
    assert noted["finding_count"] == 345
    assert noted["users"] == f'["{ANONYMOUS}", "{USERS[1]}", ""]'


@metrics_pool
async def test_shadows_that_a_crash_left_behind_are_dropped_for_all_tenants(
    pool: Pool, database: Database
) -> None:
    old, young = new_id(utc_now() - timedelta(days=2)), new_id()
    for rebuild_id in (old, young):
        await database.fetch(SHADOW, uuid.uuid4(), rebuild_id, utc_now(), USERS[0], USERS[1])
    await pool.execute(SQL.drop_old_shadows)
    left = await database.fetch("select distinct rebuild_id from metrics.usage_shadow")
    assert [row["rebuild_id"] for row in left] == [young]


async def test_an_erased_user_is_counted_as_anonymous_also_when_late(
    pair: Pair, ours: Identity, nats: Client
) -> None:
    await record(pair, ours, some_activities(40))
    await usage_of(pair, ours, 40)
    await erase(nats, ours, USERS[0])
    async with asyncio.timeout(30):
        while USERS[0] in {row.user_id for row in await usage(pair, ours)}:
            await asyncio.sleep(0.02)
    await record(pair, ours, some_activities(20, seed=8))
    users = {row.user_id for row in await usage_of(pair, ours, 60)}
    assert users == {str(uuid.UUID(int=0)), *USERS[1:]}


@metrics_pool
async def test_an_erasure_by_a_replica_of_the_release_before_is_known_and_names_nobody(
    pool: Pool, database: Database
) -> None:
    tenant_id = uuid.uuid4()
    async with tenant_transaction(pool, tenant_id) as connection:
        for _ in range(2):
            await connection.execute(REMEMBER_BEFORE, tenant_id, USERS[0])
        await connection.execute(SQL.remember_erasure, tenant_id, USERS[0], utc_now())
        erased = [row["user_hash"] for row in await connection.fetch(SQL.erased_users, tenant_id)]
    assert erased == [store.user_hash(tenant_id, uuid.UUID(USERS[0]))]
    assert await naming(database, USERS[0]) == []


async def test_erasures_from_before_forget_their_users_and_know_them_again(
    database: Database,
) -> None:
    tenant_id = uuid.uuid4()
    await database.fetch("alter table metrics.erasures disable trigger all")
    await database.fetch("alter table metrics.erasures drop constraint erasures_pk")
    await database.fetch("alter table metrics.erasures alter column user_hash drop not null")
    await database.fetch(REMEMBER_BEFORE, tenant_id, USERS[0])
    assert await naming(database, USERS[0]) == ["erasures"]
    owner = await asyncpg.connect(database.dsn("metrics_owner"))
    await owner.execute(MIGRATION.read_text())
    await owner.close()
    (row,) = await database.fetch("select user_hash from metrics.erasures")
    assert row["user_hash"] == store.user_hash(tenant_id, uuid.UUID(USERS[0]))
    assert await naming(database, USERS[0]) == []
