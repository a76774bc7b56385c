-- The activity service's statements, whole and named; store.py calls them.

-- name: record
-- Insert a batch; rows whose key is taken are left out. Returns the ids that were added.
insert into activity.activity_log (
  tenant_id, activity_id, user_id, action_type, target_id, metadata, created_at, ip_address, user_agent)
select $1, e.activity_id, e.user_id, e.action_type, e.target_id, e.metadata::jsonb, e.created_at,
  nullif(e.ip_address, '')::inet, e.user_agent
from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::text[],
  $9::text[]) as e (activity_id, user_id, action_type, target_id, metadata, created_at, ip_address,
  user_agent)
on conflict do nothing
returning activity_id, created_at

-- name: find_conflicting
-- Of entries whose key is taken, those whose content differs from what stands.
select e.activity_id, e.created_at
from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
  as e (activity_id, user_id, action_type, target_id, metadata, created_at)
join activity.activity_log l
  on l.tenant_id = $1 and l.created_at = e.created_at and l.activity_id = e.activity_id
where (l.user_id, l.action_type, l.target_id, l.metadata)
  is distinct from (e.user_id, e.action_type, e.target_id, e.metadata::jsonb)

-- name: list
-- A page, newest first, below the cursor ($6, $7); null filters do not narrow.
select activity_id, user_id, action_type, target_id, metadata, created_at, recorded_at,
  host(ip_address) as ip_address, user_agent
from activity.activity_log
where tenant_id = $1
  and ($2::uuid[] is null or user_id = any($2))
  and ($3::text[] is null or action_type = any($3))
  and created_at >= $4::timestamptz and created_at < $5::timestamptz
  and ($6::timestamptz is null or (created_at, activity_id) < ($6, $7::uuid))
order by created_at desc, activity_id desc
limit $8

-- name: day_digests
-- For one UTC day, each tenant's count, digest and unpublished events (see the first migration).
select tenant_id, activity_count, digest::text, unpublished_events from activity.day_digests($1)

-- name: count_day
-- One tenant's UTC day by user and action.
select user_id, action_type,
  action_type = 'add_to_list' and metadata @> '{"new_list": true}' as new_list,
  count(*) as activity_count,
  sum(hashtextextended(activity_id::text || action_type, 0))::text as digest
from activity.activity_log
where tenant_id = $1
  and created_at >= $2::date::timestamp at time zone 'UTC'
  and created_at < ($2::date + 1)::timestamp at time zone 'UTC'
group by 1, 2, 3
order by 1, 2, 3

-- name: ensure_partitions
-- Make the months between two days where they are missing; returns how many were made.
select activity.ensure_partitions($1, $2)
