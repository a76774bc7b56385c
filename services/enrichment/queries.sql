-- The enrichment service's statements, whole and named, in the order of a run's life.

-- Accepting requests ------------------------------------------------------------------------------

-- name: add_request_ids
-- Add request ids; those that were added before are not returned. Waits for a transaction that is adding the
-- same id at this moment.
insert into enrichment.requests (tenant_id, request_id, created_at, digest)
select $1, request_id, $3, content_hash
from unnest($2::uuid[], $4::bytea[]) as r (request_id, content_hash)
order by request_id
on conflict do nothing
returning request_id

-- name: find_requests
-- What was asked with request ids, and the runs that they got; no prospect where that was erased.
select q.request_id, q.digest as content_hash, q.run_id, r.prospect_id
from enrichment.requests q left join enrichment.runs r on r.tenant_id = q.tenant_id and r.run_id = q.run_id
where q.tenant_id = $1 and q.request_id = any($2::uuid[])

-- name: remember_requests
-- Keep which run each request id got.
update enrichment.requests q set run_id = r.run_id
from unnest($2::uuid[], $3::uuid[]) as r (request_id, run_id)
where q.tenant_id = $1 and q.request_id = r.request_id

-- name: release_requests
-- Release the request ids of requests that were refused.
delete from enrichment.requests where tenant_id = $1 and request_id = any($2::uuid[])

-- name: add_prospects
-- Insert the prospects that are not there yet, and return them.
insert into enrichment.prospects (
  tenant_id, prospect_id, name, email, linkedin_url, company, title, is_public_company, company_cik)
select $1, p.* from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
  $8::boolean[], $9::bigint[]) as p
order by 2
on conflict do nothing
returning prospect_id

-- name: lock_prospects
-- Lock prospects, so that requests for them are taken one after another.
select prospect_id, name, email, linkedin_url, company, title, is_public_company, company_cik, answered
from enrichment.prospects where tenant_id = $1 and prospect_id = any($2::uuid[])
order by prospect_id
for update

-- name: find_open_runs
-- The prospects' runs that have not ended, or have ended and still wait for late sources.
select r.prospect_id, r.run_id, r.began_at, r.created_at, r.ended_at is not null as has_ended,
  r.cancel_requested_at is not null as cancel_requested,
  case when r.ended_at is not null then array(
    select s.source from enrichment.steps s where s.tenant_id = r.tenant_id and s.run_id = r.run_id
      and s.status in ('pending', 'in_progress', 'parked', 'circuit_open')) end as late
from enrichment.runs r
where r.tenant_id = $1 and r.prospect_id = any($2::uuid[]) and r.open

-- name: begin_runs
-- Insert new runs with their steps, and make them their prospects' newest. Findings about another person or
-- company are deleted; answers to other words count as none. $2 is the token of the worker that begins some
-- of them at once, $3 the lease; the others are lists, $6 the calls that leave, $7 the events.
with run as (
  select * from json_to_recordset($4::json) as r (
    run_id uuid, prospect_id uuid, user_id uuid, traceparent text, deadline_at timestamptz,
    created_at timestamptz, wake_at timestamptz, batch_id uuid, priority int, line_at timestamptz,
    sources text[], budget_micros bigint, name text, email text, linkedin_url text, company text,
    title text, is_public_company boolean, company_cik bigint, source_status jsonb,
    keeps_findings boolean, keeps_answers boolean, leased boolean, status text, began_at timestamptz)
),
prospect as (
  update enrichment.prospects p set
    name = r.name, email = r.email, linkedin_url = r.linkedin_url, company = r.company,
    title = r.title, is_public_company = r.is_public_company, company_cik = r.company_cik,
    run_id = r.run_id, enrichment_status = r.status, enrichment_source_status = r.source_status,
    updated_at = r.created_at,
    contact_data = case when r.keeps_findings then p.contact_data end,
    web_data = case when r.keeps_findings then p.web_data end,
    insider_data = case when r.keeps_findings then p.insider_data end,
    ai_summary = case when r.keeps_findings then p.ai_summary end,
    answered = case when r.keeps_answers then p.answered else '{}' end
  from run r where p.tenant_id = $1 and p.prospect_id = r.prospect_id
),
overtaken as ( -- an ended run that still waits for a late source begins no further call
  update enrichment.runs o set cancel_requested_at = r.created_at, wake_at = r.created_at,
    outdated = o.outdated or not r.keeps_answers
  from run r where o.tenant_id = $1 and o.prospect_id = r.prospect_id and o.open
    and o.ended_at is not null
  returning o.prospect_id, o.run_id, o.outdated
),
begun as (
  insert into enrichment.runs (
    tenant_id, run_id, prospect_id, user_id, traceparent, deadline_at, created_at, wake_at, batch_id,
    in_batch, priority, line_at, sources, budget_micros, status, began_at, version, lease_token,
    lease_expires_at, lease_epoch, follows)
  select $1, r.run_id, r.prospect_id, r.user_id, r.traceparent, r.deadline_at, r.created_at,
    r.wake_at, r.batch_id, r.batch_id is not null, r.priority, r.line_at, r.sources, r.budget_micros,
    r.status, r.began_at, (r.began_at is not null)::int, case when r.leased then $2::uuid end,
    case when r.leased then now() + $3::interval end, r.leased::int,
    coalesce((
      select jsonb_object_agg(s.source, o.run_id)
      from overtaken o join enrichment.steps s on s.tenant_id = $1 and s.run_id = o.run_id
      where o.prospect_id = r.prospect_id and not o.outdated and s.status = 'in_progress'), '{}')
  from run r
),
step as (
  insert into enrichment.steps (
    tenant_id, run_id, source, status, reason, error_class, attempts, uncertain_attempts, failures,
    cost_micros, lookup, reused, started_at, ended_at, next_attempt_at, ready_at, parked_at)
  select $1, c.run_id, (c.step).source, (c.step).status, left((c.step).reason, 500),
    (c.step).error_class, (c.step).attempts, (c.step).uncertain_attempts, (c.step).failures,
    (c.step).cost_micros, (c.step).lookup, (c.step).reused, (c.step).started_at, (c.step).ended_at,
    (c.step).next_attempt_at, (c.step).ready_at, (c.step).parked_at
  from json_to_recordset($5::json) as c (run_id uuid, step enrichment.steps)
),
call as (
  insert into enrichment.attempts (
    tenant_id, run_id, source, attempt, started_at, lookup, reserved_micros, cost_micros,
    queue_wait_ms, breaker_wait_ms, limiter_wait_ms, worker)
  select $1, b.run_id, b.source, b.attempt, b.at, b.lookup, b.reserved_micros, b.reserved_micros,
    b.queue_wait_ms, b.breaker_wait_ms, b.limiter_wait_ms, b.worker
  from json_to_recordset($6::json) as b (
    run_id uuid, source text, attempt int, at timestamptz, lookup text, reserved_micros bigint,
    queue_wait_ms bigint, breaker_wait_ms bigint, limiter_wait_ms bigint, worker text)
  returning run_id, source, attempt, reserved_micros, started_at
),
entry as (
  insert into enrichment.ledger (tenant_id, run_id, source, attempt, kind, amount_micros, created_at)
  select $1, run_id, source, attempt, 'reserve', reserved_micros, started_at
  from call where reserved_micros > 0
),
spent as (
  insert into enrichment.spending as s (tenant_id, day, source, committed_micros)
  select $1, (c.started_at at time zone 'utc')::date, k.key, sum(c.reserved_micros)
  from call c cross join lateral (values (c.source), ('all')) as k (key)
  where c.reserved_micros > 0
  group by 2, k.key order by 2, k.key
  on conflict (tenant_id, day, source) do update
    set committed_micros = s.committed_micros + excluded.committed_micros
)
insert into enrichment.outbox (
  event_id, tenant_id, subject, event_type, source, body, occurred_at, traceparent)
select n.event_id, $1, n.subject, n.event_type, n.source, decode(n.body, 'base64'), n.occurred_at,
  n.traceparent
from json_to_recordset($7::json) as n (
  event_id uuid, subject text, event_type text, source text, body text, occurred_at timestamptz,
  traceparent text)

-- name: debounce
-- Debounce: a run that no worker has begun takes the newest request's words, steps ($3) and budget, and waits
-- again.
with run as (
  select * from json_to_recordset($2::json) as r (
    run_id uuid, prospect_id uuid, wake_at timestamptz, name text, email text, linkedin_url text,
    company text, title text, is_public_company boolean, company_cik bigint, sources text[],
    budget_micros bigint, source_status jsonb, keeps_findings boolean, keeps_answers boolean)
),
taken as ( -- also from the worker that has it in hand, which has read the old words
  update enrichment.runs b set wake_at = r.wake_at, sources = r.sources, budget_micros = r.budget_micros,
    lease_token = null, lease_expires_at = null,
    follows = case when r.keeps_answers then b.follows else '{}' end
  from run r
  where b.tenant_id = $1 and b.run_id = r.run_id and b.began_at is null
  returning b.run_id
),
outdated as (
  update enrichment.runs o set outdated = true
  from run r where o.tenant_id = $1 and o.prospect_id = r.prospect_id and o.open
    and o.ended_at is not null and not r.keeps_answers and r.run_id in (select run_id from taken)
),
stepped as (
  update enrichment.steps t set status = (c.step).status, reason = (c.step).reason,
    reused = (c.step).reused, ended_at = (c.step).ended_at, ready_at = (c.step).ready_at
  from json_to_recordset($3::json) as c (run_id uuid, step enrichment.steps)
  where t.tenant_id = $1 and t.run_id = c.run_id and t.source = (c.step).source
    and c.run_id in (select run_id from taken)
)
update enrichment.prospects p set
  name = r.name, email = r.email, linkedin_url = r.linkedin_url, company = r.company,
  title = r.title, is_public_company = r.is_public_company, company_cik = r.company_cik,
  enrichment_source_status = r.source_status,
  contact_data = case when r.keeps_findings then p.contact_data end,
  web_data = case when r.keeps_findings then p.web_data end,
  insider_data = case when r.keeps_findings then p.insider_data end,
  ai_summary = case when r.keeps_findings then p.ai_summary end,
  answered = case when r.keeps_answers then p.answered else '{}' end
from run r where p.tenant_id = $1 and p.prospect_id = r.prospect_id
  and r.run_id in (select run_id from taken)

-- name: open_batch
-- Insert a batch, unless it is there already.
insert into enrichment.batches (tenant_id, batch_id, user_id, created_at) values ($1, $2, $3, $4)
on conflict do nothing

-- name: get_batch
-- Who sent a batch, and whether it is closed.
select user_id, closed_at from enrichment.batches where tenant_id = $1 and batch_id = $2

-- name: find_batch_places
-- Which places of a batch are taken; no prospect where the run was erased.
select b.place, b.run_id, r.prospect_id
from enrichment.batch_runs b left join enrichment.runs r on r.tenant_id = b.tenant_id and r.run_id = b.run_id
where b.tenant_id = $1 and b.batch_id = $2 and b.place = any($3::int[])

-- name: find_batch_people
-- The runs that prospects have in a batch, the newest of each.
select distinct on (r.prospect_id) r.prospect_id, r.run_id
from enrichment.runs r
where r.tenant_id = $1 and r.prospect_id = any($3::uuid[]) and exists (
  select from enrichment.batch_runs b
  where b.tenant_id = $1 and b.batch_id = $2 and b.run_id = r.run_id)
order by r.prospect_id, r.created_at desc

-- name: join_batch
-- Put runs into a batch.
with placed as (
  insert into enrichment.batch_runs (tenant_id, batch_id, place, run_id)
  select $1, $2, b.* from unnest($3::int[], $4::uuid[]) as b
  on conflict do nothing
)
update enrichment.runs set in_batch = true
where tenant_id = $1 and run_id = any($4::uuid[]) and not in_batch

-- name: close_batch
-- Close a batch: no more chunks come.
update enrichment.batches set closed_at = coalesce(closed_at, $3) where tenant_id = $1 and batch_id = $2

-- Leasing -----------------------------------------------------------------------------------------

-- name: read_sources
-- The state of every source.
select source, state, epoch, reason, failures, greatest(quota - 1, 0) + succeeded as successes, open_until,
  openings, parked_until, parked_reason, paused, paused_until, paused_reason
from enrichment.sources

-- name: lock_leasing
-- Have replicas lease runs one after another, so that each counts the leases of the one before. The lock's name
-- is also an older version's.
select pg_advisory_xact_lock(hashtext('enrichment.claims'))

-- name: lease_due
-- Lease open runs that are due: fairly queued between tenants, a tenant's own in the order of line_at, each
-- tenant within its cap (as enrichment_claimer). A tenant's runs start 1 / weight of virtual time apart and never
-- before the present, so that a tenant that was idle saves nothing up; flows.turn is when its next may start.
-- $1 how many, $2 the lease's token, $3 the lease, $4 the default cap; $5 the highest cap and $6 the highest weight,
-- since what is stored may be from a time when the operator allowed more.
with recursive tenants as (
  (select tenant_id from enrichment.runs where open order by tenant_id limit 1)
  union all
  select (
    select r.tenant_id from enrichment.runs r where r.open and r.tenant_id > t.tenant_id
    order by r.tenant_id limit 1)
  from tenants t where t.tenant_id is not null
),
live as (
  select tenant_id, count(*) as runs from enrichment.runs
  where lease_token is not null and lease_expires_at > now() group by tenant_id
),
due as (
  select r.tenant_id, r.run_id, s.start + (r.position - 1) * s.apart as start, s.apart
  from tenants t
  left join live l using (tenant_id)
  left join enrichment.policies p using (tenant_id)
  left join enrichment.flows f using (tenant_id)
  cross join enrichment.virtual_time v
  cross join lateral (
    select greatest(f.turn, v.turn) as start, 1.0::float8 / least(coalesce(p.weight, 1), $6::int) as apart
  ) s
  cross join lateral (
    select tenant_id, run_id, row_number() over (order by line_at, run_id) as position
    from (
      select tenant_id, run_id, line_at from enrichment.runs r
      where r.tenant_id = t.tenant_id and r.open and r.wake_at <= now()
        and (r.lease_expires_at is null or r.lease_expires_at <= now())
      order by r.line_at
      limit greatest(0, least(
        $1::int, least(coalesce(p.most_runs_at_once, $4::int), $5::int) - coalesce(l.runs, 0)))
      for update skip locked
    ) r
  ) r
  where t.tenant_id is not null
  order by start, r.tenant_id, r.position
  limit $1
),
leased as (
  update enrichment.runs r set
    lease_token = $2, lease_expires_at = now() + $3::interval, lease_epoch = r.lease_epoch + 1
  from due d where r.tenant_id = d.tenant_id and r.run_id = d.run_id
  returning r.tenant_id, r.run_id, r.lease_epoch, d.start, d.apart
),
served as (
  insert into enrichment.flows (tenant_id, turn)
  select tenant_id, max(start + apart) from leased group by tenant_id order by tenant_id
  on conflict (tenant_id) do update set turn = excluded.turn
),
passed as (
  update enrichment.virtual_time v set turn = c.turn
  from (select max(start) as turn from leased) c where v.turn < c.turn
)
select tenant_id, run_id, lease_epoch from leased order by start

-- name: does_anyone_wait
-- Whether a run is due that no worker has, also where its tenant's cap is reached (as enrichment_claimer).
select exists (
  select from enrichment.runs
  where open and wake_at <= now() and (lease_expires_at is null or lease_expires_at <= now()))

-- name: try_lock_leasing
-- As lock_leasing, but false at once where another replica is leasing runs.
select pg_try_advisory_xact_lock(hashtext('enrichment.claims'))

-- name: has_room
-- Whether a tenant's cap ($3) leaves room for so many more runs ($2), and none of its runs waits.
select $2::int + (
    select count(*) from enrichment.runs l
    where l.tenant_id = $1 and l.lease_token is not null and l.lease_expires_at > now()) <= $3::int
  and not exists (
    select from enrichment.runs w
    where w.tenant_id = $1 and w.open and w.wake_at <= now()
      and (w.lease_expires_at is null or w.lease_expires_at <= now()))

-- name: read_findings
-- What was found of prospects, for runs that begin in the transaction that inserts them.
select prospect_id, contact_data, web_data, insider_data, ai_summary, answered -> 'claude' ->> 'memo' as memo
from enrichment.prospects where tenant_id = $1 and prospect_id = any($2::uuid[])

-- name: renew
-- Renew a worker's leases, and return the runs that are still its own (as enrichment_claimer). A row that
-- is locked is being written by the worker itself, which renews it as well.
with leased as (
  select r.tenant_id, r.run_id, r.cancel_requested_at is not null as cancel_requested
  from unnest($3::uuid[], $4::uuid[], $5::bigint[]) as h (tenant_id, run_id, lease_epoch)
  join enrichment.runs r on r.tenant_id = h.tenant_id and r.run_id = h.run_id
    and r.lease_epoch = h.lease_epoch and r.lease_token = $1
),
free as (
  select r.tenant_id, r.run_id from enrichment.runs r join leased using (tenant_id, run_id)
  where r.lease_token = $1
  for update of r skip locked
),
renewed as (
  update enrichment.runs r set lease_expires_at = now() + $2::interval
  from free f where r.tenant_id = f.tenant_id and r.run_id = f.run_id
)
select run_id, cancel_requested from leased

-- name: load_runs
-- Leased runs with their prospects and what is known of these.
select r.run_id, r.prospect_id, r.user_id, r.status, r.traceparent, r.created_at, r.began_at,
  r.deadline_at, r.budget_micros, r.cancel_requested_at is not null as cancel_requested,
  r.follows <> '{}' as follows,
  p.name, p.company, p.title, p.email, p.linkedin_url, p.is_public_company, p.company_cik,
  p.contact_data, p.web_data, p.insider_data, p.ai_summary, p.answered -> 'claude' ->> 'memo' as memo,
  (select coalesce(policy.contact_lookups, '{}') from enrichment.policies policy
   where policy.tenant_id = r.tenant_id) as contact_lookups,
  array(select s from enrichment.steps s where s.tenant_id = r.tenant_id and s.run_id = r.run_id) as steps
from enrichment.runs r
join enrichment.prospects p on p.tenant_id = r.tenant_id and p.prospect_id = r.prospect_id
where r.tenant_id = $1 and r.run_id = any($2::uuid[]) and r.lease_token = $3

-- name: lock_late
-- Lock the prospects whose runs ($2) take turns; return which of these are cancelled, and which are
-- about words that their prospect no longer has. In the order in which save_turns locks them.
select r.run_id, r.cancel_requested_at is not null as cancel_requested, r.outdated
from enrichment.runs r
join enrichment.prospects p on p.tenant_id = r.tenant_id and p.prospect_id = r.prospect_id
where r.tenant_id = $1 and r.run_id = any($2::uuid[])
order by p.prospect_id
for update of p

-- name: read_previous_calls
-- The outcomes of the calls that runs ($2) wait for, and what was found of their prospects by now.
select r.run_id, f.key as source, o.open, o.deadline_at, s.status, s.reason,
  s.uncertain_attempts > 0 as is_uncertain, p.contact_data, p.web_data, p.insider_data, p.ai_summary,
  p.answered -> 'claude' ->> 'memo' as memo
from enrichment.runs r
join enrichment.prospects p on p.tenant_id = r.tenant_id and p.prospect_id = r.prospect_id
cross join lateral jsonb_each_text(r.follows) f
join enrichment.runs o on o.tenant_id = r.tenant_id and o.run_id = f.value::uuid
join enrichment.steps s on s.tenant_id = o.tenant_id and s.run_id = o.run_id and s.source = f.key
where r.tenant_id = $1 and r.run_id = any($2::uuid[])

-- name: release
-- Give a lease back, and set when the run is due again.
update enrichment.runs set lease_token = null, lease_expires_at = null, wake_at = $5
where tenant_id = $1 and run_id = $2 and lease_token = $3 and lease_epoch = $4

-- Taking turns ------------------------------------------------------------------------------------

-- name: read_allowance
-- A tenant's policy with the version of its row (0 for none), its spending of the day, and whether it has a
-- suppression list.
select p.*, coalesce(p.xmin::text::bigint, 0) as version,
  (select jsonb_object_agg(s.source, s.committed_micros) from enrichment.spending s
   where s.tenant_id = $1 and s.day = $2) as committed,
  exists (select from enrichment.suppressions s where s.tenant_id = $1) as suppresses
from (values (1)) as one (row) left join enrichment.policies p on p.tenant_id = $1

-- name: find_suppressed
-- Which of the given keys are on the tenant's suppression list.
select digest as keyed_hash from enrichment.suppressions where tenant_id = $1 and digest = any($2::bytea[])

-- name: lock_day
-- Lock the tenant's spending of the day until the reservations are made.
insert into enrichment.spending (tenant_id, day, source) values ($1, $2, 'all')
on conflict (tenant_id, day, source) do update set committed_micros = spending.committed_micros
returning committed_micros

-- name: save_turns
-- Write turns of a tenant's runs, each fenced by its lease: a run whose lease was lost is neither changed nor
-- returned. $2 is the worker's token, $3 the lease, $4 to $9 are lists, null where empty. $10 is the version of
-- the policy that the turns rest on, where it was read before this transaction: if it has changed, or there is
-- a suppression list by now, nothing is written.
with turn as (
  select * from json_to_recordset($4::json) as t (
    run_id uuid, epoch bigint, prospect_id uuid, status text, missing text[], began_at timestamptz,
    deadline_at timestamptz, ended_at timestamptz, amended_at timestamptz, open boolean, at timestamptz,
    enrichment_status text, enriched boolean, source_status jsonb, answered jsonb, found text[],
    contactout jsonb, exa jsonb, sec jsonb, claude jsonb)
),
locked as ( -- prospects before runs, in order, as the intake locks them
  select r.run_id from turn t
  join enrichment.prospects p on p.tenant_id = $1 and p.prospect_id = t.prospect_id
  join enrichment.runs r on r.tenant_id = $1 and r.run_id = t.run_id
    and r.lease_token = $2 and r.lease_epoch = t.epoch
    -- An end that was written, but whose acknowledgement was lost, is not published again.
    and (r.ended_at is null or t.ended_at is null)
  where $10::bigint is null or (
    $10 = coalesce((select xmin::text::bigint from enrichment.policies where tenant_id = $1), 0)
    and not exists (select from enrichment.suppressions where tenant_id = $1))
  order by p.prospect_id
  for update of p, r
),
leased as (
  update enrichment.runs r set
    status = t.status, missing = coalesce(t.missing, r.missing),
    began_at = coalesce(r.began_at, t.began_at), deadline_at = t.deadline_at,
    ended_at = coalesce(r.ended_at, t.ended_at), amended_at = coalesce(t.amended_at, r.amended_at),
    open = t.open, version = r.version + 1,
    lease_token = case when t.open then r.lease_token end,
    lease_expires_at = case when t.open then now() + $3::interval end
  from turn t join locked using (run_id)
  where r.tenant_id = $1 and r.run_id = t.run_id
  returning r.run_id, r.cancel_requested_at is not null as cancel_requested,
    r.in_batch and t.ended_at is not null as ended_in_batch
),
step as (
  update enrichment.steps s set
    status = (c.step).status, reason = left((c.step).reason, 500),
    error_class = (c.step).error_class, attempts = (c.step).attempts,
    uncertain_attempts = (c.step).uncertain_attempts, failures = (c.step).failures,
    cost_micros = (c.step).cost_micros, lookup = (c.step).lookup, reused = (c.step).reused,
    started_at = (c.step).started_at, ended_at = (c.step).ended_at,
    next_attempt_at = (c.step).next_attempt_at, ready_at = (c.step).ready_at,
    parked_at = (c.step).parked_at
  from json_to_recordset($5::json) as c (run_id uuid, step enrichment.steps)
  join leased using (run_id)
  where s.tenant_id = $1 and s.run_id = c.run_id and s.source = (c.step).source
),
begun as (
  insert into enrichment.attempts (
    tenant_id, run_id, source, attempt, started_at, lookup, reserved_micros, cost_micros,
    queue_wait_ms, breaker_wait_ms, limiter_wait_ms, worker)
  select $1, b.run_id, b.source, b.attempt, b.at, b.lookup, b.reserved_micros, b.reserved_micros,
    b.queue_wait_ms, b.breaker_wait_ms, b.limiter_wait_ms, b.worker
  from json_to_recordset($6::json) as b (
    run_id uuid, source text, attempt int, at timestamptz, lookup text, reserved_micros bigint,
    queue_wait_ms bigint, breaker_wait_ms bigint, limiter_wait_ms bigint, worker text)
  join leased using (run_id)
),
ended_attempts as (
  update enrichment.attempts a set
    status = e.status, error_class = e.error_class, reason = e.reason,
    source_request_id = e.request_id, cost_micros = coalesce(e.cost_micros, a.reserved_micros),
    ended_at = e.at
  from json_to_recordset($7::json) as e (
    run_id uuid, source text, attempt int, status text, error_class text, reason text,
    request_id text, cost_micros bigint, at timestamptz)
  join leased using (run_id)
  where a.tenant_id = $1 and a.run_id = e.run_id and a.source = e.source and a.attempt = e.attempt
    and a.status = 'started'
),
money as (
  select m.* from json_to_recordset($8::json) as m (
    run_id uuid, source text, attempt int, kind text, amount_micros bigint, at timestamptz, day date)
  join leased using (run_id)
),
entry as (
  insert into enrichment.ledger (tenant_id, run_id, source, attempt, kind, amount_micros, created_at)
  select $1, run_id, source, attempt, kind, amount_micros, at from money
),
spent as (
  insert into enrichment.spending as s (tenant_id, day, source, committed_micros)
  select $1, m.day, k.key, sum(case m.kind when 'refund' then -m.amount_micros else m.amount_micros end)
  from money m cross join lateral (values (m.source), ('all')) as k (key)
  where m.kind <> 'settle'
  group by m.day, k.key order by m.day, k.key
  on conflict (tenant_id, day, source) do update
    set committed_micros = s.committed_micros + excluded.committed_micros
),
prospect as (
  update enrichment.prospects p set
    -- The status is the newest run's; what an older run still finds is kept.
    enrichment_status = case when p.run_id = t.run_id then t.enrichment_status
      else p.enrichment_status end,
    enrichment_source_status = case when p.run_id = t.run_id
      then p.enrichment_source_status || t.source_status else p.enrichment_source_status end,
    last_enriched_at = case when t.enriched then t.at else p.last_enriched_at end,
    answered = p.answered || t.answered, updated_at = t.at,
    contact_data = case when 'contactout' = any(t.found) then t.contactout else p.contact_data end,
    web_data = case when 'exa' = any(t.found) then t.exa else p.web_data end,
    insider_data = case when 'sec' = any(t.found) then t.sec else p.insider_data end,
    ai_summary = case when 'claude' = any(t.found) then t.claude else p.ai_summary end
  from turn t join leased using (run_id)
  where p.tenant_id = $1 and p.prospect_id = t.prospect_id
),
news as (
  insert into enrichment.outbox (
    event_id, tenant_id, subject, event_type, source, body, occurred_at, traceparent)
  select n.event_id, $1, n.subject, n.event_type, n.source, decode(n.body, 'base64'), n.occurred_at,
    n.traceparent
  from json_to_recordset($9::json) as n (
    run_id uuid, event_id uuid, subject text, event_type text, source text, body text,
    occurred_at timestamptz, traceparent text)
  join leased using (run_id)
)
select run_id, cancel_requested, ended_in_batch from leased

-- name: lock_batches_of
-- Lock the batches of runs, so that the run that ends last knows it.
select batch_id from enrichment.batches
where tenant_id = $1 and ended_at is null and batch_id in (
  select batch_id from enrichment.batch_runs where tenant_id = $1 and run_id = any($2::uuid[]))
order by batch_id
for update

-- name: end_batches
-- Number the ends of runs ($4) within their batches, and end the closed batches of which every run has ended.
-- The batches are locked.
with ended as (
  select distinct on (i.batch_id, i.run_id) i.batch_id, i.place
  from enrichment.batch_runs i
  join enrichment.runs r on r.tenant_id = i.tenant_id and r.run_id = i.run_id
  where i.tenant_id = $1 and i.batch_id = any($2::uuid[]) and i.run_id = any($4::uuid[])
    and r.ended_at is not null and not exists (
      select from enrichment.batch_runs c
      where c.tenant_id = $1 and c.batch_id = i.batch_id and c.run_id = i.run_id
        and c.end_order is not null)
  order by i.batch_id, i.run_id, i.place
),
counted as (
  update enrichment.batch_runs i set end_order = e.end_order
  from (
    select e.batch_id, e.place, row_number() over (partition by e.batch_id order by e.place) + coalesce((
      select max(c.end_order) from enrichment.batch_runs c
      where c.tenant_id = $1 and c.batch_id = e.batch_id and c.end_order is not null), 0) as end_order
    from ended e) e
  where i.tenant_id = $1 and i.batch_id = e.batch_id and i.place = e.place
)
update enrichment.batches b set ended_at = $3
where b.tenant_id = $1 and b.batch_id = any($2::uuid[]) and b.closed_at is not null
  and b.ended_at is null and not exists (
    select from enrichment.batch_runs i
    join enrichment.runs r on r.tenant_id = i.tenant_id and r.run_id = i.run_id
    where i.tenant_id = b.tenant_id and i.batch_id = b.batch_id and r.ended_at is null)
returning b.batch_id, b.user_id

-- The sources' state ------------------------------------------------------------------------------

-- name: add_failure
-- Count a failure while the breaker is closed; returns how many there are in a row.
update enrichment.sources set failures = failures + 1
where source = $1 and epoch = $2 and state = 'closed'
returning failures

-- name: forget_failures
-- A call succeeded: count failures from 0 again.
update enrichment.sources set failures = 0
where source = $1 and epoch = $2 and state = 'closed' and failures > 0

-- name: change_source
-- Change a source's breaker, unless another replica has changed it since.
update enrichment.sources set
  state = $3, epoch = epoch + 1, reason = $4, open_until = $5, openings = $6, failures = 0, quota = 0,
  admitted = 0, succeeded = 0
where source = $1 and epoch = $2
returning true

-- name: begin_probing
-- Admit one probe where the breaker is due, or where the whole wave has left and some probe has had no
-- outcome in time. Returns the epoch that it counts in.
update enrichment.sources set
  state = 'half_open', epoch = epoch + 1, quota = 1, admitted = 1, succeeded = 0,
  open_until = now() + $3::interval
where source = $1 and epoch = $2 and open_until <= now()
  and (state = 'open' or (state = 'half_open' and admitted >= quota))
returning epoch

-- name: admit_probe
-- Admit a probe to the wave under way, however long ago that began; its probes have the whole time for an
-- outcome from now on. Returns the epoch that it counts in.
update enrichment.sources set admitted = admitted + 1, open_until = now() + $3::interval
where source = $1 and epoch = $2 and state = 'half_open' and admitted < quota
returning epoch

-- name: pass_probe
-- A probe succeeded. When all of its wave have, the next wave begins, twice as large: before one of 4 lie 1 + 2.
-- Returns how many probes have succeeded since the breaker was opened.
update enrichment.sources set
  quota = case when succeeded + 1 < quota then quota else quota * 2 end,
  admitted = case when succeeded + 1 < quota then admitted else 0 end,
  succeeded = case when succeeded + 1 < quota then succeeded + 1 else 0 end
where source = $1 and epoch = $2 and state = 'half_open'
returning quota - 1 + succeeded

-- name: give_back
-- A probe ended without a verdict on the source: another may leave instead.
update enrichment.sources set admitted = admitted - 1
where source = $1 and epoch = $2 and state = 'half_open' and admitted > succeeded

-- name: park_source
-- Park a source until $2, unless it is parked for as long already.
update enrichment.sources set parked_until = $2, parked_reason = $3
where source = $1 and (parked_until is null or parked_until < $2)
returning true

-- name: pause_source
-- Pause a source, or let it be asked again and close its breaker.
update enrichment.sources set
  paused = $2, paused_until = case when $2 then $3::timestamptz end,
  paused_reason = case when $2 then $4 else '' end, epoch = epoch + 1,
  state = case when $2 then state else 'closed' end, reason = case when $2 then reason else '' end,
  open_until = case when $2 then open_until end,
  -- Calls that are out no longer count: others may leave instead of their probes.
  openings = case when $2 then openings else 0 end, failures = 0, admitted = succeeded,
  parked_until = case when $2 then parked_until end
where source = $1

-- name: take_slots
-- Take the next free slots of a source's rate, unless they lie too far ahead; returns the seconds to the
-- first. $2 how many, $3 the interval, $4 the horizon.
update enrichment.sources
set next_free_at = greatest(next_free_at, clock_timestamp()) + $2::int * $3::interval
where source = $1 and next_free_at < clock_timestamp() + $4::interval
returning greatest(0, extract(epoch from
  next_free_at - $2::int * $3::interval - clock_timestamp()))::float8

-- name: source_day
-- A tenant's calls since $2, by source; the median is of those that were answered.
select source, count(*) as calls, count(*) filter (where status = 'failed') as failed,
  count(*) filter (where status = 'uncertain') as uncertain,
  coalesce(percentile_cont(0.5) within group (order by extract(epoch from ended_at - started_at) * 1000)
    filter (where status in ('complete', 'not_found', 'failed')), 0)::float8 as median_ms
from enrichment.attempts where tenant_id = $1 and started_at >= $2
group by source

-- What a tenant allows ----------------------------------------------------------------------------

-- name: add_policy
-- Insert a tenant's policy, with the deployment's defaults, where it has none.
insert into enrichment.policies (tenant_id) values ($1) on conflict do nothing

-- name: lock_policy
-- Lock a tenant's policy until it is changed.
select is_stopped, contact_lookups, ask_paid_again, run_budget_micros, day_budget_micros,
  most_runs_at_once, weight, debounce_seconds, sources
from enrichment.policies where tenant_id = $1
for update

-- name: save_policy
-- Change a tenant's policy.
update enrichment.policies set
  is_stopped = $2, contact_lookups = $3, ask_paid_again = $4, run_budget_micros = $5,
  day_budget_micros = $6, most_runs_at_once = $7, weight = $8, debounce_seconds = $9, sources = $10,
  updated_at = $11
where tenant_id = $1

-- name: suppress
-- Put keys on a tenant's suppression list; returns those that are new.
insert into enrichment.suppressions (tenant_id, digest, kind, reason, created_at)
select $1, k.keyed_hash, k.kind, $4, $5 from unnest($2::bytea[], $3::text[]) as k (keyed_hash, kind)
order by k.keyed_hash
on conflict do nothing
returning digest

-- name: unsuppress
-- Take keys off a tenant's suppression list.
delete from enrichment.suppressions where tenant_id = $1 and digest = any($2::bytea[])
returning digest

-- Erasing and retention ---------------------------------------------------------------------------

-- name: runs_of_prospect
-- The runs of a prospect.
select run_id from enrichment.runs where tenant_id = $1 and prospect_id = $2

-- name: delete_events
-- Delete the pending events of a prospect ($2), which have its id in their body, and those that are kept.
with kept as (
  delete from enrichment.published
  where tenant_id = $1 and position(convert_to($2, 'UTF8') in body) > 0
)
delete from enrichment.outbox where tenant_id = $1 and position(convert_to($2, 'UTF8') in body) > 0
returning event_id

-- name: delete_prospect
-- Delete a prospect, and with it its runs, their steps, attempts and places in batches.
delete from enrichment.prospects where tenant_id = $1 and prospect_id = $2

-- name: add_erasure
-- Insert the receipt of an erasure.
insert into enrichment.erasures (
  tenant_id, receipt_id, prospect_id, user_id, erased_at, run_count, event_count)
values ($1, $2, $3, $4, $5, $6, $7)
returning receipt_id, erased_at, run_count, event_count

-- name: get_erasure
-- The newest receipt for a prospect.
select receipt_id, erased_at, run_count, event_count
from enrichment.erasures where tenant_id = $1 and prospect_id = $2
order by erased_at desc limit 1

-- name: anonymise_runs
-- Put another user ($3) in the place of one ($2) in runs; locks as turns do: prospects before runs, in order.
with locked as (
  select r.run_id from enrichment.runs r
  join enrichment.prospects p on p.tenant_id = r.tenant_id and p.prospect_id = r.prospect_id
  where r.tenant_id = $1 and r.user_id = $2
  order by p.prospect_id
  for update of p, r
)
update enrichment.runs r set user_id = $3
from locked l where r.tenant_id = $1 and r.run_id = l.run_id

-- name: anonymise_batches
-- Put another user in the place of one in batches.
update enrichment.batches set user_id = $3 where tenant_id = $1 and user_id = $2

-- name: anonymise_erasures
-- Put another user in the place of one in receipts.
update enrichment.erasures set user_id = $3 where tenant_id = $1 and user_id = $2

-- name: anonymise_events
-- Put one id in the place of another in pending and kept events; both are equally long, so the message stays valid.
with kept as (
  update enrichment.published set body = overlay(body placing convert_to($3, 'UTF8')
    from position(convert_to($2, 'UTF8') in body))
  where tenant_id = $1 and position(convert_to($2, 'UTF8') in body) > 0
)
update enrichment.outbox set body = overlay(body placing convert_to($3, 'UTF8')
  from position(convert_to($2, 'UTF8') in body))
where tenant_id = $1 and position(convert_to($2, 'UTF8') in body) > 0

-- name: lock_keeping
-- Let one replica at a time delete history; false where another does.
select pg_try_advisory_xact_lock(hashtext('enrichment.keeping'))

-- name: tenants_with_history
-- The tenants that have runs which ended before $1 (as enrichment_keeper).
select distinct tenant_id from enrichment.runs where not open and ended_at < $1

-- name: forget_runs
-- Delete up to $3 of a tenant's runs that ended before $2 and are not their prospect's newest; returns how
-- many were deleted.
with old as (
  select r.run_id from enrichment.runs r
  join enrichment.prospects p on p.tenant_id = r.tenant_id and p.prospect_id = r.prospect_id
  where r.tenant_id = $1 and r.created_at < $2 and r.ended_at < $2 and not r.open
    and p.run_id is distinct from r.run_id
  limit $3
),
deleted as (
  delete from enrichment.runs r using old
  where r.tenant_id = $1 and r.run_id = old.run_id
  returning r.run_id
)
select count(*) from deleted

-- name: forget_batches
-- Delete a tenant's batches that were created before $2 and have no run under way.
delete from enrichment.batches b
where b.tenant_id = $1 and b.created_at < $2 and not exists (
  select from enrichment.batch_runs i
  join enrichment.runs r on r.tenant_id = i.tenant_id and r.run_id = i.run_id
  where i.tenant_id = b.tenant_id and i.batch_id = b.batch_id and r.ended_at is null)

-- name: forget_request_ids
-- Delete up to $3 request ids that were added before $1 and whose run is deleted, or ended before $2 (as
-- enrichment_keeper); returns how many were deleted.
with old as (
  select q.tenant_id, q.request_id from enrichment.requests q
  where q.created_at < $1 and not exists (
    select from enrichment.runs r
    where r.tenant_id = q.tenant_id and r.run_id = q.run_id and (r.ended_at is null or r.ended_at >= $2))
  limit $3
),
deleted as (
  delete from enrichment.requests q using old
  where q.tenant_id = old.tenant_id and q.request_id = old.request_id
  returning q.request_id
)
select count(*) from deleted

-- Reading -----------------------------------------------------------------------------------------

-- name: get_run
-- A run with its steps and its cost.
select r.* from enrichment.run_rows r where r.tenant_id = $1 and r.run_id = $2

-- name: list_runs
-- A page of runs, newest first, beyond the cursor ($2, $3); a filter ($4 to $9) that is null does not narrow. To
-- be planned for its values: $4, a prospect, chooses the index.
select r.* from enrichment.filter_runs($1, $4, $5, $6, $7, $8, $9) r
where $2::timestamptz is null or (r.created_at, r.run_id) < ($2, $3::uuid)
order by r.created_at desc, r.run_id desc
limit $10

-- name: list_runs_of_batch
-- A page of a batch's runs ($11), as list_runs gives them.
select r.* from (
  select distinct run_id from enrichment.batch_runs where tenant_id = $1 and batch_id = $11) b
join enrichment.filter_runs($1, $4, $5, $6, $7, $8, $9) r using (run_id)
where $2::timestamptz is null or (r.created_at, r.run_id) < ($2, $3::uuid)
order by r.created_at desc, r.run_id desc
limit $10

-- name: batch_progress
-- A batch's progress, counted by its places, and its cost, in which each run counts once.
select b.batch_id, b.created_at, b.closed_at, coalesce(p.last_ended_at, b.created_at) as last_at, p.*,
  c.cost_micros
from enrichment.batches b
cross join lateral (
  select count(*) as total, max(coalesce(r.ended_at, r.created_at)) as last_ended_at,
    count(*) filter (where r.status = 'pending') as pending,
    count(*) filter (where r.status = 'in_progress') as in_progress,
    count(*) filter (where r.status = 'complete') as complete,
    count(*) filter (where r.status = 'failed') as failed,
    count(*) filter (where r.status = 'cancelled') as cancelled
  from enrichment.batch_runs i
  join enrichment.runs r on r.tenant_id = i.tenant_id and r.run_id = i.run_id
  where i.tenant_id = b.tenant_id and i.batch_id = b.batch_id
) p
cross join lateral (
  select coalesce(sum(s.cost_micros), 0)::bigint as cost_micros from enrichment.steps s
  where s.tenant_id = b.tenant_id and s.run_id in (
    select run_id from enrichment.batch_runs i
    where i.tenant_id = b.tenant_id and i.batch_id = b.batch_id)
) c
where b.tenant_id = $1 and b.batch_id = $2

-- name: list_ended_in_batch
-- The runs of a batch that have ended, in the order of their ends, beyond $3.
select i.end_order, r.*
from enrichment.batch_runs i
join enrichment.run_rows r on r.tenant_id = i.tenant_id and r.run_id = i.run_id
where i.tenant_id = $1 and i.batch_id = $2 and i.end_order > $3
order by i.end_order
limit $4

-- name: list_attempts
-- A run's calls, in the order in which they left.
select source, attempt, status, lookup, error_class, reason, source_request_id, cost_micros, started_at,
  ended_at, queue_wait_ms, breaker_wait_ms, limiter_wait_ms, worker
from enrichment.attempts where tenant_id = $1 and run_id = $2
order by started_at, source, attempt

-- name: list_prospects
-- A page of prospects, newest first, beyond the cursor ($2, $3), with the steps of each one's newest run; a
-- filter that is null does not narrow. To be planned for its values.
select p.prospect_id, p.name, p.email, p.linkedin_url, p.company, p.title, p.is_public_company,
  p.company_cik, p.enrichment_status, p.last_enriched_at, p.run_id, p.created_at,
  array(select s from enrichment.steps s where s.tenant_id = p.tenant_id and s.run_id = p.run_id) as steps
from enrichment.prospects p
where p.tenant_id = $1
  and ($2::timestamptz is null or (p.created_at, p.prospect_id) < ($2, $3::uuid))
  and ($4::text[] is null or p.enrichment_status = any($4))
  and ($6::text is null or case when $5::text is null
    then exists (select from jsonb_each_text(p.enrichment_source_status) s where s.value = $6)
    -- With coalesce the planner expects half to match; else it expects few, and reads and sorts all.
    else coalesce(p.enrichment_source_status ->> $5 = $6, false) end)
  and ($7::timestamptz is null or p.last_enriched_at is null or p.last_enriched_at < $7)
order by p.created_at desc, p.prospect_id desc
limit $8

-- name: get_prospect
-- A prospect with its findings.
select prospect_id, name, email, linkedin_url, company, title, is_public_company, company_cik,
  enrichment_status, last_enriched_at, contact_data, web_data, insider_data, ai_summary, run_id
from enrichment.prospects where tenant_id = $1 and prospect_id = $2

-- Steering ----------------------------------------------------------------------------------------

-- name: hurry_step
-- Make a step that waits due at once. Where no call is out, the run's worker loses its lease, so that the next
-- one reads the step anew; where one is out, a hint tells the worker.
with step as (
  update enrichment.steps set status = 'pending', reason = '', next_attempt_at = null
  where tenant_id = $1 and run_id = $2 and source = $3 and next_attempt_at is not null
    and status in ('pending', 'parked', 'circuit_open')
  returning run_id
),
busy as (
  select exists (
    select from enrichment.steps
    where tenant_id = $1 and run_id = $2 and status = 'in_progress') as yes
)
update enrichment.runs r set
  wake_at = $4, version = r.version + 1, lease_token = case when b.yes then r.lease_token end,
  lease_expires_at = case when b.yes then r.lease_expires_at end
from step s, busy b where r.tenant_id = $1 and r.run_id = s.run_id

-- name: forget_memo
-- Forget which evidence the summary rests on, so that a new one is made.
update enrichment.prospects set answered = answered #- '{claude,memo}'
where tenant_id = $1 and prospect_id = $2

-- name: read_known
-- What is known of prospects, and which of them have a run under way.
select p.prospect_id, p.name, p.email, p.linkedin_url, p.company, p.title, p.is_public_company,
  p.company_cik, p.answered, p.answered -> 'claude' ->> 'memo' is not null as has_summary,
  exists (
    select from enrichment.runs r
    where r.tenant_id = p.tenant_id and r.prospect_id = p.prospect_id and r.ended_at is null) as in_flight
from enrichment.prospects p where p.tenant_id = $1 and p.prospect_id = any($2::uuid[])

-- name: find_replays
-- The prospects without an open run whose newest ended run of a filter ($2 to $8, null does not narrow) has
-- sources that failed or were denied by a budget, and have not answered since. matched counts all of them, $9
-- limits the rows.
with newest as (
  select distinct on (r.prospect_id) r.prospect_id, r.run_id, r.created_at
  from enrichment.filter_runs($1, $2, $3, $4, $5, $6, $7) r
  where r.ended_at is not null
    and ($8::uuid is null or exists (
      select from enrichment.batch_runs b
      where b.tenant_id = r.tenant_id and b.run_id = r.run_id and b.batch_id = $8))
  order by r.prospect_id, r.created_at desc, r.run_id desc
)
select p.prospect_id, p.name, p.email, p.linkedin_url, p.company, p.title, p.is_public_company,
  p.company_cik, p.answered, p.answered -> 'claude' ->> 'memo' is not null as has_summary, f.sources,
  count(*) over () as matched
from newest n
join enrichment.prospects p on p.tenant_id = $1 and p.prospect_id = n.prospect_id
cross join lateral (
  select array_agg(s.source) as sources from enrichment.steps s
  where s.tenant_id = $1 and s.run_id = n.run_id and s.status in ('failed', 'budget_denied')
    and not coalesce((p.answered -> s.source ->> 'at')::timestamptz > s.ended_at, false)
) f
where f.sources is not null and not exists (
  select from enrichment.runs o
  where o.tenant_id = $1 and o.prospect_id = n.prospect_id and o.open)
order by n.created_at desc, n.run_id desc
limit $9

-- name: request_cancel
-- Cancel a run; one that waits becomes due at once, for a worker to end it.
update enrichment.runs set cancel_requested_at = coalesce(cancel_requested_at, $3), wake_at = $3
where tenant_id = $1 and run_id = $2 and open
returning true
