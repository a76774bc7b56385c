-- Why: a user can be erased, a tenant can keep its log for less time than the whole, and old months go.
--
-- The tables   erasures holds the receipt of each erasure; retention the days that a tenant chose.
-- Erasing      an entry loses who, on what and from where, and its salt; id, time and action stay, so that
--              counts hold and its leaf still stands in the tree. It names its receipt (erased_by).
-- Expiry       activity_keeper sees which tenants keep their log for how long, and which requests are old
--              enough to forget; entries are deleted as their own tenant. Whole months are detached and
--              dropped by the owner (`prospect activity maintain`), since only an owner can.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.erasures (
  tenant_id uuid not null,
  receipt_id uuid not null,
  user_id uuid not null,
  erased_count bigint not null,
  erased_at timestamptz not null,
  constraint erasures_pk primary key (tenant_id, receipt_id)
);

create table if not exists activity.retention (
  tenant_id uuid not null,
  retention_days int not null,
  updated_at timestamptz not null default now(),
  constraint retention_pk primary key (tenant_id),
  constraint retention_days_range check (retention_days between 1 and 3650)
);

alter table activity.erasures enable row level security;
alter table activity.erasures force row level security;
alter table activity.retention enable row level security;
alter table activity.retention force row level security;
create policy erasures_of_tenant on activity.erasures to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy retention_of_tenant on activity.retention to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy retention_of_keeper on activity.retention for select to activity_keeper using (true);
-- For day_digests, which runs as the owner and gives aggregates only.
create policy retention_of_auditor on activity.retention for select to activity_owner using (true);
create policy requests_of_keeper on activity.requests for all to activity_keeper using (true);

grant select, insert, update (erased_count) on activity.erasures to activity_app;
grant select, insert, update, delete on activity.retention to activity_app;
grant select on activity.retention to activity_keeper;
grant select (answered_at), delete on activity.requests to activity_keeper;
-- Erasing changes these columns and no others; expiry deletes.
grant update (user_id, target_id, metadata, ip_address, user_agent, salt, erased_by), delete
  on activity.activity_log to activity_app;

-- The months of the log: sizes, and the planner's estimate of rows, all tenants together.
create or replace function activity.partitions()
returns table (month date, estimated_rows bigint, table_bytes bigint, index_bytes bigint)
language sql stable security definer set search_path = activity, pg_temp as $$
  select to_date(right(c.relname, 7), 'YYYY_MM'), c.reltuples::bigint, pg_table_size(c.oid),
    pg_indexes_size(c.oid)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'activity.activity_log'::regclass and not i.inhdetachpending
  order by 1
$$;
revoke all on function activity.partitions() from public;
grant execute on function activity.partitions() to activity_app;

-- The tenants that keep their log for so short that a day is not kept any more.
create or replace function activity.tenants_past(day date, today date)
returns table (tenant_id uuid)
language sql stable security definer set search_path = activity, pg_temp as $$
  select r.tenant_id from activity.retention r where day < today - r.retention_days
$$;
revoke all on function activity.tenants_past(date, date) from public;
grant execute on function activity.tenants_past(date, date) to activity_app;
