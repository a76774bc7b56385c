-- Why: the roll-up of usage.
--
-- The table    usage_metrics_daily has a row for each UTC day, tenant and user with activity: a counter
--              an action, and a digest of the ids counted.
-- The flow     activity.recorded.<tenant> events are added to it, each once (inbox, same transaction);
--              metrics.aggregate.daily has a day compared with the log and repaired where it differs.
-- Guarantees   Equal count and digest mean that log and roll-up hold the same activities. The digest is
--              a sum of 64-bit hashes, so the order of events does not matter.
-- Across tenants  day_digests, a function of the owner, gives a count and a digest for each tenant.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists metrics.usage_metrics_daily (
  date date not null,
  tenant_id uuid not null,
  user_id uuid not null,
  total_logins bigint not null default 0,
  searches_executed bigint not null default 0,
  profiles_viewed bigint not null default 0,
  profiles_enriched bigint not null default 0,
  csv_exports bigint not null default 0,
  lists_created bigint not null default 0,
  list_additions bigint not null default 0,
  list_removals bigint not null default 0,
  statuses_updated bigint not null default 0,
  notes_added bigint not null default 0,
  personas_created bigint not null default 0,
  lookalike_searches bigint not null default 0,
  total_activities bigint not null default 0,
  digest numeric not null default 0,
  constraint usage_metrics_daily_pk primary key (tenant_id, date, user_id),
  constraint usage_metrics_daily_unique unique (date, tenant_id, user_id),
  constraint usage_metrics_daily_adds_up check (total_activities = total_logins + searches_executed
    + profiles_viewed + profiles_enriched + csv_exports + list_additions + list_removals
    + statuses_updated + notes_added + personas_created + lookalike_searches),
  constraint usage_metrics_daily_new_lists check (lists_created between 0 and list_additions)
);

create table if not exists metrics.reconciliations (
  tenant_id uuid not null,
  reconciliation_id uuid not null default uuidv7(),
  date date not null,
  outcome text not null,
  log_count bigint not null,
  rollup_count bigint not null,
  log_digest numeric not null,
  rollup_digest numeric not null,
  reconciled_at timestamptz not null default now(),
  constraint reconciliations_pk primary key (tenant_id, reconciliation_id),
  constraint reconciliations_outcome check (outcome in ('equal', 'repaired', 'moving'))
);

alter table metrics.usage_metrics_daily enable row level security;
alter table metrics.usage_metrics_daily force row level security;
alter table metrics.reconciliations enable row level security;
alter table metrics.reconciliations force row level security;
create policy usage_metrics_daily_of_tenant on metrics.usage_metrics_daily to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy reconciliations_of_tenant on metrics.reconciliations to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
-- For day_digests, which runs as the owner and gives aggregates only.
create policy usage_metrics_daily_of_auditor on metrics.usage_metrics_daily for select
  to metrics_owner using (true);

grant select, insert, update, delete on metrics.usage_metrics_daily to metrics_app;
grant select, insert on metrics.reconciliations to metrics_app;

-- One row a tenant for one UTC day: how many activities were counted, and the sum of their hashes.
create or replace function metrics.day_digests(day date)
returns table (tenant_id uuid, activity_count bigint, digest numeric)
language sql stable security definer set search_path = metrics, pg_temp as $$
  select u.tenant_id, sum(u.total_activities)::bigint, sum(u.digest)
  from metrics.usage_metrics_daily u
  where u.date = day
  group by u.tenant_id
  order by u.tenant_id
$$;

revoke all on function metrics.day_digests(date) from public;
grant execute on function metrics.day_digests(date) to metrics_app;
