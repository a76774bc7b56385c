"""Databases for tests: copies of one template, emptied and used again where only rows changed.

A copy takes 25 to 150 ms, emptying it 4 ms. A copy whose schema a test has changed is dropped (the
catalog's rows name the transactions that wrote them), and so is one that held many rows.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import asyncpg

from chassis.clock import utc_now
from chassis.migrate import migrate
from devstack import servers
from devstack.stack import ROOT, SERVICES
from tests.harness import Database, admin

TEMPLATE = "template_prospect"
MAX_ROWS = 5_000
"""More would leave so many dead rows that the next test's scans are slow."""

MAKE_MONTHS = "select activity.ensure_partitions($1::date, ($1::date + interval '3 months')::date)"
RESTORE_SQL = """
create schema before;

create function before.tables() returns setof regclass language sql as $$
  select c.oid::regclass from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname in ('activity', 'enrichment', 'metrics') and c.relkind = 'r'
$$;

create function before.fingerprint() returns text language sql as $$
  select md5(string_agg(line, ',' order by line)) from (
    select c.oid || ' ' || c.xmin from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('activity', 'enrichment', 'metrics')
    union all
    select p.oid || ' ' || p.xmin from pg_proc p join pg_namespace n on n.oid = p.pronamespace
    where n.nspname in ('activity', 'enrichment', 'metrics')
    union all select oid || ' ' || xmin from pg_policy
    union all select oid || ' ' || xmin from pg_constraint
    union all select a.attrelid || ' ' || sum(a.xmin::text::bigint) from pg_attribute a
    where a.attrelid in (select before.tables()) group by a.attrelid
  ) catalog (line)
$$;

create function before.restore() returns bigint language plpgsql as $$
declare
  changed bigint := 0;
  found bigint;
  held record;
begin
  perform pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid();
  set local session_replication_role = replica;  -- no foreign key's trigger
  for held in select t as name, to_regclass('before.' || replace(t::text, '.', '_')) as kept
    from before.tables() t where pg_relation_size(t) > 0  -- else nothing was ever written to it
  loop
    execute format('delete from %s', held.name);
    get diagnostics found = row_count;
    changed := changed + found;
    if held.kept is not null then
      execute format('insert into %s select * from %s', held.name, held.kept);
    end if;
  end loop;
  return changed;
end $$;

do $$
declare
  held regclass;
  filled boolean;
begin
  for held in select before.tables() loop
    execute format('select exists (select from %s)', held) into filled;
    if filled then
      execute format('create table before.%I as table %s', replace(held::text, '.', '_'), held);
    end if;
  end loop;
end $$;
"""


@dataclass
class Databases:
    """Lends each test a database of one server."""

    server: servers.Postgres
    fingerprint: str = ""
    idle: list[str] = field(default_factory=list)

    async def prepare(self) -> None:
        """Make the template, with the three schemas."""
        await admin(self.server, f"create database {TEMPLATE}")
        dsn = self.server.dsn(database=TEMPLATE)
        for name in SERVICES:
            await migrate(dsn, name, ROOT / "services" / name)
        connection = await asyncpg.connect(dsn)
        # The service would make them as it starts.
        await connection.execute(MAKE_MONTHS, utc_now().date().replace(day=1))
        await connection.execute(RESTORE_SQL)
        self.fingerprint = await connection.fetchval("select before.fingerprint()")
        await connection.close()

    async def copy(self) -> Database:
        """Make a copy of the template."""
        name = f"test_{uuid.uuid4().hex}"
        copied = f"create database {name} template {TEMPLATE} strategy file_copy"
        await admin(self.server, copied)
        return Database(self.server, name)

    async def take(self) -> Database:
        """Return a database that is as the template."""
        return Database(self.server, self.idle.pop()) if self.idle else await self.copy()

    async def give_back(self, database: Database) -> None:
        """Keep a database for the next test, or drop it."""
        if await self._restored(database):
            self.idle.append(database.name)
        else:
            await admin(self.server, f"drop database {database.name} with (force)")

    async def _restored(self, database: Database) -> bool:
        try:
            connection = await asyncpg.connect(database.dsn())
        except asyncpg.PostgresError:
            return False
        try:
            changed = await connection.fetchval("select before.restore()")
            now = await connection.fetchval("select before.fingerprint()")
            return bool(changed < MAX_ROWS and now == self.fingerprint)
        except asyncpg.PostgresError:
            return False
        finally:
            await connection.close()
