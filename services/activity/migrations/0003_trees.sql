-- Why: a tenant's batches are put into one Merkle tree, whose root is signed: whoever keeps a signed
-- checkpoint can tell that nothing before it was altered, removed or inserted.
--
-- The tables   trees holds one row a tenant: the tree's size, its frontier (the roots of its complete
--              subtrees, the largest first) and the signed checkpoint. tiles holds the roots of the
--              complete subtrees of 256, 65,536, … leaves, 256 hashes a row, so that a proof reads a
--              few rows and never the log. The leaves themselves stay in batches.
-- The flow     The sealer gives unsealed batches their place (batches.first_leaf), appends their leaves,
--              signs, and writes all of it in one transaction a tenant.
-- Guarantees   Places follow each other without gap or overlap. A tree that does not have the root that
--              was signed is not appended to.
-- Across tenants  activity_sealer sees which tenants have unsealed batches, by id; nothing else crosses.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.trees (
  tenant_id uuid not null,
  size bigint not null,
  frontier bytea not null,
  note text not null,
  began_at timestamptz not null,
  sealed_at timestamptz not null,
  constraint trees_pk primary key (tenant_id),
  constraint trees_frontier check (
    size > 0 and octet_length(frontier) = 32 * bit_count(size::bit(64)))
);

create table if not exists activity.tiles (
  tenant_id uuid not null,
  -- 1 for subtrees of 256 leaves, 2 for those of 65,536, and so on.
  level int not null,
  tile bigint not null,
  hashes bytea not null,
  constraint tiles_pk primary key (tenant_id, level, tile),
  constraint tiles_hashes check (
    level > 0 and octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0)
);
alter table activity.tiles alter column hashes set storage external;

alter table activity.trees enable row level security;
alter table activity.trees force row level security;
alter table activity.tiles enable row level security;
alter table activity.tiles force row level security;
create policy trees_of_tenant on activity.trees to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy tiles_of_tenant on activity.tiles to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy batches_of_sealer on activity.batches for select to activity_sealer
  using (first_leaf is null);

-- A time as ISO 8601 in UTC, to the microsecond.
create or replace function activity.to_iso(moment timestamptz)
returns text language sql immutable parallel safe as $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

grant select, insert, update on activity.trees, activity.tiles to activity_app;
grant select (tenant_id, batch_id, first_leaf) on activity.batches to activity_sealer;
