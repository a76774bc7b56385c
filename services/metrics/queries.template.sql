-- The metrics service's statements, whole and named. Quarter-hours are counted in UTC, days in the
-- tenant's zone; $1 is the tenant.
--
-- In the template a list in double braces has an item for each counter (counters.py): `counter` is its
-- column, `codes` those of the actions that it counts. `make sql` writes queries.sql.

-- name: lock_shared
-- Lock a tenant for counting: others may count beside it, nobody may rewrite its rows.
select pg_advisory_xact_lock_shared(hashtextextended('metrics/' || $1::uuid, 0))

-- name: lock_exclusive
-- Lock a tenant for rewriting its rows: nobody may count meanwhile.
select pg_advisory_xact_lock(hashtextextended('metrics/' || $1::uuid, 0))

-- name: lock_rework
-- Lock a tenant for rewriting its rows while others count; taken before lock_exclusive.
select pg_advisory_xact_lock(hashtextextended('metrics/rework/' || $1::uuid, 0))

-- name: begin_counting
-- Remember the events ($3); return the new ones, the tenant's zone, and whether it has quotas.
with fresh as (
  insert into metrics.inbox (tenant_id, consumer, event_id)
  select $1, $2, id from unnest($3::uuid[]) id order by id
  on conflict do nothing returning event_id
)
select array(select event_id from fresh) as fresh,
  coalesce((select time_zone from metrics.settings where tenant_id = $1), 'UTC') as time_zone,
  exists (select from metrics.quotas where tenant_id = $1) as has_quotas

-- name: remember_events
-- Remember events ($3) as counted.
insert into metrics.inbox (tenant_id, consumer, event_id)
select $1, $2, id from unnest($3::uuid[]) id order by id
on conflict do nothing

-- name: count_events
-- How many of these events ($3) are remembered as counted.
select count(*) from metrics.inbox where tenant_id = $1 and consumer = $2 and event_id = any($3::uuid[])

-- name: count
-- Add entries to the roll-up, given as what their hash is made of, user, action (100 is add_to_list that
-- made a list) and moment. Grouped as they came first, which casts and sums few rows; upserted in the
-- order of keys, so that two replicas never wait for each other in a circle.
with entry as materialized (
  select created_at / 900000000 as quarter, user_id, action, count(*) as n,
    sum(hashtextextended(hashed, 0)) as digest
  from unnest($2::text[], $3::text[], $4::smallint[], $5::bigint[])
    as e (hashed, user_id, action, created_at)
  group by 1, 2, 3
), named as (
  select e.quarter, case when exists (
        select from metrics.erasures x
        where x.tenant_id = $1 and x.user_hash = metrics.user_hash($1, e.user_id::uuid))
      then '00000000-0000-0000-0000-000000000000' else e.user_id::uuid end as user_id, e.action, e.n, e.digest
  from entry e
), batch as materialized (
  select to_timestamp(e.quarter * 900) as quarter_hour, e.user_id,
    {{coalesce(sum(e.n) filter (where e.action in (codes)), 0) as counter}},
    sum(e.n) as total_activities, sum(e.digest) as digest
  from named e
  group by e.quarter, e.user_id
), quarters as (
  insert into metrics.usage_metrics_quarter_hours as u (tenant_id, quarter_hour, user_id,
    {{counter}}, digest)
  select $1, quarter_hour, user_id,
    {{counter}}, digest
  from batch order by quarter_hour, user_id
  on conflict (tenant_id, quarter_hour, user_id) do update set
    {{counter = u.counter + excluded.counter}},
    digest = u.digest + excluded.digest
), days as (
  insert into metrics.usage_metrics_daily as u (tenant_id, date, user_id,
    {{counter}}, digest)
  select $1, (quarter_hour at time zone $6)::date, user_id,
    {{sum(counter)}}, sum(digest)
  from batch group by 2, 3 order by 2, 3
  on conflict (tenant_id, date, user_id) do update set
    {{counter = u.counter + excluded.counter}},
    digest = u.digest + excluded.digest
), totals as (
  insert into metrics.usage_metrics_daily_totals as u (tenant_id, date,
    {{counter}})
  select $1, (quarter_hour at time zone $6)::date,
    {{sum(counter)}}
  from batch group by 2 order by 2
  on conflict (tenant_id, date) do update set
    {{counter = u.counter + excluded.counter}}
)
select (quarter_hour at time zone $6)::date as date,
  {{coalesce(sum(counter), 0)::bigint as counter}}
from batch group by 1

-- name: charge
-- Add what was counted ($2 counter, $3 date, $4 how many) to the quotas' periods.
insert into metrics.quota_usage as u (tenant_id, counter, period, period_start, used)
select $1, q.counter, q.period, date_trunc(q.period, n.date::timestamp)::date, sum(n.counted)
from metrics.quotas q
join unnest($2::text[], $3::date[], $4::bigint[]) as n (counter, date, counted) using (counter)
where q.tenant_id = $1
group by 2, 3, 4
order by 2, 3, 4
on conflict (tenant_id, counter, period, period_start) do update set used = u.used + excluded.used

-- name: mark_reached
-- Mark the limits that are reached and were not, and return them, each once.
update metrics.quota_usage u
set soft_reached_at = case when q.soft_limit > 0 and u.used >= q.soft_limit
    then coalesce(u.soft_reached_at, now()) else u.soft_reached_at end,
  hard_reached_at = case when q.hard_limit > 0 and u.used >= q.hard_limit
    then coalesce(u.hard_reached_at, now()) else u.hard_reached_at end
from metrics.quotas q
where u.tenant_id = $1 and q.tenant_id = $1 and q.counter = u.counter and q.period = u.period
  and u.counter in ({{'counter'}})
  and ((q.soft_limit > 0 and u.used >= q.soft_limit and u.soft_reached_at is null)
    or (q.hard_limit > 0 and u.used >= q.hard_limit and u.hard_reached_at is null))
returning u.counter, u.period, u.period_start, u.used, q.soft_limit, q.hard_limit, now() as reached_at,
  (old.soft_reached_at is null and new.soft_reached_at is not null) as soft,
  (old.hard_reached_at is null and new.hard_reached_at is not null) as hard

-- name: unmark_raised
-- Remove the mark of a limit that was raised above what is used: it may be reached again.
update metrics.quota_usage u
set soft_reached_at = case when u.used >= q.soft_limit then u.soft_reached_at end,
  hard_reached_at = case when u.used >= q.hard_limit then u.hard_reached_at end
from metrics.quotas q
where u.tenant_id = $1 and q.tenant_id = $1 and q.counter = u.counter and q.period = u.period
  and q.counter = $2 and q.period = $3

-- name: mark_past_reached
-- Mark a new limit as reached in the periods that are over at a moment ($4): none is announced.
update metrics.quota_usage u
set soft_reached_at = case when q.soft_limit > 0 and u.used >= q.soft_limit
    then coalesce(u.soft_reached_at, now()) end,
  hard_reached_at = case when q.hard_limit > 0 and u.used >= q.hard_limit
    then coalesce(u.hard_reached_at, now()) end
from metrics.quotas q left join metrics.settings s on s.tenant_id = q.tenant_id
where u.tenant_id = $1 and q.tenant_id = $1 and q.counter = u.counter and q.period = u.period
  and q.counter = $2 and q.period = $3
  and u.period_start < date_trunc(q.period,
    $4::timestamptz at time zone coalesce(s.time_zone, 'UTC'))::date

-- name: clear_quota_usage
-- Set what is used of the known counters to zero, to count it anew in the same transaction.
update metrics.quota_usage set used = 0 where tenant_id = $1 and counter in ({{'counter'}})

-- name: recount_quotas
-- Count what is used of each quota from the days.
insert into metrics.quota_usage as u (tenant_id, counter, period, period_start, used)
select $1, q.counter, q.period, date_trunc(q.period, u.date::timestamp)::date, sum(n.counted)
from metrics.usage_metrics_daily_totals u
cross join lateral (values
  {{('counter', u.counter)}}) as n (counter, counted)
join metrics.quotas q on q.tenant_id = $1 and q.counter = n.counter
where u.tenant_id = $1
group by 2, 3, 4
having sum(n.counted) > 0
order by 2, 3, 4
on conflict (tenant_id, counter, period, period_start) do update set used = excluded.used

-- name: has_quotas
-- Whether there is any quota.
select exists (select from metrics.quotas where tenant_id = $1)

-- name: quota_usage
-- What is used of the known counters in all periods.
select counter, period, period_start, used from metrics.quota_usage
where tenant_id = $1 and used > 0 and counter in ({{'counter'}})

-- name: drop_quota_usage
-- Delete what was used by period: the new zone has other periods.
delete from metrics.quota_usage where tenant_id = $1

-- name: set_quota
-- Make or replace a quota.
insert into metrics.quotas (tenant_id, counter, period, soft_limit, hard_limit)
values ($1, $2, $3, $4, $5)
on conflict (tenant_id, counter, period)
do update set soft_limit = excluded.soft_limit, hard_limit = excluded.hard_limit

-- name: delete_quota
-- Remove a quota and what was used of it.
delete from metrics.quotas where tenant_id = $1 and counter = $2 and period = $3 returning true

-- name: quotas
-- The quotas of one counter, or of all, with what is used at a moment ($3).
select q.counter, q.period, q.soft_limit, q.hard_limit, coalesce(u.used, 0) as used, now_is.period_start
from metrics.quotas q
left join metrics.settings s on s.tenant_id = q.tenant_id
cross join lateral (
  select date_trunc(q.period, $3::timestamptz at time zone coalesce(s.time_zone, 'UTC'))::date
) as now_is (period_start)
left join metrics.quota_usage u on u.tenant_id = q.tenant_id and u.counter = q.counter
  and u.period = q.period and u.period_start = now_is.period_start
where q.tenant_id = $1 and ($2::text is null or q.counter = $2)
order by q.counter, q.period

-- name: time_zone
-- The tenant's zone.
select coalesce((select time_zone from metrics.settings where tenant_id = $1), 'UTC')

-- name: local_days
-- The first moment of each day from $2 to $3 in a zone ($1): the first quarter of an hour whose local date
-- it is. Of a midnight that comes twice `at time zone` takes the second, so earlier quarters are looked at.
select (
  select min(m.midnight - k * interval '15 minutes') from generate_series(0, 12) k
  where ((m.midnight - k * interval '15 minutes') at time zone $1)::date >= d::date) as start
from generate_series($2::date::timestamp, $3::date::timestamp, interval '1 day') d
cross join lateral (select d at time zone $1 as midnight) m
order by d

-- name: knows_zone
-- Whether Postgres, which knows where days begin, knows a zone by this name.
select exists (select from pg_timezone_names where name = $1)

-- name: set_time_zone
-- Change where the tenant's days begin; its days have to be counted anew in the same transaction.
insert into metrics.settings (tenant_id, time_zone) values ($1, $2)
on conflict (tenant_id) do update set time_zone = excluded.time_zone

-- name: clear_days
-- Remove the days of a range, to count them anew in the same transaction.
delete from metrics.usage_metrics_daily where tenant_id = $1 and date between $2 and $3

-- name: clear_totals
-- Remove the totals of a range, to count them anew in the same transaction.
delete from metrics.usage_metrics_daily_totals where tenant_id = $1 and date between $2 and $3

-- name: recount_totals
-- Count the totals of a range from the days.
insert into metrics.usage_metrics_daily_totals (tenant_id, date,
  {{counter}})
select $1, date,
  {{sum(counter)}}
from metrics.usage_metrics_daily
where tenant_id = $1 and date between $2 and $3
group by date

-- name: recount_days
-- Count the days of a range from their quarters, in the zone $4. A quarter's own date decides: the other way
-- about, a midnight that a clock shows twice is one moment to Postgres and another to what counted. The
-- bounds in UTC, a day wider than any zone needs, are for the index.
insert into metrics.usage_metrics_daily (tenant_id, date, user_id,
  {{counter}}, digest)
select $1, (quarter_hour at time zone $4)::date, user_id,
  {{sum(counter)}}, sum(digest)
from metrics.usage_metrics_quarter_hours
where tenant_id = $1
  and (quarter_hour at time zone $4)::date between $2 and $3
  and quarter_hour >= ($2::date - 1)::timestamp at time zone 'UTC'
  and quarter_hour < ($3::date + 2)::timestamp at time zone 'UTC'
group by 2, 3

-- name: write_shadow_days
-- Count the days of a range ($3, $4) from their quarters, in the zone $5, into a shadow ($2): a day stands at
-- its date's 0:00 UTC. The bounds are those of recount_days.
insert into metrics.usage_shadow (tenant_id, rebuild_id, quarter_hour, user_id,
  {{counter}}, digest)
select $1, $2, (quarter_hour at time zone $5)::date::timestamp at time zone 'UTC', user_id,
  {{sum(counter)}}, sum(digest)
from metrics.usage_metrics_quarter_hours
where tenant_id = $1
  and (quarter_hour at time zone $5)::date between $3 and $4
  and quarter_hour >= ($3::date - 1)::timestamp at time zone 'UTC'
  and quarter_hour < ($4::date + 2)::timestamp at time zone 'UTC'
group by 3, 4

-- name: clear_shadow_days
-- Remove the days of a range from a shadow, to count them anew in the same transaction.
delete from metrics.usage_shadow
where tenant_id = $1 and rebuild_id = $2
  and (quarter_hour at time zone 'UTC')::date between $3 and $4

-- name: plan_swap
-- Plan without nested loops: a shadow that was just written is estimated to be empty.
select set_config('enable_nestloop', 'off', true)

-- name: clear_other_days
-- Remove the days that a shadow does not have, or has with other counts.
delete from metrics.usage_metrics_daily d
where d.tenant_id = $1 and not exists (
  select from metrics.usage_shadow s
  where s.tenant_id = $1 and s.rebuild_id = $2 and s.quarter_hour = d.date::timestamp at time zone 'UTC'
    and s.user_id = d.user_id
    and ({{s.counter}}, s.digest)
    = ({{d.counter}}, d.digest))

-- name: swap_in_days
-- Add the days of a shadow that are missing.
insert into metrics.usage_metrics_daily (tenant_id, date, user_id,
  {{counter}}, digest)
select $1, (s.quarter_hour at time zone 'UTC')::date, s.user_id,
  {{s.counter}}, s.digest
from metrics.usage_shadow s
where s.tenant_id = $1 and s.rebuild_id = $2 and not exists (
  select from metrics.usage_metrics_daily d
  where d.tenant_id = $1 and d.date = (s.quarter_hour at time zone 'UTC')::date and d.user_id = s.user_id)

-- name: has_newer_counters
-- Whether the roll-up has a column that this version does not know: a newer one counts in it.
select exists (
  select from information_schema.columns
  where table_schema = 'metrics' and table_name = 'usage_metrics_quarter_hours'
    and column_name not in ('tenant_id', 'quarter_hour', 'user_id', 'digest', {{'counter'}}))

-- name: remember_erasure
-- Count what a user did as the anonymous user's from now on.
insert into metrics.erasures (tenant_id, user_hash, erased_at) values ($1, metrics.user_hash($1, $2), $3)
on conflict do nothing

-- name: erase_quarters
-- Move a user's quarter-hours to the anonymous user.
with gone as (
  delete from metrics.usage_metrics_quarter_hours where tenant_id = $1 and user_id = $2
  returning quarter_hour,
    {{counter}}, digest
)
insert into metrics.usage_metrics_quarter_hours as u (tenant_id, quarter_hour, user_id,
  {{counter}}, digest)
select $1, quarter_hour, '00000000-0000-0000-0000-000000000000',
  {{counter}}, digest
from gone order by quarter_hour
on conflict (tenant_id, quarter_hour, user_id) do update set
  {{counter = u.counter + excluded.counter}},
  digest = u.digest + excluded.digest

-- name: erase_shadows
-- Move a user's part of the shadows to the anonymous user: a rebuild that runs swaps them in.
with gone as (
  delete from metrics.usage_shadow where tenant_id = $1 and user_id = $2
  returning rebuild_id, quarter_hour,
    {{counter}}, digest
)
insert into metrics.usage_shadow as u (tenant_id, rebuild_id, quarter_hour, user_id,
  {{counter}}, digest)
select $1, rebuild_id, quarter_hour, '00000000-0000-0000-0000-000000000000',
  {{counter}}, digest
from gone order by rebuild_id, quarter_hour
on conflict (tenant_id, rebuild_id, quarter_hour, user_id) do update set
  {{counter = u.counter + excluded.counter}},
  digest = u.digest + excluded.digest

-- name: erase_findings
-- Replace a user by the anonymous one in the findings that are kept.
update metrics.reconciliations r
set findings = (
  select jsonb_agg(case when f.finding ->> 'user_id' = $2::uuid::text
    then f.finding || '{"user_id": "00000000-0000-0000-0000-000000000000"}' else f.finding end order by f.ordinal)
  from jsonb_array_elements(r.findings) with ordinality as f (finding, ordinal))
where r.tenant_id = $1 and r.findings @> jsonb_build_array(jsonb_build_object('user_id', $2::uuid::text))

-- name: erase_days
-- Move a user's days to the anonymous user.
with gone as (
  delete from metrics.usage_metrics_daily where tenant_id = $1 and user_id = $2
  returning date,
    {{counter}}, digest
)
insert into metrics.usage_metrics_daily as u (tenant_id, date, user_id,
  {{counter}}, digest)
select $1, date, '00000000-0000-0000-0000-000000000000',
  {{counter}}, digest
from gone order by date
on conflict (tenant_id, date, user_id) do update set
  {{counter = u.counter + excluded.counter}},
  digest = u.digest + excluded.digest

-- name: usage
-- A page of days by user, in order, above the cursor ($5, $6); null filters do not narrow.
select date, user_id,
  {{counter}}
from metrics.usage_metrics_daily
where tenant_id = $1 and date between $2 and $3
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::date is null or (date, user_id) > ($5, $6::uuid))
order by date, user_id
limit $7

-- name: totals
-- The days of all users together between two, with the tenant's zone (see the second migration); needs no
-- tenant to be set.
select time_zone, date, {{counter}} from metrics.daily_totals($1, $2, $3)

-- name: totals_of_users_by_days
-- The sums of some users' periods, from one day to another each.
select p.period,
  {{coalesce(sum(counter), 0)::bigint as counter}}
from unnest($2::int[], $3::date[], $4::date[]) as p (period, first_day, last_day)
left join metrics.usage_metrics_daily u
  on u.tenant_id = $1 and u.date between p.first_day and p.last_day
  and u.user_id = any($5::uuid[])
group by p.period order by p.period

-- name: totals_by_quarters
-- The sums of periods, from one moment to before another each; null users are all.
select p.period,
  {{coalesce(sum(counter), 0)::bigint as counter}}
from unnest($2::int[], $3::timestamptz[], $4::timestamptz[]) as p (period, first_moment, end_moment)
left join metrics.usage_metrics_quarter_hours u
  on u.tenant_id = $1 and u.quarter_hour >= p.first_moment and u.quarter_hour < p.end_moment
  and ($5::uuid[] is null or u.user_id = any($5))
group by p.period order by p.period

-- name: users_by_days
-- A page of periods by user, those with nothing too: who was active between $6 and $7, above the cursor
-- ($8, $9; $10 says the cursor's own too), in order.
select page.period, page.user_id, n.*
from (
  select p.period, p.first_day, p.last_day, w.user_id
  from unnest($2::int[], $3::date[], $4::date[]) as p (period, first_day, last_day)
  cross join (
    select distinct user_id from metrics.usage_metrics_daily
    where tenant_id = $1 and date between $6 and $7 and ($5::uuid[] is null or user_id = any($5))
  ) as w
  where $8::int is null or (p.period, w.user_id) > ($8, $9::uuid)
    or $10::boolean and (p.period, w.user_id) = ($8, $9)
  order by p.period, w.user_id limit $11
) as page
cross join lateral (
  select
    {{coalesce(sum(counter), 0)::bigint as counter}}
  from metrics.usage_metrics_daily u
  where u.tenant_id = $1 and u.user_id = page.user_id
    and u.date between page.first_day and page.last_day
) as n
order by page.period, page.user_id

-- name: users_by_quarters
-- The same for periods that are shorter than days.
select page.period, page.user_id, n.*
from (
  select p.period, p.first_moment, p.end_moment, w.user_id
  from unnest($2::int[], $3::timestamptz[], $4::timestamptz[])
    as p (period, first_moment, end_moment)
  cross join (
    select distinct user_id from metrics.usage_metrics_daily
    where tenant_id = $1 and date between $6 and $7 and ($5::uuid[] is null or user_id = any($5))
  ) as w
  where $8::int is null or (p.period, w.user_id) > ($8, $9::uuid)
    or $10::boolean and (p.period, w.user_id) = ($8, $9)
  order by p.period, w.user_id limit $11
) as page
cross join lateral (
  select
    {{coalesce(sum(counter), 0)::bigint as counter}}
  from metrics.usage_metrics_quarter_hours u
  where u.tenant_id = $1 and u.user_id = page.user_id
    and u.quarter_hour >= page.first_moment and u.quarter_hour < page.end_moment
) as n
order by page.period, page.user_id

-- name: active_users
-- How many users were active in each period, from one day ($2) to another ($3), in their order; the
-- anonymous one is not a user.
select p.period, count(a.user_id) as active_users
from unnest($2::date[], $3::date[]) with ordinality as p (first_day, last_day, period)
left join lateral (
  select distinct u.user_id from metrics.usage_metrics_daily u
  where u.tenant_id = $1 and u.date between p.first_day and p.last_day
    and u.user_id <> '00000000-0000-0000-0000-000000000000'
) as a on true
group by p.period order by p.period

-- name: top_users
-- A page of users by the sum of one counter ($4) between two days, most first, below the cursor ($5, $6).
select ranked.*
from (
  select n.*, (to_jsonb(n) ->> $4)::bigint as count
  from (
    select user_id,
      {{coalesce(sum(counter), 0)::bigint as counter}}
    from metrics.usage_metrics_daily
    where tenant_id = $1 and date between $2 and $3
      and user_id <> '00000000-0000-0000-0000-000000000000'
    group by user_id
  ) as n
) as ranked
where count > 0 and ($5::bigint is null or count < $5 or count = $5 and user_id > $6::uuid)
order by count desc, user_id
limit $7

-- name: today
-- What the tenant did on the day that a moment ($2) is in, as it is by now.
select now_is.date, (
    select count(*) from metrics.usage_metrics_daily a
    where a.tenant_id = $1 and a.date = now_is.date
      and a.user_id <> '00000000-0000-0000-0000-000000000000') as active_users,
        {{coalesce(u.counter, 0) as counter}}
from (
  select ($2::timestamptz at time zone coalesce(
    (select time_zone from metrics.settings where tenant_id = $1), 'UTC'))::date as date
) as now_is
left join metrics.usage_metrics_daily_totals u on u.tenant_id = $1 and u.date = now_is.date

-- name: export
-- Days by user as lines of CSV, in order; nothing in them needs quotes.
select concat_ws(',', date, user_id,
  {{counter}}) || E'\r\n' as line
from metrics.usage_metrics_daily
where tenant_id = $1 and date between $2 and $3
order by date, user_id

-- name: day_digests
-- For one UTC day, each tenant's count and digest (see the second migration).
select tenant_id, activity_count, digest from metrics.day_digests($1)

-- name: uneven_days
-- Where days are not the sums that they should be (see the second migration).
select tenant_id, date, user_id, right_count, day_count from metrics.uneven_days($1)

-- name: digests_of
-- One tenant's UTC days between two, with count and digest.
select (quarter_hour at time zone 'UTC')::date as date,
  sum(total_activities)::bigint as activity_count, sum(digest) as digest
from metrics.usage_metrics_quarter_hours
where tenant_id = $1 and quarter_hour >= $2::date::timestamp at time zone 'UTC'
  and quarter_hour < ($3::date + 1)::timestamp at time zone 'UTC'
group by 1

-- name: day_by_user
-- One tenant's UTC day by user, in order, as the log's counts are summed.
select user_id,
  {{coalesce(sum(counter), 0)::bigint as counter}}, sum(digest) as digest
from metrics.usage_metrics_quarter_hours
where tenant_id = $1 and quarter_hour >= $2::date::timestamp at time zone 'UTC'
  and quarter_hour < ($2::date + 1)::timestamp at time zone 'UTC'
group by user_id
order by user_id

-- name: erased_users
-- The hashes of the users who are counted as the anonymous one.
select user_hash from metrics.erasures where tenant_id = $1

-- name: write_shadow
-- Add some of the log's counts of a UTC day ($3), by quarter, user and action, to a shadow.
insert into metrics.usage_shadow as u (tenant_id, rebuild_id, quarter_hour, user_id,
  {{counter}}, digest)
select $1, $2, ($3::date::timestamp at time zone 'UTC') + e.quarter * interval '15 minutes', e.user_id,
  {{coalesce(sum(e.n) filter (where e.action in (codes)), 0) as counter}},
  sum(e.n), sum(e.digest)
from unnest($4::int[], $5::uuid[], $6::smallint[], $7::bigint[], $8::numeric[])
  as e (quarter, user_id, action, n, digest)
group by 3, 4
order by 3, 4
on conflict (tenant_id, rebuild_id, quarter_hour, user_id) do update set
  {{counter = u.counter + excluded.counter}},
  digest = u.digest + excluded.digest

-- name: clear_quarters
-- Remove a UTC day's quarters, to swap the shadow in, in the same transaction.
delete from metrics.usage_metrics_quarter_hours
where tenant_id = $1 and quarter_hour >= $2::date::timestamp at time zone 'UTC'
  and quarter_hour < ($2::date + 1)::timestamp at time zone 'UTC'

-- name: swap_in
-- Make a shadow the roll-up; those who were erased meanwhile are anonymous.
insert into metrics.usage_metrics_quarter_hours (tenant_id, quarter_hour, user_id,
  {{counter}}, digest)
select $1, e.quarter_hour, case when exists (
      select from metrics.erasures x
      where x.tenant_id = $1 and x.user_hash = metrics.user_hash($1, e.user_id))
    then '00000000-0000-0000-0000-000000000000' else e.user_id end,
      {{sum(counter)}}, sum(digest)
from metrics.usage_shadow e
where e.tenant_id = $1 and e.rebuild_id = $2
group by 2, 3

-- name: drop_shadow
-- Delete a shadow.
delete from metrics.usage_shadow where tenant_id = $1 and rebuild_id = $2

-- name: drop_old_shadows
-- Delete the shadows that crashes left behind, of all tenants (see the third migration).
select metrics.drop_old_shadows()

-- name: note_reconciliation
-- Store how log and roll-up compared; who was erased meanwhile is anonymous. Needs the tenant's shared lock,
-- so that an erasure comes before or after it.
insert into metrics.reconciliations (tenant_id, date, outcome, log_count, rollup_count, log_digest,
  rollup_digest, finding_count, findings)
select $1, $2, $3, $4, $5, $6, $7, $8, coalesce(jsonb_agg(case when exists (
      select from metrics.erasures x where x.tenant_id = $1
        and x.user_hash = metrics.user_hash($1, nullif(f.finding ->> 'user_id', '')::uuid))
    then f.finding || '{"user_id": "00000000-0000-0000-0000-000000000000"}' else f.finding end order by f.ordinal),
  '[]')
from jsonb_array_elements($9::jsonb) with ordinality as f (finding, ordinal)
