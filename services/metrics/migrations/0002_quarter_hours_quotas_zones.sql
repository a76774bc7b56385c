-- Why: usage by the hour, in the tenant's time zone, with quotas; counted anew without half being seen.
--
-- The tables   usage_metrics_quarter_hours is the finest roll-up: a row for each quarter of an hour (UTC),
--              tenant and user. Every zone's offset since 1972 is a multiple of a quarter, Kathmandu's
--              5:45 too, so that hours and days of any zone are exact sums of its rows.
--              usage_metrics_daily holds the days of the tenant's time zone, sums of the above, and
--              usage_metrics_daily_totals those of all its users together: what is read most is a row a day.
--              settings has that zone; no row means UTC. usage_shadow is where a rebuild counts before it
--              swaps. quotas are limits, quota_usage what is used of each in each period.
--              erasures are the users who are counted as the anonymous one, UUID 0.
-- The flow     A counting transaction takes the tenant's advisory lock shared, so that any number count
--              side by side, and upserts quarters, days, totals and quota_usage, each in the order of keys.
--              What changes what is there (a zone, a quota, an erasure, a repair) takes it exclusive.
-- Guarantees   A day is the sum of its quarters, a total of its days, and quota_usage too, at every commit. A limit's
--              reaching is written once, with its event.
-- Across tenants  day_digests and uneven_days, functions of the owner, give counts and no content.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists metrics.usage_metrics_quarter_hours (
  tenant_id uuid not null,
  quarter_hour timestamptz not null,
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
  constraint usage_metrics_quarter_hours_pk primary key (tenant_id, quarter_hour, user_id),
  constraint usage_metrics_quarter_hours_adds_up check (total_activities = total_logins +
      searches_executed
    + profiles_viewed + profiles_enriched + csv_exports + list_additions + list_removals
    + statuses_updated + notes_added + personas_created + lookalike_searches),
  constraint usage_metrics_quarter_hours_new_lists check (lists_created between 0 and list_additions)
);
create index if not exists usage_metrics_quarter_hours_moment
  on metrics.usage_metrics_quarter_hours (quarter_hour, tenant_id);

-- What was counted before: known by its UTC day only, so it stands at the day's first quarter until a
-- rebuild.
insert into metrics.usage_metrics_quarter_hours (tenant_id, quarter_hour, user_id,
  total_logins, searches_executed, profiles_viewed, profiles_enriched, csv_exports, lists_created,
  list_additions, list_removals, statuses_updated, notes_added, personas_created,
  lookalike_searches, total_activities, digest)
select tenant_id, date::timestamp at time zone 'UTC', user_id,
  total_logins, searches_executed, profiles_viewed, profiles_enriched, csv_exports, lists_created,
  list_additions, list_removals, statuses_updated, notes_added, personas_created,
  lookalike_searches, total_activities, digest
from metrics.usage_metrics_daily
on conflict do nothing;

create table if not exists metrics.usage_metrics_daily_totals (
  tenant_id uuid not null,
  date date not null,
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
  constraint usage_metrics_daily_totals_pk primary key (tenant_id, date)
);
create index if not exists usage_metrics_daily_totals_date
  on metrics.usage_metrics_daily_totals (date, tenant_id);

insert into metrics.usage_metrics_daily_totals (tenant_id, date,
  total_logins, searches_executed, profiles_viewed, profiles_enriched, csv_exports, lists_created,
  list_additions, list_removals, statuses_updated, notes_added, personas_created,
  lookalike_searches, total_activities)
select tenant_id, date,
  sum(total_logins), sum(searches_executed), sum(profiles_viewed), sum(profiles_enriched),
  sum(csv_exports), sum(lists_created), sum(list_additions), sum(list_removals),
  sum(statuses_updated), sum(notes_added), sum(personas_created), sum(lookalike_searches),
  sum(total_activities)
from metrics.usage_metrics_daily group by tenant_id, date
on conflict do nothing;

create table if not exists metrics.usage_shadow (
  tenant_id uuid not null,
  rebuild_id uuid not null,
  quarter_hour timestamptz not null,
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
  constraint usage_shadow_pk primary key (tenant_id, rebuild_id, quarter_hour, user_id)
);

create table if not exists metrics.settings (
  tenant_id uuid not null,
  time_zone text not null default 'UTC',
  constraint settings_pk primary key (tenant_id)
);

create table if not exists metrics.erasures (
  tenant_id uuid not null,
  user_id uuid not null,
  erased_at timestamptz not null,
  constraint erasures_pk primary key (tenant_id, user_id)
);

create table if not exists metrics.quotas (
  tenant_id uuid not null,
  counter text not null,
  period text not null,
  soft_limit bigint not null default 0,
  hard_limit bigint not null default 0,
  constraint quotas_pk primary key (tenant_id, counter, period),
  constraint quotas_period check (period in ('day', 'month')),
  constraint quotas_some_limit check (soft_limit >= 0 and hard_limit >= 0
    and soft_limit + hard_limit > 0)
);

create table if not exists metrics.quota_usage (
  tenant_id uuid not null,
  counter text not null,
  period text not null,
  period_start date not null,
  used bigint not null default 0,
  soft_reached_at timestamptz,
  hard_reached_at timestamptz,
  constraint quota_usage_pk primary key (tenant_id, counter, period, period_start),
  constraint quota_usage_quota foreign key (tenant_id, counter, period)
    references metrics.quotas (tenant_id, counter, period) on delete cascade
);

-- What differed, by user, as JSON: [{"user_id", "log_count", "rollup_count", "reason"}].
alter table metrics.reconciliations add column if not exists findings jsonb not null default '[]';

alter table metrics.usage_metrics_quarter_hours enable row level security;
alter table metrics.usage_metrics_quarter_hours force row level security;
create policy usage_metrics_quarter_hours_of_tenant on metrics.usage_metrics_quarter_hours to
      metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.usage_metrics_daily_totals enable row level security;
alter table metrics.usage_metrics_daily_totals force row level security;
create policy usage_metrics_daily_totals_of_tenant on metrics.usage_metrics_daily_totals to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.usage_shadow enable row level security;
alter table metrics.usage_shadow force row level security;
create policy usage_shadow_of_tenant on metrics.usage_shadow to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.settings enable row level security;
alter table metrics.settings force row level security;
create policy settings_of_tenant on metrics.settings to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.erasures enable row level security;
alter table metrics.erasures force row level security;
create policy erasures_of_tenant on metrics.erasures to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.quotas enable row level security;
alter table metrics.quotas force row level security;
create policy quotas_of_tenant on metrics.quotas to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
alter table metrics.quota_usage enable row level security;
alter table metrics.quota_usage force row level security;
create policy quota_usage_of_tenant on metrics.quota_usage to metrics_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
-- For day_digests and uneven_days, which run as the owner and give aggregates only.
create policy usage_metrics_quarter_hours_of_auditor on metrics.usage_metrics_quarter_hours
  for select to metrics_owner using (true);
create policy usage_metrics_daily_totals_of_auditor on metrics.usage_metrics_daily_totals
  for select to metrics_owner using (true);
create policy settings_of_auditor on metrics.settings for select to metrics_owner using (true);

grant select, insert, update, delete on metrics.usage_metrics_quarter_hours,
  metrics.usage_metrics_daily_totals, metrics.usage_shadow,
  metrics.quotas, metrics.quota_usage to metrics_app;
grant select, insert, update on metrics.settings to metrics_app;
grant select, insert on metrics.erasures to metrics_app;

create or replace function metrics.day_digests(day date)
returns table (tenant_id uuid, activity_count bigint, digest numeric)
language sql stable security definer set search_path = metrics, pg_temp as $$
  select u.tenant_id, sum(u.total_activities)::bigint, sum(u.digest)
  from metrics.usage_metrics_quarter_hours u
  where u.quarter_hour >= day::timestamp at time zone 'UTC'
    and u.quarter_hour < (day + 1)::timestamp at time zone 'UTC'
  group by u.tenant_id
  order by u.tenant_id
$$;

-- Where a user's local day of this date is not the sum of its quarters, or (user_id null) the tenant's
-- total not that of its users' days.
create or replace function metrics.uneven_days(day date)
returns table (
  tenant_id uuid, date date, user_id uuid, right_count bigint, day_count bigint)
language sql stable security definer set search_path = metrics, pg_temp as $$
  with side as (
    select u.tenant_id,
      (u.quarter_hour at time zone coalesce(s.time_zone, 'UTC'))::date as date, u.user_id,
      1 as sign, u.total_logins, u.searches_executed, u.profiles_viewed, u.profiles_enriched,
      u.csv_exports, u.lists_created, u.list_additions, u.list_removals, u.statuses_updated,
      u.notes_added, u.personas_created, u.lookalike_searches, u.total_activities, u.digest
    from metrics.usage_metrics_quarter_hours u left join metrics.settings s using (tenant_id)
    where u.quarter_hour >= (day - 1)::timestamp at time zone 'UTC'
      and u.quarter_hour < (day + 2)::timestamp at time zone 'UTC'
    union all
    select u.tenant_id, u.date, u.user_id, -1, u.total_logins, u.searches_executed,
      u.profiles_viewed, u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions,
      u.list_removals, u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, u.digest
    from metrics.usage_metrics_daily u
    where u.date = day
    union all
    select u.tenant_id, u.date, null, 1, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, 0
    from metrics.usage_metrics_daily u
    where u.date = day
    union all
    select u.tenant_id, u.date, null, -1, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, 0
    from metrics.usage_metrics_daily_totals u
    where u.date = day
  )
  select d.tenant_id, d.date, d.user_id,
    coalesce(sum(d.total_activities) filter (where d.sign = 1), 0)::bigint,
    coalesce(sum(d.total_activities) filter (where d.sign = -1), 0)::bigint
  from side d
  where d.date = day
  group by d.tenant_id, d.date, d.user_id
  having sum(d.sign * d.total_logins) <> 0 or sum(d.sign * d.searches_executed) <> 0 or sum(d.sign *
      d.profiles_viewed) <> 0 or sum(d.sign * d.profiles_enriched) <> 0 or sum(d.sign *
      d.csv_exports) <> 0 or sum(d.sign * d.lists_created) <> 0 or sum(d.sign * d.list_additions) <>
      0 or sum(d.sign * d.list_removals) <> 0 or sum(d.sign * d.statuses_updated) <> 0 or sum(d.sign
      * d.notes_added) <> 0 or sum(d.sign * d.personas_created) <> 0 or sum(d.sign *
      d.lookalike_searches) <> 0 or sum(d.sign * d.total_activities) <> 0 or sum(d.sign * d.digest)
      <> 0
  order by 1, 2, 3
$$;

revoke all on function metrics.uneven_days(date) from public;
grant execute on function metrics.uneven_days(date) to metrics_app;

-- The days of all users together between two, with the tenant's zone; one row without a day where there are
-- none. It runs as its caller and sees one tenant's rows as any statement does: it makes the tenant the
-- setting for as long as it runs, which saves the most frequent call two of its three round trips.
create or replace function metrics.daily_totals(tenant uuid, first_day date, last_day date)
returns table (
  time_zone text, date date, total_logins bigint, searches_executed bigint, profiles_viewed bigint,
  profiles_enriched bigint, csv_exports bigint, lists_created bigint, list_additions bigint,
  list_removals bigint, statuses_updated bigint, notes_added bigint, personas_created bigint,
  lookalike_searches bigint, total_activities bigint)
language plpgsql stable set search_path = metrics, pg_temp as $$
#variable_conflict use_column
begin
  perform set_config('app.current_tenant_id', tenant::text, true);
  return query
    select s.time_zone, u.date, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities
    from (
      select coalesce((
        select z.time_zone from metrics.settings z where z.tenant_id = tenant), 'UTC') as time_zone
    ) as s
    left join metrics.usage_metrics_daily_totals u
      on u.tenant_id = tenant and u.date between first_day and last_day
    order by u.date;
end
$$;

revoke all on function metrics.daily_totals(uuid, date, date) from public;
grant execute on function metrics.daily_totals(uuid, date, date) to metrics_app;
