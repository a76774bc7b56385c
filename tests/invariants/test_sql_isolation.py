"""Every role over every table, view, function and schema, found from the database's catalog."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from devstack.stack import SERVICES
from tests.harness import Database
from tests.invariants.test_tenancy import fill

LOGINS = [f"{name}_app" for name in SERVICES]
NARROW_ROLES = {
    "activity_app": ["activity_relay", "activity_keeper", "activity_sealer"],
    "enrichment_app": ["enrichment_relay", "enrichment_keeper", "enrichment_claimer"],
    "metrics_app": ["metrics_relay"],
}
"""The roles that a login steps into; all work across tenants, and see no content."""
OF_ALL_TENANTS = {
    "activity_relay": {"activity.outbox", "activity.published"},
    "activity_keeper": {"activity.retention", "activity.erasures"},
    "activity_sealer": {"activity.batches"},
    "enrichment_relay": {"enrichment.outbox", "enrichment.published"},
    "enrichment_keeper": {"enrichment.runs", "enrichment.requests"},
    "enrichment_claimer": {"enrichment.runs", "enrichment.flows", "enrichment.policies"},
    "metrics_relay": {"metrics.outbox", "metrics.published"},
}
CONTENT = {
    *("name", "company", "title", "email", "linkedin_url", "contact_data", "web_data"),
    *("insider_data", "ai_summary", "metadata", "target_id", "user_id", "ip_address"),
    *("user_agent", "answer", "findings"),
}
"""Columns that hold what people typed, or who they are."""
AS_OWNER = {
    "activity.day_digests": "one row a tenant: counts and a sum of hashes, for the nightly proof",
    "activity.ensure_partitions": "makes months",
    "activity.partitions": "sizes of months",
    "activity.tenants_past": "ids of tenants, for retention",
    "metrics.day_digests": "one row a tenant: counts and a sum of hashes, for the nightly proof",
    "metrics.drop_old_shadows": "drops finished copies of days",
    "metrics.uneven_days": "days whose tables differ, for the nightly proof",
}
"""Functions that run as their schema's owner, and what they give away."""
RELATIONS = """
select c.oid::regclass::text as name, c.relispartition as is_partition,
  array(select a.attname::text from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and has_column_privilege($1::text, c.oid, a.attname::text, 'select')) as readable,
  array(select a.attname::text from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      and has_column_privilege($1::text, c.oid, a.attname::text, 'update')) as updatable,
  has_table_privilege($1::text, c.oid, 'delete') as deletable,
  exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id') as owned
from pg_class c where c.relnamespace = any($2::regnamespace[]) and c.relkind in ('r', 'p', 'v', 'm')
order by 1
"""
FUNCTIONS = """
select p.oid::regprocedure::text as signature, p.oid::regproc::text as name,
  p.prosecdef as as_owner, coalesce(array_to_string(p.proconfig, ' '), '') as settings,
  has_function_privilege('public', p.oid, 'execute') as public,
  array(select r from unnest($2::text[]) r
    where has_function_privilege(r, p.oid, 'execute')
      and has_schema_privilege(r, p.pronamespace, 'usage')) as callers
from pg_proc p where p.pronamespace = any($1::regnamespace[])
"""


def every_role() -> Iterator[tuple[str, str]]:
    """Give each login by itself, and with each role that it may step into."""
    for login in LOGINS:
        yield login, login
        for role in NARROW_ROLES[login]:
            yield login, role


EVERY_ROLE = pytest.mark.parametrize(
    ("login", "role"), [pytest.param(*each, id=each[1]) for each in every_role()]
)


@pytest.fixture
def database(shared_database: Database) -> Database:
    """Each test has tenants of its own, so one database serves all."""
    return shared_database


@asynccontextmanager
async def acting(
    database: Database, login: str, role: str, tenant_id: uuid.UUID
) -> AsyncIterator[asyncpg.Connection]:
    """Connect as a service does, for a tenant, in a transaction that is undone."""
    connection = await asyncpg.connect(database.dsn(login))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"set local app.current_tenant_id = '{tenant_id}'")
        await connection.execute(f'set local role "{role}"')
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


async def relations(database: Database, role: str) -> list[asyncpg.Record]:
    """Return what stands in the three schemas, with what a role may do to it."""
    return await database.fetch(RELATIONS, role, list(SERVICES))


async def test_the_narrow_roles_are_those_that_the_logins_may_step_into(database: Database) -> None:
    rows = await database.fetch(
        "select l.rolname as login, r.rolname as role, m.inherit_option as inherits"
        " from pg_auth_members m join pg_roles l on l.oid = m.member"
        " join pg_roles r on r.oid = m.roleid where l.rolname = any($1)",
        LOGINS,
    )
    found = {login: sorted(r["role"] for r in rows if r["login"] == login) for login in LOGINS}
    assert found == {login: sorted(roles) for login, roles in NARROW_ROLES.items()}
    assert not any(row["inherits"] for row in rows)


@EVERY_ROLE
async def test_a_role_reads_no_row_of_another_tenant_but_where_it_works_for_all(
    database: Database, login: str, role: str
) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    await fill(database, theirs)
    seen = set()
    async with acting(database, login, role, ours) as connection:
        for each in await relations(database, role):
            if each["owned"] and "tenant_id" in each["readable"]:
                statement = f"select count(*) from {each['name']} where tenant_id = $1"
                if await connection.fetchval(statement, theirs):
                    seen.add(each["name"])
    assert seen == OF_ALL_TENANTS.get(role, set())


@EVERY_ROLE
async def test_a_role_changes_no_row_of_another_tenant_but_where_it_works_for_all(
    database: Database, login: str, role: str
) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    await fill(database, theirs)
    changed = set()
    for each in await relations(database, role):
        if not each["owned"] or "tenant_id" not in each["readable"] or each["name"] in VIEWS:
            continue
        statements = [f"update {each['name']} set {c} = {c}" for c in each["updatable"]]
        statements += [f"delete from {each['name']}"] if each["deletable"] else []
        for statement in statements:
            async with acting(database, login, role, ours) as connection:
                done = await attempted(connection, f"{statement} where tenant_id = '{theirs}'")
            changed |= {each["name"]} if done else set()
    assert changed <= OF_ALL_TENANTS.get(role, set())


VIEWS = {"activity.own_log", "enrichment.run_rows"}


async def attempted(connection: asyncpg.Connection, statement: str) -> int:
    """Run a statement; return how many rows it changed, none where it needs more rights."""
    try:
        return int((await connection.execute(statement)).rsplit(" ", 1)[1])
    except asyncpg.InsufficientPrivilegeError:
        return 0


@pytest.mark.parametrize("role", [role for roles in NARROW_ROLES.values() for role in roles])
async def test_a_role_that_works_for_all_tenants_sees_no_content(
    database: Database, role: str
) -> None:
    # A relay publishes whole events: bodies and headers are what it is for.
    seen = {
        f"{each['name']}.{column}"
        for each in await relations(database, role)
        for column in each["readable"]
        if column in CONTENT
    }
    assert seen == set()


@EVERY_ROLE
async def test_a_role_has_no_right_in_anothers_schema(
    database: Database, login: str, role: str
) -> None:
    own = role.split("_", maxsplit=1)[0]
    rows = await database.fetch(
        "select n.nspname as name from pg_namespace n where n.nspname = any($2)"
        " and (has_schema_privilege($1, n.oid, 'create') or"
        "  (n.nspname <> $3 and has_schema_privilege($1, n.oid, 'usage')))",
        role,
        [*SERVICES, "public"],
        own,
    )
    # What stands in public is nobody's: the services keep nothing there.
    assert {row["name"] for row in rows} - {"public"} == set()
    assert not await database.fetch(
        "select from pg_class where relnamespace = 'public'::regnamespace"
    )


@EVERY_ROLE
async def test_a_role_cannot_make_anything(database: Database, login: str, role: str) -> None:
    own = role.split("_", maxsplit=1)[0]
    async with acting(database, login, role, uuid.uuid4()) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"create table {own}.mine ()")


async def test_what_runs_as_the_owner_is_listed_and_finds_only_what_it_names(
    database: Database,
) -> None:
    rows = await database.fetch(FUNCTIONS, list(SERVICES), LOGINS)
    as_owner = [row for row in rows if row["as_owner"]]
    assert {row["name"] for row in as_owner} == set(AS_OWNER)
    # Else a caller's own schema could stand before the names that the function uses.
    assert [row["name"] for row in as_owner if "search_path=" not in row["settings"]] == []
    assert [row["name"] for row in as_owner if row["public"]] == []


async def test_a_function_is_called_by_its_own_service_only(database: Database) -> None:
    rows = await database.fetch(FUNCTIONS, list(SERVICES), LOGINS)
    assert len(rows) > len(AS_OWNER)
    strangers = {
        row["signature"]: row["callers"]
        for row in rows
        if set(row["callers"]) - {f"{row['signature'].split('.')[0]}_app"}
    }
    assert strangers == {}


SETS_ITS_TENANT = {"activity.as_tenant", "metrics.daily_totals"}
"""Functions that begin with what `set local` does, which any statement of the service may do."""
TAKES_A_TENANT = {
    "activity.leaf_hash": "",  # hashes what it is given, and reads nothing
    "metrics.user_hash": "",  # the same
    "enrichment.filter_runs": "select * from enrichment.filter_runs($1" + ", null" * 6 + ")",
}


async def test_a_function_that_takes_a_tenant_is_tried(database: Database) -> None:
    rows = await database.fetch(
        "select p.oid::regproc::text as name from pg_proc p"
        " where p.pronamespace = any($1::regnamespace[]) and proargnames && '{tenant,tenant_id}'"
        " and not (proallargtypes is not null and proargmodes[1] = 't')",
        list(SERVICES),
    )
    takes = {row["name"] for row in rows} - set(AS_OWNER)
    assert takes == set(TAKES_A_TENANT) | SETS_ITS_TENANT


@pytest.mark.parametrize("name", [name for name, call in TAKES_A_TENANT.items() if call])
async def test_a_function_gives_the_rows_of_the_connections_tenant_only(
    database: Database, name: str
) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    await fill(database, theirs)
    login = f"{name.split('.', maxsplit=1)[0]}_app"
    async with acting(database, login, login, theirs) as connection:
        assert await connection.fetch(TAKES_A_TENANT[name], theirs)
    async with acting(database, login, login, ours) as connection:
        assert await connection.fetch(TAKES_A_TENANT[name], theirs) == []
