-- The metrics service's statements, whole and named; store.py calls them.

-- name: apply
-- Add a batch of activities to the roll-up, in one statement and in one order of rows, so that two
-- batches never wait for each other in a circle.
insert into metrics.usage_metrics_daily as u (
  tenant_id, date, user_id, total_logins, searches_executed, profiles_viewed, profiles_enriched,
  csv_exports, lists_created, list_additions, list_removals, statuses_updated, notes_added,
  personas_created, lookalike_searches, total_activities, digest)
select $1, (timestamp 'epoch' + e.created_at * interval '1 microsecond')::date, e.user_id,
  count(*) filter (where e.action_type = 'login'),
  count(*) filter (where e.action_type = 'search_executed'),
  count(*) filter (where e.action_type = 'profile_viewed'),
  count(*) filter (where e.action_type = 'profile_enriched'),
  count(*) filter (where e.action_type = 'csv_exported'),
  count(*) filter (where e.action_type = 'add_to_list' and (e.place - 1)::int = any($6::int[])),
  count(*) filter (where e.action_type = 'add_to_list'),
  count(*) filter (where e.action_type = 'remove_from_list'),
  count(*) filter (where e.action_type = 'status_updated'),
  count(*) filter (where e.action_type = 'note_added'),
  count(*) filter (where e.action_type = 'persona_created'),
  count(*) filter (where e.action_type = 'lookalike_search'),
  count(*),
  sum(hashtextextended(e.activity_id::text || e.action_type, 0))
from unnest($2::text[]::uuid[], $3::text[]::uuid[], $4::text[], $5::bigint[]) with ordinality
  as e (activity_id, user_id, action_type, created_at, place)
group by 2, 3
order by 2, 3
on conflict (tenant_id, date, user_id) do update set
  total_logins = u.total_logins + excluded.total_logins,
  searches_executed = u.searches_executed + excluded.searches_executed,
  profiles_viewed = u.profiles_viewed + excluded.profiles_viewed,
  profiles_enriched = u.profiles_enriched + excluded.profiles_enriched,
  csv_exports = u.csv_exports + excluded.csv_exports,
  lists_created = u.lists_created + excluded.lists_created,
  list_additions = u.list_additions + excluded.list_additions,
  list_removals = u.list_removals + excluded.list_removals,
  statuses_updated = u.statuses_updated + excluded.statuses_updated,
  notes_added = u.notes_added + excluded.notes_added,
  personas_created = u.personas_created + excluded.personas_created,
  lookalike_searches = u.lookalike_searches + excluded.lookalike_searches,
  total_activities = u.total_activities + excluded.total_activities,
  digest = u.digest + excluded.digest

-- name: usage
-- A page of days by user, in order, above the cursor ($5, $6); null filters do not narrow.
select date, user_id, total_logins, searches_executed, profiles_viewed, profiles_enriched, csv_exports,
  lists_created, list_additions, list_removals, statuses_updated, notes_added, personas_created,
  lookalike_searches, total_activities
from metrics.usage_metrics_daily
where tenant_id = $1 and date between $2 and $3
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::date is null or (date, user_id) > ($5, $6::uuid))
order by date, user_id
limit $7

-- name: day_digests
-- For one UTC day, each tenant's count and digest (see the first migration).
select tenant_id, activity_count, digest from metrics.day_digests($1)

-- name: lock_day
-- One tenant's counted day, locked against counting until the transaction ends.
select coalesce(sum(total_activities), 0)::bigint as activity_count, coalesce(sum(digest), 0) as digest
from (
  select total_activities, digest from metrics.usage_metrics_daily
  where tenant_id = $1 and date = $2
  order by user_id for update
) as day

-- name: clear_day
-- Remove one tenant's day, to write it anew in the same transaction.
delete from metrics.usage_metrics_daily where tenant_id = $1 and date = $2

-- name: write_day
-- Write one tenant's day from the log's counts by user, action and new_list.
insert into metrics.usage_metrics_daily (
  tenant_id, date, user_id, total_logins, searches_executed, profiles_viewed, profiles_enriched,
  csv_exports, lists_created, list_additions, list_removals, statuses_updated, notes_added,
  personas_created, lookalike_searches, total_activities, digest)
select $1, $2, c.user_id,
  coalesce(sum(c.activity_count) filter (where c.action_type = 'login'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'search_executed'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'profile_viewed'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'profile_enriched'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'csv_exported'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'add_to_list' and c.new_list), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'add_to_list'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'remove_from_list'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'status_updated'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'note_added'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'persona_created'), 0),
  coalesce(sum(c.activity_count) filter (where c.action_type = 'lookalike_search'), 0),
  sum(c.activity_count),
  sum(c.digest)
from unnest($3::uuid[], $4::text[], $5::boolean[], $6::bigint[], $7::numeric[])
  as c (user_id, action_type, new_list, activity_count, digest)
group by c.user_id

-- name: note_reconciliation
-- Remember how log and roll-up compared.
insert into metrics.reconciliations (
  tenant_id, date, outcome, log_count, rollup_count, log_digest, rollup_digest)
values ($1, $2, $3, $4, $5, $6, $7)
