-- Why: prospects and the durable runs that research them.
--
-- The tables   prospects holds who was asked about and what was found. A run is one enrichment of a
--              prospect; it has a step a source; a step has attempts, one a call.
-- The flow     A request (RPC or prospect.enrich.requested) writes a run and its steps and is then
--              acknowledged. A worker claims the run by a lease, calls the sources, and writes each
--              result with the event that tells of it. When all steps have ended, the run ends.
-- Guarantees   An attempt is written down before its call leaves and settled after it, in the transaction
--              that stores its answer and its cost; a finished step is never called again. Every write of
--              a worker names the lease it holds, so one that comes late changes nothing. A prospect has
--              at most one run in flight. A run ends by its deadline whatever happens.
-- Across tenants  enrichment_claimer sees which runs wait, by id and time; nothing else crosses.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists enrichment.prospects (
  tenant_id uuid not null,
  prospect_id uuid not null,
  name text not null,
  email text not null default '',
  linkedin_url text not null default '',
  company text not null,
  title text not null default '',
  is_public_company boolean not null default false,
  company_cik bigint,
  enrichment_status text not null default 'pending',
  last_enriched_at timestamptz,
  contact_data jsonb,
  web_data jsonb,
  insider_data jsonb,
  ai_summary jsonb,
  enrichment_source_status jsonb not null default '{}',
  run_id uuid,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint prospects_pk primary key (tenant_id, prospect_id),
  constraint prospects_enrichment_status check (
    enrichment_status in ('pending', 'in_progress', 'complete', 'failed'))
);

create table if not exists enrichment.runs (
  tenant_id uuid not null,
  run_id uuid not null,
  prospect_id uuid not null,
  user_id uuid not null,
  request_id uuid,
  status text not null default 'pending',
  missing text[] not null default '{}',
  traceparent text not null default '',
  created_at timestamptz not null default now(),
  deadline_at timestamptz not null,
  ended_at timestamptz,
  wake_at timestamptz not null default now(),
  lease_token uuid,
  lease_expires_at timestamptz,
  constraint runs_pk primary key (tenant_id, run_id),
  constraint runs_prospect_fk foreign key (tenant_id, prospect_id)
    references enrichment.prospects (tenant_id, prospect_id) on delete cascade,
  constraint runs_request_unique unique (tenant_id, request_id),
  constraint runs_status check (status in ('pending', 'in_progress', 'complete', 'failed')),
  constraint runs_ended check ((ended_at is not null) = (status in ('complete', 'failed')))
);
create unique index if not exists runs_one_in_flight on enrichment.runs (tenant_id, prospect_id)
  where status in ('pending', 'in_progress');
create index if not exists runs_waiting on enrichment.runs (wake_at)
  where status in ('pending', 'in_progress');

create table if not exists enrichment.steps (
  tenant_id uuid not null,
  run_id uuid not null,
  source text not null,
  status text not null default 'pending',
  reason text not null default '',
  error_class text not null default '',
  attempts int not null default 0,
  uncertain_attempts int not null default 0,
  cost_micros bigint not null default 0,
  started_at timestamptz,
  ended_at timestamptz,
  next_attempt_at timestamptz,
  finding jsonb,
  constraint steps_pk primary key (tenant_id, run_id, source),
  constraint steps_run_fk foreign key (tenant_id, run_id)
    references enrichment.runs (tenant_id, run_id) on delete cascade,
  constraint steps_source check (source in ('contactout', 'exa', 'sec', 'claude')),
  constraint steps_status check (status in (
    'pending', 'in_progress', 'complete', 'failed', 'skipped', 'circuit_open', 'not_found')),
  constraint steps_uncertain check (uncertain_attempts between 0 and attempts)
);

create table if not exists enrichment.attempts (
  tenant_id uuid not null,
  run_id uuid not null,
  source text not null,
  attempt int not null,
  status text not null default 'started',
  error_class text not null default '',
  reason text not null default '',
  source_request_id text not null default '',
  cost_micros bigint not null default 0,
  started_at timestamptz not null,
  ended_at timestamptz,
  constraint attempts_pk primary key (tenant_id, run_id, source, attempt),
  constraint attempts_step_fk foreign key (tenant_id, run_id, source)
    references enrichment.steps (tenant_id, run_id, source) on delete cascade,
  constraint attempts_status check (status in (
    'started', 'complete', 'not_found', 'failed', 'uncertain'))
);

alter table enrichment.prospects enable row level security;
alter table enrichment.prospects force row level security;
alter table enrichment.runs enable row level security;
alter table enrichment.runs force row level security;
alter table enrichment.steps enable row level security;
alter table enrichment.steps force row level security;
alter table enrichment.attempts enable row level security;
alter table enrichment.attempts force row level security;

create policy prospects_of_tenant on enrichment.prospects to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy runs_of_tenant on enrichment.runs to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy steps_of_tenant on enrichment.steps to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy attempts_of_tenant on enrichment.attempts to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy runs_of_claimer on enrichment.runs for select to enrichment_claimer using (true);

grant select, insert, update on enrichment.prospects, enrichment.runs, enrichment.steps,
  enrichment.attempts to enrichment_app;
grant select (tenant_id, run_id, status, wake_at, lease_expires_at) on enrichment.runs
  to enrichment_claimer;
