"""SQL: every statement is good against the schema, and the schema is what the migrations make."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from chassis import inbox, migrate, outbox, tokens
from chassis.database import Queries
from chassis.published import keeper
from devstack.stack import ROOT, SERVICES
from tests.harness import Database
from tests.schema import dump, path_of

STATEMENTS = [
    (service, name, sql)
    for service in SERVICES
    for name, sql in Queries(ROOT / "services" / service / "queries.sql").statements.items()
]
# The statements that another role than the app's own runs.
ROLES = {
    "lock_leasing": "enrichment_claimer",
    "lease_due": "enrichment_claimer",
    "renew": "enrichment_claimer",
    "tenants_with_history": "enrichment_keeper",
    "forget_request_ids": "enrichment_keeper",
    "unpublished": "activity_relay",
    "find_unsealed": "activity_sealer",
    "list_retentions": "activity_keeper",
    "list_unfinished_erasures": "activity_keeper",
    "mark_dropped": "activity_owner",
    "forget_requests": "activity_keeper",
}
CHASSIS = [inbox._REMEMBER, outbox._ENQUEUE, outbox._HOLD, tokens._READ_KEY]
RELAY = [
    *(outbox._TAKE, outbox._END, inbox._FORGET),
    *(keeper._DUE, keeper._BEGIN_GENERATION, keeper._FORGET, keeper._TELL_AGAIN),
]


async def prepare(database: Database, service: str, role: str, sql: str) -> None:
    """Plan a statement as the role that runs it; Postgres names what is wrong."""
    settings = {"search_path": service}
    owner = f"{service}_owner"
    dsn = database.dsn(owner if role == owner else f"{service}_app")
    connection = await asyncpg.connect(dsn, server_settings=settings)
    try:
        await connection.execute(f"set role {role}")
        # Unlike a bare prepare, a plan also checks the role's rights.
        await connection.execute(f"explain (generic_plan) {sql}")
    finally:
        await connection.close()


@pytest.mark.parametrize(("service", "name", "sql"), STATEMENTS)
async def test_each_statement_is_good_against_the_migrated_schema(
    shared_database: Database, service: str, name: str, sql: str
) -> None:
    await prepare(shared_database, service, ROLES.get(name, f"{service}_app"), sql)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("sql", CHASSIS)
async def test_each_statement_of_the_chassis_is_good_in_each_schema(
    shared_database: Database, service: str, sql: str
) -> None:
    await prepare(shared_database, service, f"{service}_app", sql)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("sql", RELAY)
async def test_each_statement_of_the_relay_is_good_as_its_role(
    shared_database: Database, service: str, sql: str
) -> None:
    await prepare(shared_database, service, f"{service}_relay", sql)


@pytest.mark.usefixtures("no_months")
@pytest.mark.parametrize("service", SERVICES)
def test_schema_sql_is_what_the_migrations_add_up_to(database: Database, service: str) -> None:
    assert dump(database.dsn(), service) == path_of(service).read_text()


async def test_migrating_twice_changes_nothing(database: Database) -> None:
    for service in SERVICES:
        folder = ROOT / "services" / service
        assert await migrate.migrate(database.dsn(), service, folder) == []


async def test_replicas_that_migrate_at_once_apply_each_file_once(database: Database) -> None:
    await database.fetch("drop schema metrics cascade")
    folder = ROOT / "services" / "metrics"
    done = await asyncio.gather(
        *(migrate.migrate(database.dsn(), "metrics", folder) for _ in range(4))
    )
    names = [each.name for each in migrate.migrations_of("metrics", folder)]
    assert sorted(name for names in done for name in names) == sorted(names)


async def test_a_migration_edited_after_it_was_applied_is_refused(database: Database) -> None:
    await database.fetch("update metrics.schema_migrations set checksum = 'other'")
    with pytest.raises(migrate.MigrationError, match="edited"):
        await migrate.migrate(database.dsn(), "metrics", ROOT / "services" / "metrics")
