-- The activity service's statements, whole and named.
--
-- An entry that is read is one value, which entries/encoding.py encodes as it arrives, and two times, as the
-- bytes that PostgreSQL sends: as microseconds since 1970, by date_part, the statement of a page of 1,000 would
-- take a fifth longer.

-- name: append_or_skip
-- Append a batch; entries whose key is taken are skipped. A row of batches gets the ids and leaves of those that
-- were added. Returns how many were added; no row where there were none.
-- Rows are inserted in the order of their keys, so that two batches with the same keys do not deadlock.
with added as (
  insert into activity.activity_log (
    tenant_id, activity_id, user_id, action_type, target_id, metadata, created_at, ip_address,
    user_agent, batch_id)
  select $1, e.activity_id, e.user_id, e.action_type, e.target_id, e.metadata::jsonb,
    activity.from_micros(e.created_at), nullif(e.ip_address, '')::inet, e.user_agent, $2
  from unnest($3::text[]::uuid[], $4::text[]::uuid[], $5::text[], $6::text[], $7::text[], $8::bigint[],
      $9::text[], $10::text[])
    as e (activity_id, user_id, action_type, target_id, metadata, created_at, ip_address, user_agent)
  order by e.created_at, e.activity_id
  on conflict do nothing
  returning activity_id, created_at, activity.leaf_hash(
    salt, tenant_id, activity_id, user_id, created_at, recorded_at, action_type, target_id, metadata,
    ip_address, user_agent) as leaf
)
insert into activity.batches (
  tenant_id, batch_id, entry_count, earliest, latest, activity_ids, created_ats, leaves)
select $1, $2, count(*), min(created_at), max(created_at), array_agg(activity_id), array_agg(created_at),
  string_agg(leaf, '')
from added
having count(*) > 0
returning entry_count

-- name: append_all_new
-- Append a batch and the event that tells of it ($11 to $17): a whole transaction in one round trip. Where a key
-- is taken it fails, and nothing is written. Each row takes its tenant from the setting that is made here, so
-- that the setting is made before the row.
with tenant as materialized (
  select set_config('app.current_tenant_id', ($1::uuid)::text, true)::uuid as tenant_id
), added as (
  insert into activity.activity_log (
    tenant_id, activity_id, user_id, action_type, target_id, metadata, created_at, ip_address,
    user_agent, batch_id)
  select tenant.tenant_id, e.activity_id, e.user_id, e.action_type, e.target_id, e.metadata::jsonb,
    activity.from_micros(e.created_at), nullif(e.ip_address, '')::inet, e.user_agent, $2
  from tenant, unnest($3::text[]::uuid[], $4::text[]::uuid[], $5::text[], $6::text[], $7::text[],
      $8::bigint[], $9::text[], $10::text[])
    as e (activity_id, user_id, action_type, target_id, metadata, created_at, ip_address, user_agent)
  order by e.created_at, e.activity_id
  returning activity_id, created_at, activity.leaf_hash(
    salt, tenant_id, activity_id, user_id, created_at, recorded_at, action_type, target_id, metadata,
    ip_address, user_agent) as leaf
), batch as (
  insert into activity.batches (
    tenant_id, batch_id, entry_count, earliest, latest, activity_ids, created_ats, leaves)
  select $1, $2, count(*), min(created_at), max(created_at), array_agg(activity_id), array_agg(created_at),
    string_agg(leaf, '')
  from added
  returning tenant_id
)
insert into activity.outbox (
  tenant_id, event_id, subject, event_type, source, body, occurred_at, traceparent)
select tenant_id, $11, $12, $13, $14, $15, $16, $17 from batch

-- name: keys_of_batch
-- The entries that a batch added: id, and time in microseconds since 1970.
select e.activity_id::text as activity_id,
  (date_part('epoch', e.created_at) * 1000000)::bigint as created_at
from activity.batches b, unnest(b.activity_ids, b.created_ats) as e (activity_id, created_at)
where b.tenant_id = $1 and b.batch_id = $2

-- name: find_conflicting
-- The places of entries whose key is taken by an entry of other content. An erased entry has no content, and
-- none differs from it.
select (e.ordinal - 1)::int as place
from unnest($2::text[]::uuid[], $3::text[]::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[])
  with ordinality as e (activity_id, user_id, action_type, target_id, metadata, created_at, ordinal)
join activity.activity_log l on l.tenant_id = $1 and l.activity_id = e.activity_id
  and l.created_at = activity.from_micros(e.created_at)
where l.erased_by is null and (l.user_id, l.action_type, l.target_id, l.metadata)
  is distinct from (e.user_id, e.action_type, e.target_id, e.metadata::jsonb)

-- name: find_unstorable
-- The places of entries that PostgreSQL does not take, and why. Metadata may be 16,384 bytes as PostgreSQL
-- writes them (see the ninth migration). Where the exponents of its numbers sum up to far more, it is not
-- written to measure it: that could be 100 MB an entry.
select place, fault
from (
  select (e.ordinal - 1)::int as place, case
    when not j.is_json then 'metadata_json'
    when jsonb_typeof(e.metadata::jsonb) <> 'object' then 'metadata_object'
    when x.exponents > 100000 then 'metadata_size'
    when octet_length(e.metadata::jsonb::text) > 16384 then 'metadata_size'
    when not pg_input_is_valid(nullif(e.ip_address, ''), 'inet') then 'ip_address' end as fault
  from unnest($1::text[], $2::text[]) with ordinality as e (metadata, ip_address, ordinal)
  cross join lateral (select pg_input_is_valid(e.metadata, 'jsonb') as is_json) j
  cross join lateral (
    select sum(abs(found[1]::bigint)) as exponents
    -- Of valid JSON only, in which looking for strings takes time in proportion to the text.
    from regexp_matches(
      regexp_replace(case when j.is_json then e.metadata end, '"(?:\\.|[^"\\])*"', '', 'g'),
      '[eE]([+-]?[0-9]{1,9})', 'g') as found
  ) x
) sorted
where fault is not null

-- name: find_answer
-- The answer that a request id got.
select content_hash, answer from activity.requests where tenant_id = $1 and request_id = $2

-- name: save_answer
-- Keep a request's answer; no row where the same request was answered meanwhile.
insert into activity.requests (tenant_id, request_id, content_hash, answer)
values ($1, $2, $3, $4)
on conflict do nothing
returning true

-- name: list_newest
-- A page, newest first, after the cursor ($8, $9). It reads own_log, so that the index of metadata ($7) can be used.
select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from activity.own_log l
where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::text[] is null or action_type = any($5))
  and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
  and (created_at, activity_id) < (activity.from_micros($8), $9)
order by l.created_at desc, l.activity_id desc
limit activity.as_tenant($1, $10)

-- name: list_newest_by_user
-- The same page for some users ($4): each user's entries are read from the index in order of time, then merged.
select l.entry, l.created_at, l.recorded_at
from unnest($4::uuid[]) as wanted (user_id)
cross join lateral (
  select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
    timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at,
    created_at as happened_at, activity_id as key
  from activity.activity_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($5::text[] is null or action_type = any($5))
    and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
    and user_id = wanted.user_id
    and (created_at, activity_id) < (activity.from_micros($8), $9)
  order by happened_at desc, key desc
  limit $10
) l
order by l.happened_at desc, l.key desc
limit activity.as_tenant($1, $10)

-- name: list_newest_by_action
-- The same page for some actions ($5): each action's entries are read from the index in order of time, then merged.
select l.entry, l.created_at, l.recorded_at
from unnest($5::text[]) as wanted (action_type)
cross join lateral (
  select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
    timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at,
    created_at as happened_at, activity_id as key
  from activity.activity_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($4::uuid[] is null or user_id = any($4))
    and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
    and action_type = wanted.action_type
    and (created_at, activity_id) < (activity.from_micros($8), $9)
  order by happened_at desc, key desc
  limit $10
) l
order by l.happened_at desc, l.key desc
limit activity.as_tenant($1, $10)

-- name: list_oldest
-- A page, oldest first, after the cursor ($8, $9). It reads own_log, so that the index of metadata ($7) can be used.
select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from activity.own_log l
where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::text[] is null or action_type = any($5))
  and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
  and (created_at, activity_id) > (activity.from_micros($8), $9)
order by l.created_at, l.activity_id
limit activity.as_tenant($1, $10)

-- name: list_oldest_by_user
-- The same page for some users ($4): each user's entries are read from the index in order of time, then merged.
select l.entry, l.created_at, l.recorded_at
from unnest($4::uuid[]) as wanted (user_id)
cross join lateral (
  select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
    timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at,
    created_at as happened_at, activity_id as key
  from activity.activity_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($5::text[] is null or action_type = any($5))
    and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
    and user_id = wanted.user_id
    and (created_at, activity_id) > (activity.from_micros($8), $9)
  order by happened_at, key
  limit $10
) l
order by l.happened_at, l.key
limit activity.as_tenant($1, $10)

-- name: list_oldest_by_action
-- The same page for some actions ($5): each action's entries are read from the index in order of time, then merged.
select l.entry, l.created_at, l.recorded_at
from unnest($5::text[]) as wanted (action_type)
cross join lateral (
  select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
    timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at,
    created_at as happened_at, activity_id as key
  from activity.activity_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($4::uuid[] is null or user_id = any($4))
    and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
    and action_type = wanted.action_type
    and (created_at, activity_id) > (activity.from_micros($8), $9)
  order by happened_at, key
  limit $10
) l
order by l.happened_at, l.key
limit activity.as_tenant($1, $10)

-- name: action_numbers
-- The number in the contract of each action type that the database takes.
select name, number from activity.action_types

-- name: few_contain
-- Whether at most $5 entries of a range of time have these metadata ($4); it counts no further.
select count(*) <= $5 as few
from (
  select from activity.own_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and metadata @> $4
  limit $5 + 1
) found

-- name: list_newest_of_few
-- The same page where few entries have the metadata ($7): they are found by the index, then sorted.
with few as materialized (
  select activity_id, user_id, action_type, target_id, metadata, created_at, recorded_at, ip_address,
    user_agent
  from activity.own_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($4::uuid[] is null or user_id = any($4))
    and ($5::text[] is null or action_type = any($5))
    and ($6::text[] is null or target_id = any($6)) and metadata @> $7
    and (created_at, activity_id) < (activity.from_micros($8), $9)
)
select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from few l
order by l.created_at desc, l.activity_id desc
limit $10

-- name: list_oldest_of_few
-- The same page where few entries have the metadata ($7): they are found by the index, then sorted.
with few as materialized (
  select activity_id, user_id, action_type, target_id, metadata, created_at, recorded_at, ip_address,
    user_agent
  from activity.own_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($4::uuid[] is null or user_id = any($4))
    and ($5::text[] is null or action_type = any($5))
    and ($6::text[] is null or target_id = any($6)) and metadata @> $7
    and (created_at, activity_id) > (activity.from_micros($8), $9)
)
select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from few l
order by l.created_at, l.activity_id
limit $10

-- name: is_json
-- Whether PostgreSQL takes a text as JSON.
select pg_input_is_valid($1, 'jsonb')

-- name: get
-- An entry by its id, within a range of time.
select activity.entry_of(activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from activity.activity_log
where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
  and activity_id = $4
order by activity_log.created_at
limit activity.as_tenant($1, 1)

-- name: list_keys
-- The entries of these keys ($8, $9) that match, in the order of the keys.
select activity.entry_of(l.activity_id, user_id, action_type, target_id, metadata, ip_address, user_agent) as entry,
  timestamptz_send(l.created_at) as created_at, timestamptz_send(recorded_at) as recorded_at
from unnest($8::uuid[], $9::bigint[]) with ordinality as wanted (activity_id, created_at, ordinal)
join activity.activity_log l on l.activity_id = wanted.activity_id
  and l.created_at = activity.from_micros(wanted.created_at)
where tenant_id = $1 and l.created_at >= activity.from_micros($2) and l.created_at < activity.from_micros($3)
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::text[] is null or action_type = any($5))
  and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
order by wanted.ordinal
limit activity.as_tenant($1, cardinality($8))

-- name: count
-- How many entries match, by any of UTC day or hour ($8), user ($9) and action ($10); a page of groups after the
-- cursor ($11, $12, $13).
select extract(epoch from period)::bigint as period, user_id::text as user_id, action_type, activity_count
from (
  select coalesce(date_trunc($8::text, created_at, 'UTC'), 'epoch') as period,
    case when $9::boolean then user_id else '00000000-0000-0000-0000-000000000000' end as user_id,
    case when $10::boolean then action_type else '' end as action_type,
    count(*) as activity_count
  from activity.own_log
  where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
    and ($4::uuid[] is null or user_id = any($4))
    and ($5::text[] is null or action_type = any($5))
    and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
  group by 1, 2, 3
) counted
where $11::bigint is null or (period, user_id, action_type) > (to_timestamp($11), $12::uuid, $13::text)
order by period, user_id, action_type
limit $14

-- name: plan_export
-- For the rest of the transaction: plan for the values, and without parallel workers, since sorting what they
-- read costs more than reading in the order of the key.
select set_config('plan_cache_mode', 'force_custom_plan', true),
  set_config('max_parallel_workers_per_gather', '0', true)

-- name: export_ndjson
-- Entries as lines of JSON, oldest first.
select '{"activity_id":"' || activity_id || '","user_id":"' || user_id || '","action_type":"' || action_type
  || '","target_id":' || to_json(target_id) || ',"metadata":' || metadata
  || ',"created_at":"' || activity.to_iso(created_at) || '","recorded_at":"' || activity.to_iso(recorded_at)
  || '","ip_address":"' || coalesce(host(ip_address), '') || '","user_agent":' || to_json(user_agent)
  || E'}\n' as line
from activity.own_log
where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::text[] is null or action_type = any($5))
  and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
order by created_at, activity_id

-- name: export_csv
-- Entries as lines of CSV, oldest first; ids, actions, times and addresses need no quotes.
select activity_id || ',' || user_id || ',' || action_type || ',' || activity.csv_cell(target_id) || ','
  || activity.csv_cell(metadata::text) || ',' || activity.to_iso(created_at) || ','
  || activity.to_iso(recorded_at) || ',' || coalesce(host(ip_address), '') || ','
  || activity.csv_cell(user_agent) || E'\r\n' as line
from activity.own_log
where tenant_id = $1 and created_at >= activity.from_micros($2) and created_at < activity.from_micros($3)
  and ($4::uuid[] is null or user_id = any($4))
  and ($5::text[] is null or action_type = any($5))
  and ($6::text[] is null or target_id = any($6)) and ($7::jsonb is null or metadata @> $7)
order by created_at, activity_id

-- name: find_unsealed
-- The tenants with unsealed batches (as activity_sealer). It makes one step in the index for each tenant,
-- however many batches that has.
with recursive waiting as (
  (select tenant_id from activity.batches where first_leaf is null order by tenant_id limit 1)
  union all
  select (
    select b.tenant_id from activity.batches b
    where b.first_leaf is null and b.tenant_id > w.tenant_id order by b.tenant_id limit 1)
  from waiting w where w.tenant_id is not null
)
select tenant_id from waiting where tenant_id is not null

-- name: lock_tree
-- Lock the tenant's tree until the transaction ends; false where another transaction has the lock.
select pg_try_advisory_xact_lock(hashtext('activity.trees'), hashtext($1::uuid::text))

-- name: get_tree
-- The tenant's tree as it was last sealed.
select size, frontier, note, began_at, sealed_at from activity.trees where tenant_id = $1

-- name: any_sealed
-- Whether any batch of the tenant is sealed.
select exists (select from activity.batches where tenant_id = $1 and first_leaf is not null)

-- name: take_unsealed
-- The tenant's oldest unsealed batches: at most $2 of them, with about $3 entries in all.
select batch_id, entry_count, leaves
from (
  select b.batch_id, b.entry_count, b.leaves,
    sum(b.entry_count) over (order by b.batch_id) - b.entry_count as entries_before
  from (
    select batch_id, entry_count, leaves from activity.batches
    where tenant_id = $1 and first_leaf is null
    order by batch_id
    limit $2
  ) b
) w
where entries_before < $3
order by batch_id

-- name: set_first_leaves
-- Give batches the index of their first leaf in the tree; returns how many had none before.
with changed as (
  update activity.batches b set first_leaf = p.first_leaf
  from unnest($2::uuid[], $3::bigint[]) as p (batch_id, first_leaf)
  where b.tenant_id = $1 and b.batch_id = p.batch_id and b.first_leaf is null
  returning 1
)
select count(*) from changed

-- name: save_tile
-- Write complete nodes ($5) after the first $4 of a tile.
insert into activity.tiles as t (tenant_id, level, tile, hashes)
values ($1, $2, $3, $5)
on conflict (tenant_id, level, tile) do update
  set hashes = substring(t.hashes for $4::int * 32) || excluded.hashes

-- name: save_tree
-- Save a tree that has grown from size $6; no row where the stored one has another size.
insert into activity.trees as t (tenant_id, size, frontier, note, began_at, sealed_at)
values ($1, $2, $3, $4, $5, $5)
on conflict (tenant_id) do update
  set size = excluded.size, frontier = excluded.frontier, note = excluded.note,
    sealed_at = excluded.sealed_at
  where t.size = $6
returning true

-- name: leaves_between
-- The sealed leaves from index $2 to before $3, by batch.
select greatest(b.first_leaf, $2) as first_leaf,
  substring(b.leaves from (greatest($2 - b.first_leaf, 0) * 32 + 1)::int
    for (greatest(least(b.first_leaf + b.entry_count, $3) - greatest(b.first_leaf, $2), 0) * 32)::int)
    as leaves
from activity.batches b
where b.tenant_id = $1 and b.first_leaf < $3::bigint
  and b.first_leaf >= coalesce((
    select max(p.first_leaf) from activity.batches p
    where p.tenant_id = $1 and p.first_leaf <= $2::bigint), 0)
order by b.first_leaf

-- name: get_tiles
-- Tiles by level and number.
select t.level, t.tile, t.hashes
from unnest($2::int[], $3::bigint[]) as w (level, tile)
join activity.tiles t on t.tenant_id = $1 and t.level = w.level and t.tile = w.tile

-- name: find_leaf
-- An entry that happened between $3 and $4, its batch, and its leaf and the index of that where they are known.
select l.created_at, l.batch_id, b.first_leaf + u.ordinal - 1 as leaf_index,
  substring(b.leaves from ((u.ordinal - 1) * 32 + 1)::int for 32) as leaf
from activity.activity_log l
left join activity.batches b on b.tenant_id = l.tenant_id and b.batch_id = l.batch_id
left join lateral unnest(b.activity_ids, b.created_ats) with ordinality
  as u (activity_id, created_at, ordinal)
  on u.activity_id = l.activity_id and u.created_at = l.created_at
where l.tenant_id = $1 and l.activity_id = $2 and l.created_at between $3 and $4
order by l.created_at
limit 1

-- name: count_sealed
-- Of the sealed batches: how many entries those have that overlap the time from $3 to before $4, and how many
-- entries have an index outside of a tree of $2 leaves.
select
  coalesce(sum(entry_count) filter (where earliest < $4 and latest >= $3), 0)::bigint
    as overlapping_count,
  coalesce(sum(entry_count) filter (where first_leaf not between 0 and $2::bigint - entry_count), 0)::bigint
    as outside_count
from activity.batches
where tenant_id = $1 and first_leaf is not null

-- name: compare_leaves
-- The leaves from index $2 to before $3 whose entries happened from $4 to before $5: how many are in each state,
-- and up to 1,000 that are not as they were sealed. Entries from before $6 may be missing: they expired.
with sealed as materialized (
  select b.batch_id, u.activity_id, u.created_at,
    substring(b.leaves from ((u.ordinal - 1) * 32 + 1)::int for 32) as leaf
  from activity.batches b
  cross join lateral unnest(b.activity_ids, b.created_ats) with ordinality
    as u (activity_id, created_at, ordinal)
  where b.tenant_id = $1 and b.first_leaf < $3::bigint
    and b.first_leaf >= coalesce((
      select max(p.first_leaf) from activity.batches p
      where p.tenant_id = $1 and p.first_leaf <= $2::bigint), 0)
    and b.earliest < $5 and b.latest >= $4
    and b.first_leaf + u.ordinal > $2 and b.first_leaf + u.ordinal <= $3
    and u.created_at >= $4 and u.created_at < $5
), compared as materialized (
  select s.activity_id, s.created_at, case
    when l.activity_id is null and s.created_at < $6 then 'expired'
    when l.activity_id is null then 'removed'
    when l.batch_id is distinct from s.batch_id then 'moved'
    when l.erased_by is not null and l.salt is null
      and (l.user_id, l.target_id, l.ip_address is null, l.user_agent)
        = ('00000000-0000-0000-0000-000000000000', '', true, '')
      and l.metadata in ('{}', '{"new_list": true}')
      and exists (
        select from activity.erasures r where r.tenant_id = $1 and r.receipt_id = l.erased_by)
      then 'erased'
    when l.erased_by is not null then 'altered'
    when activity.leaf_hash(l.salt, l.tenant_id, l.activity_id, l.user_id, l.created_at, l.recorded_at,
      l.action_type, l.target_id, l.metadata, l.ip_address, l.user_agent) is distinct from s.leaf
      then 'altered'
    else 'intact' end as state
  from sealed s
  left join activity.activity_log l on l.tenant_id = $1 and l.activity_id = s.activity_id
    and l.created_at = s.created_at
)
select state, count(*) as entry_count,
  (array_agg(activity_id) filter (where state in ('removed', 'moved', 'altered')))[:1000]
    as activity_ids,
  (array_agg(created_at) filter (where state in ('removed', 'moved', 'altered')))[:1000]
    as created_ats
from compared
group by state
order by state

-- name: avoid_nested_loops
-- For the rest of the transaction: an unnested array is always estimated as few rows, which it is not.
select set_config('enable_nestloop', 'off', true)

-- name: compare_entries
-- The next $5 entries after the cursor ($2, $3) that happened before $4: how many are in each state, up to 1,000
-- that no sealed batch of the tree of $6 leaves has, and the last of all.
with entries as materialized (
  select created_at, activity_id, batch_id from activity.activity_log
  where tenant_id = $1 and (created_at, activity_id) > ($2, $3::uuid) and created_at < $4
  order by created_at, activity_id
  limit $5
), held as materialized (
  select b.batch_id, b.first_leaf, b.entry_count, u.activity_id, u.created_at
  from activity.batches b
  cross join lateral unnest(b.activity_ids, b.created_ats) as u (activity_id, created_at)
  where b.tenant_id = $1 and b.batch_id = any (array(select distinct batch_id from entries))
    and u.created_at between (select min(created_at) from entries)
      and (select max(created_at) from entries)
), sorted as materialized (
  select e.activity_id, e.created_at, case
    when h.batch_id is null then 'inserted'
    when h.first_leaf is null then 'unsealed'
    when h.first_leaf not between 0 and $6::bigint - h.entry_count then 'inserted'
    else 'sealed' end as state
  from entries e
  left join held h on h.batch_id = e.batch_id and h.activity_id = e.activity_id
    and h.created_at = e.created_at
)
select state, count(*) as entry_count,
  (array_agg(activity_id) filter (where state = 'inserted'))[:1000] as activity_ids,
  (array_agg(created_at) filter (where state = 'inserted'))[:1000] as created_ats,
  (select created_at from entries order by created_at desc limit 1) as last_at,
  (select activity_id from entries order by created_at desc, activity_id desc limit 1) as last_id
from sorted
group by state
order by state

-- name: find_overdrawn
-- The receipts that more entries name, of those that happened from $2 to before $3, than were erased under them.
-- Fewer are no fault: an erased entry expires as others do.
select r.receipt_id, r.erased_count, count(*) as entry_count
from activity.activity_log l
join activity.erasures r on r.tenant_id = $1 and r.receipt_id = l.erased_by
where l.tenant_id = $1 and l.created_at >= $2 and l.created_at < $3
group by r.receipt_id, r.erased_count
having count(*) > r.erased_count
order by r.receipt_id

-- name: sealed_lines
-- The leaves from index $2 to before $3 as JSON, in the order of the tree: all that a leaf covers, or, where that
-- is gone, the leaf and why. Entries from before $4 may be missing: they expired.
with sealed as (
  select b.first_leaf + u.ordinal - 1 as leaf_index, u.activity_id, u.created_at,
    substring(b.leaves from ((u.ordinal - 1) * 32 + 1)::int for 32) as leaf
  from activity.batches b
  cross join lateral unnest(b.activity_ids, b.created_ats) with ordinality
    as u (activity_id, created_at, ordinal)
  where b.tenant_id = $1 and b.first_leaf < $3::bigint
    and b.first_leaf >= coalesce((
      select max(p.first_leaf) from activity.batches p
      where p.tenant_id = $1 and p.first_leaf <= $2::bigint), 0)
    and b.first_leaf + u.ordinal > $2 and b.first_leaf + u.ordinal <= $3
)
select (case
  when l.salt is null then json_build_object(
    'leaf_index', s.leaf_index, 'leaf_hash', encode(s.leaf, 'hex'), 'activity_id', s.activity_id,
    'created_at', activity.to_iso(s.created_at), 'gone', case
      when l.activity_id is null and s.created_at < $4 then 'expired'
      when l.activity_id is null then 'removed'
      when exists (
        select from activity.erasures r where r.tenant_id = $1 and r.receipt_id = l.erased_by)
        then 'erased'
      else 'altered' end)
  else json_build_object(
    'leaf_index', s.leaf_index, 'leaf_hash', encode(s.leaf, 'hex'), 'activity_id', l.activity_id,
    'created_at', activity.to_iso(l.created_at), 'recorded_at', activity.to_iso(l.recorded_at),
    'tenant_id', l.tenant_id, 'user_id', l.user_id, 'action_type', l.action_type,
    'target_id', l.target_id, 'ip_address', coalesce(host(l.ip_address), ''),
    'user_agent', l.user_agent, 'salt', l.salt, 'metadata', l.metadata)
  end)::text as line
from sealed s
left join activity.activity_log l on l.tenant_id = $1 and l.activity_id = s.activity_id
  and l.created_at = s.created_at
order by s.leaf_index

-- name: day_digests
-- For one UTC day, each tenant's count and digest (see the first migration).
select tenant_id, activity_count, digest::text from activity.day_digests($1)

-- name: unpublished
-- Each tenant's unpublished events, by their ids in the outbox, those that the stream ($1) lost among them,
-- and the newest of those that are in the stream and perhaps not handled, by its sequence.
select tenant_id, count(outbox_id) as count, min(outbox_id) as first, max(outbox_id) as last,
  max(sequence) as published
from (
  select tenant_id, outbox_id, null::bigint as sequence from activity.outbox
  union all
  select p.tenant_id, case when p.generation < s.generation then p.outbox_id end,
    case when p.generation = s.generation then p.sequence end
  from activity.published p join activity.stream_positions s using (stream) where stream = $1
) events
group by 1

-- name: count_day
-- One tenant's UTC day by user and action, and with $3 by quarter-hour.
select user_id, action_type,
  action_type = 'add_to_list' and metadata @> '{"new_list": true}' as new_list,
  count(*) as activity_count,
  sum(hashtextextended(activity_id::text || action_type, 0))::text as digest,
  case when $3::boolean then floor(extract(epoch from
    created_at - $2::date::timestamp at time zone 'UTC') / 900)::int else 0 end as quarter_hour
from activity.activity_log
where tenant_id = $1
  and created_at >= $2::date::timestamp at time zone 'UTC'
  and created_at < ($2::date + 1)::timestamp at time zone 'UTC'
group by 1, 2, 3, 6
order by 1, 2, 3, 6

-- name: ensure_partitions
-- Make the months between two days where they are missing; returns how many were made.
select activity.ensure_partitions($1, $2)

-- name: list_partitions
-- The months of the log with their sizes (see the fourth migration).
select month, estimated_rows, table_bytes, index_bytes from activity.partitions()

-- name: begin_erasure
-- Write a receipt, on which each transaction of the erasure adds what it erased. Where an erasure of the user is
-- unfinished, its receipt is used. Returns the receipt's id.
with under_way as (
  select receipt_id from activity.erasures where tenant_id = $1 and user_id = $3
  order by erased_at, receipt_id limit 1
), begun as (
  insert into activity.erasures (tenant_id, receipt_id, user_id, erased_count, erased_at)
  select $1, $2, $3, 0, $4 where not exists (select from under_way)
  returning receipt_id
)
select receipt_id from under_way union all select receipt_id from begun

-- name: lock_erasing
-- Lock the erasure of a user until the transaction ends: one transaction at a time erases its entries.
select pg_advisory_xact_lock(hashtext('activity.erasing'), hashtext($1::uuid::text || $2::uuid::text))

-- name: erase_some
-- Make up to $4 of a user's entries anonymous, and count them on the receipt. That a list was new stays, since
-- metrics counts it. Returns how many entries were found: some may have expired meanwhile, so only 0 says that
-- none is left.
with found as (
  select created_at, activity_id from activity.activity_log
  where tenant_id = $1 and user_id = $2 limit $4
), erased as (
  update activity.activity_log l set
    user_id = '00000000-0000-0000-0000-000000000000', target_id = '', ip_address = null,
    metadata = case when metadata @> '{"new_list": true}' then '{"new_list": true}' else '{}' end::jsonb,
    user_agent = '', salt = null, erased_by = $3
  from found p
  where l.tenant_id = $1 and l.created_at = p.created_at and l.activity_id = p.activity_id
    and l.user_id = $2
  returning 1
), counted as (
  update activity.erasures e set erased_count = e.erased_count + (select count(*) from erased)
  where e.tenant_id = $1 and e.receipt_id = $3
)
select count(*) from found

-- name: complete_erasure
-- Forget whom a receipt is about: the erasure is complete. No row where that was done before.
update activity.erasures set user_id = '00000000-0000-0000-0000-000000000000'
where tenant_id = $1 and receipt_id = $2 and user_id <> '00000000-0000-0000-0000-000000000000'
returning erased_at

-- name: list_unfinished_erasures
-- The unfinished erasures (as activity_keeper, which sees no others).
select tenant_id, receipt_id from activity.erasures

-- name: get_erasure
-- A receipt; that of a complete erasure has the anonymous user.
select receipt_id, user_id, erased_count, erased_at from activity.erasures
where tenant_id = $1 and receipt_id = $2

-- name: get_retention
-- A tenant's own retention in days; no row where it has none.
select retention_days from activity.retention where tenant_id = $1

-- name: set_retention
-- Set a tenant's own retention in days.
insert into activity.retention (tenant_id, retention_days) values ($1, $2)
on conflict (tenant_id) do update set retention_days = excluded.retention_days, updated_at = now()

-- name: unset_retention
-- Remove a tenant's own retention.
delete from activity.retention where tenant_id = $1

-- name: tenants_past
-- The tenants whose own retention no longer keeps a day ($1) when it is $2.
select tenant_id from activity.tenants_past($1, $2)

-- name: lock_keeping
-- Lock the maintenance of the log until the transaction ends; false where another replica has the lock.
select pg_try_advisory_xact_lock(hashtext('activity.keeping'))

-- name: list_retentions
-- The tenants with a retention of their own (as activity_keeper).
select tenant_id, retention_days from activity.retention

-- name: expire_some
-- Delete up to $3 of a tenant's entries that happened before a time ($2); returns how many were found.
with found as (
  select created_at, activity_id from activity.activity_log
  where tenant_id = $1 and created_at < $2
  order by created_at limit $3
), gone as (
  delete from activity.activity_log l using found p
  where l.tenant_id = $1 and l.created_at = p.created_at and l.activity_id = p.activity_id
  returning 1
)
select count(*) from gone

-- name: mark_expired
-- Remember that a tenant's entries from before a time ($2) expire.
insert into activity.expiries as e (tenant_id, expired_before) values ($1, $2)
on conflict (tenant_id) do update set expired_before = excluded.expired_before
where e.expired_before < excluded.expired_before

-- name: get_expired_before
-- The time before which a tenant's entries ever expired; no row where none did.
select expired_before from activity.expiries where tenant_id = $1

-- name: mark_dropped
-- Remember that months before a time are being dropped (as the owner).
insert into activity.drops as d (dropped_before) values ($1)
on conflict (is_only) do update set dropped_before = excluded.dropped_before
where d.dropped_before < excluded.dropped_before

-- name: get_dropped_before
-- The time before which months of the log were ever dropped; no row where none was.
select dropped_before from activity.drops

-- name: forget_requests
-- Forget the answers to request ids from before a time (as activity_keeper).
delete from activity.requests where answered_at < $1

-- name: lock_maintenance
-- Lock the dropping of months until the session ends; false where another process has the lock.
select pg_try_advisory_lock(hashtext('activity.maintenance'))

-- name: expired_months
-- The months that end before a day, oldest first, also those already detached, with the commands that detach and
-- drop each (as the owner). An unfinished detachment is finished.
select to_char(m.month, 'YYYY-MM') as month, i.inhrelid is not null as is_attached,
  format('alter table activity.activity_log detach partition activity.%I %s', m.name,
    case when i.inhdetachpending then 'finalize' else 'concurrently' end) as detach,
  format('drop table activity.%I', m.name) as remove
from (
  select c.oid, c.relname as name, to_date(right(c.relname, 7), 'YYYY_MM') as month
  from pg_class c
  where c.relnamespace = 'activity'::regnamespace and c.relkind = 'r'
    and c.relname ~ '^activity_log_\d{4}_\d{2}$'
) as m
left join pg_inherits i on i.inhrelid = m.oid
where m.month + interval '1 month' <= $1::date
order by m.month
