-- Why: the activity log.
--
-- The table    activity_log holds one row an activity, partitioned by the month in which it happened
--              (created_at). There is no default partition: a month is made before a row needs it.
-- The flow     RecordActivities writes rows and, in the same transaction, one outbox row for the whole
--              batch; the relay publishes it as activity.recorded.<tenant>; metrics counts it.
-- Guarantees   A row is written once: the key is (tenant_id, created_at, activity_id), and a repeat is a
--              duplicate. A tenant sees its own rows only: row level security is on and forced, and the
--              partitions themselves grant nothing, so that the parent's policy is the only way in.
-- Across tenants  Two functions of the owner do what no tenant may: ensure_partitions makes months,
--              day_digests gives a count and a digest for each tenant, and no content.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.activity_log (
  tenant_id uuid not null,
  activity_id uuid not null,
  user_id uuid not null,
  action_type text not null,
  target_id text not null default '',
  metadata jsonb not null default '{}',
  created_at timestamptz not null,
  recorded_at timestamptz not null default now(),
  ip_address inet,
  user_agent text not null default '',
  constraint activity_log_pk primary key (tenant_id, created_at, activity_id),
  constraint activity_log_action_type check (action_type in (
    'login', 'search_executed', 'profile_viewed', 'profile_enriched', 'add_to_list',
    'remove_from_list', 'status_updated', 'note_added', 'csv_exported', 'persona_created',
    'lookalike_search')),
  constraint activity_log_metadata_is_object check (jsonb_typeof(metadata) = 'object')
) partition by range (created_at);

create index if not exists activity_log_created_at
  on activity.activity_log using brin (created_at);
create index if not exists activity_log_tenant_action
  on activity.activity_log (tenant_id, action_type, created_at desc);
create index if not exists activity_log_user
  on activity.activity_log (user_id, created_at desc);
create index if not exists activity_log_metadata
  on activity.activity_log using gin (metadata);

alter table activity.activity_log enable row level security;
alter table activity.activity_log force row level security;
create policy activity_log_of_tenant on activity.activity_log to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
-- For day_digests, which runs as the owner and gives aggregates only.
create policy activity_log_of_auditor on activity.activity_log for select to activity_owner
  using (true);
grant select, insert on activity.activity_log to activity_app;

-- Makes the months from first_month's to last_month's where they are missing (UTC months).
create or replace function activity.ensure_partitions(first_month date, last_month date)
returns int language plpgsql security definer set search_path = activity, pg_temp as $$
declare
  month date := date_trunc('month', first_month)::date;
  made int := 0;
  partition text;
begin
  if last_month > first_month + interval '10 years' then
    raise exception 'more than ten years of partitions at once';
  end if;
  perform pg_advisory_xact_lock(hashtext('activity.ensure_partitions'));
  while month <= last_month loop
    partition := 'activity_log_' || to_char(month, 'YYYY_MM');
    if to_regclass('activity.' || partition) is null then
      execute format(
        'create table activity.%I partition of activity.activity_log for values from (%L) to (%L)',
        partition, month || ' 00:00:00+00', (month + interval '1 month')::date || ' 00:00:00+00');
      execute format('alter table activity.%I enable row level security', partition);
      execute format('alter table activity.%I force row level security', partition);
      made := made + 1;
    end if;
    month := (month + interval '1 month')::date;
  end loop;
  return made;
end $$;

create policy outbox_of_auditor on activity.outbox for select to activity_owner using (true);

-- One row a tenant for one UTC day: how many activities, the sum of a 64-bit hash of each one's id and
-- action, and how many events still wait in the outbox. The sum does not depend on order; equal digests
-- and counts mean equal sets.
create or replace function activity.day_digests(day date)
returns table (tenant_id uuid, activity_count bigint, digest numeric, unpublished_events bigint)
language sql stable security definer set search_path = activity, pg_temp as $$
  select l.tenant_id, count(*), sum(hashtextextended(l.activity_id::text || l.action_type, 0)),
    (select count(*) from activity.outbox o where o.tenant_id = l.tenant_id)
  from activity.activity_log l
  where l.created_at >= day::timestamp at time zone 'UTC'
    and l.created_at < (day + 1)::timestamp at time zone 'UTC'
  group by l.tenant_id
  order by l.tenant_id
$$;

revoke all on function activity.ensure_partitions(date, date) from public;
revoke all on function activity.day_digests(date) from public;
grant execute on function activity.ensure_partitions(date, date) to activity_app;
grant execute on function activity.day_digests(date) to activity_app;
