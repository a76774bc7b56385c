-- The enrichment service's statements, whole and named; store.py calls them.

-- name: lock_request
-- Take requests with the same id one after another.
select pg_advisory_xact_lock(hashtextextended($1::uuid::text, 0))

-- name: find_run_of_request
-- The run that a request id made before.
select run_id from enrichment.runs where tenant_id = $1 and request_id = $2

-- name: add_prospect
-- Make the prospect where it is not there yet.
insert into enrichment.prospects (
  tenant_id, prospect_id, name, email, linkedin_url, company, title, is_public_company, company_cik)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
on conflict do nothing

-- name: lock_prospect
-- Hold a prospect still, so that requests for it are taken one after another.
select run_id from enrichment.prospects where tenant_id = $1 and prospect_id = $2 for update

-- name: find_run_in_flight
-- The prospect's run that has not ended.
select run_id from enrichment.runs
where tenant_id = $1 and prospect_id = $2 and status in ('pending', 'in_progress')

-- name: begin_prospect
-- Point the prospect to its new run, with what the request says of it.
update enrichment.prospects set
  name = $3, email = $4, linkedin_url = $5, company = $6, title = $7, is_public_company = $8,
  company_cik = $9, run_id = $10, enrichment_status = 'pending', enrichment_source_status = $11,
  updated_at = now()
where tenant_id = $1 and prospect_id = $2

-- name: add_run
-- Write a new run.
insert into enrichment.runs (
  tenant_id, run_id, prospect_id, user_id, request_id, traceparent, deadline_at, created_at)
values ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: add_steps
-- Write a new run's steps.
insert into enrichment.steps (tenant_id, run_id, source, status, reason, ended_at)
select $1, $2, s.source, s.status, s.reason, s.ended_at
from unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[])
  as s (source, status, reason, ended_at)

-- name: find_waiting
-- Runs that wait for a worker, longest first, across tenants (as enrichment_claimer).
select tenant_id, run_id from enrichment.runs
where status in ('pending', 'in_progress') and wake_at <= now()
  and (lease_expires_at is null or lease_expires_at <= now())
order by wake_at
limit $1

-- name: claim
-- Take the lease of a run, unless another was faster.
update enrichment.runs set
  status = 'in_progress', lease_token = $3, lease_expires_at = now() + $4::interval
where tenant_id = $1 and run_id = $2 and status in ('pending', 'in_progress') and wake_at <= now()
  and (lease_expires_at is null or lease_expires_at <= now())
returning prospect_id, user_id, traceparent, created_at, deadline_at

-- name: hold
-- Prove that the lease is still ours, and renew it; no row means that it is lost.
update enrichment.runs set lease_expires_at = now() + $4::interval
where tenant_id = $1 and run_id = $2 and lease_token = $3 and ended_at is null
returning true

-- name: release
-- Give the lease back and say when the run wants a worker again.
update enrichment.runs set lease_token = null, lease_expires_at = null, wake_at = $4
where tenant_id = $1 and run_id = $2 and lease_token = $3

-- name: load_subject
-- Whom a run is about.
select name, company, title, email, linkedin_url, is_public_company, company_cik
from enrichment.prospects where tenant_id = $1 and prospect_id = $2

-- name: load_steps
-- A run's steps with what they found.
select source, status, reason, error_class, attempts, uncertain_attempts, cost_micros, started_at,
  ended_at, next_attempt_at, finding
from enrichment.steps where tenant_id = $1 and run_id = $2 order by source

-- name: save_step
-- Write a step as it stands.
update enrichment.steps set
  status = $4, reason = $5, error_class = $6, attempts = $7, uncertain_attempts = $8,
  cost_micros = $9, started_at = $10, ended_at = $11, next_attempt_at = $12
where tenant_id = $1 and run_id = $2 and source = $3

-- name: save_step_finding
-- Keep what a step found, for the summary of this run.
update enrichment.steps set finding = $4 where tenant_id = $1 and run_id = $2 and source = $3

-- name: save_source_status
-- Show a step's status on its prospect.
update enrichment.prospects set
  enrichment_status = 'in_progress',
  enrichment_source_status = enrichment_source_status || jsonb_build_object($3::text, $4::text),
  updated_at = now()
where tenant_id = $1 and prospect_id = $2

-- name: save_contact_data
update enrichment.prospects set contact_data = $3 where tenant_id = $1 and prospect_id = $2

-- name: save_web_data
update enrichment.prospects set web_data = $3 where tenant_id = $1 and prospect_id = $2

-- name: save_insider_data
update enrichment.prospects set insider_data = $3 where tenant_id = $1 and prospect_id = $2

-- name: save_ai_summary
update enrichment.prospects set ai_summary = $3 where tenant_id = $1 and prospect_id = $2

-- name: begin_attempt
-- Write a call down before it leaves.
insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at)
values ($1, $2, $3, $4, $5)

-- name: settle_attempt
-- Write what became of a call.
update enrichment.attempts set
  status = $5, error_class = $6, reason = $7, source_request_id = $8, cost_micros = $9, ended_at = $10
where tenant_id = $1 and run_id = $2 and source = $3 and attempt = $4 and status = 'started'

-- name: end_run
-- A run has reached its end.
update enrichment.runs set
  status = $3, missing = $4, ended_at = $5, lease_token = null, lease_expires_at = null
where tenant_id = $1 and run_id = $2

-- name: end_prospect
-- Show the end of the newest run on its prospect.
update enrichment.prospects set
  enrichment_status = $3,
  last_enriched_at = case when $3 = 'complete' then $4 else last_enriched_at end,
  updated_at = now()
where tenant_id = $1 and prospect_id = $2

-- name: get_run
-- A run with its cost.
select r.run_id, r.prospect_id, r.status, r.missing, r.created_at, r.ended_at,
  (select coalesce(sum(s.cost_micros), 0)::bigint from enrichment.steps s
   where s.tenant_id = r.tenant_id and s.run_id = r.run_id) as cost_micros
from enrichment.runs r where r.tenant_id = $1 and r.run_id = $2

-- name: get_prospect
-- A prospect with all that was found.
select prospect_id, name, email, linkedin_url, company, title, is_public_company, company_cik,
  enrichment_status, last_enriched_at, contact_data, web_data, insider_data, ai_summary, run_id
from enrichment.prospects where tenant_id = $1 and prospect_id = $2
