-- Why: runs share the sources fairly, spend within budgets, and obey what a tenant allows.
--
-- The tables   policies holds what a tenant allows; suppressions whom it never asks about, as keyed hashes.
--              ledger has an entry a movement of money, spending its sums a day. requests remembers which
--              run a request got; batches which runs were asked for together. flows and virtual_time give
--              tenants fair turns. sources is the state of each source, for the whole deployment.
-- The flow     A request becomes a run with a place in its tenant's line. A worker claims open runs by fair
--              turn between tenants (start-time fair queueing), each tenant's in the order of its line,
--              within its cap, which is counted from live leases. Every
--              turn of a run is one statement, fenced by lease_token and lease_epoch: steps, attempts,
--              ledger, prospect and events change together or not at all.
-- Guarantees   An attempt, and the reservation of what it may cost, is written down before its call leaves.
--              A budget is checked under the lock of the tenant's day. An ended run stays open while a late
--              source may still add to it.
-- Across tenants  enrichment_claimer claims runs and renews leases, enrichment_keeper forgets old history:
--              ids and times, no content. sources and virtual_time hold nothing of any tenant.

-- A migration is one transaction, so no index can be built concurrently; a status may have new values, so
-- its check is replaced.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion, ban-drop-constraint

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table enrichment.prospects
  add column if not exists answered jsonb not null default '{}';

alter table enrichment.runs
  add column if not exists batch_id uuid,
  add column if not exists in_batch boolean not null default false,
  add column if not exists priority int not null default 2,
  add column if not exists line_at timestamptz not null default now(),
  add column if not exists open boolean not null default true,
  add column if not exists sources text[] not null default '{}',
  add column if not exists budget_micros bigint not null default 0,
  add column if not exists version bigint not null default 0,
  add column if not exists began_at timestamptz,
  add column if not exists cancel_requested_at timestamptz,
  add column if not exists amended_at timestamptz,
  add column if not exists lease_epoch bigint not null default 0;
alter table enrichment.runs drop constraint if exists runs_status;
alter table enrichment.runs add constraint runs_status check (
  status in ('pending', 'in_progress', 'complete', 'failed', 'cancelled')) not valid;
alter table enrichment.runs drop constraint if exists runs_ended;
alter table enrichment.runs add constraint runs_ended check (
  (ended_at is not null) = (status in ('complete', 'failed', 'cancelled'))) not valid;
-- The owner has no policy: it sees rows of all tenants only while row level security is not forced on it.
alter table enrichment.prospects no force row level security;
alter table enrichment.runs no force row level security;
alter table enrichment.steps no force row level security;
update enrichment.runs set open = false where ended_at is not null;
-- requests remembers more: a request that joined another's run as well.
alter table enrichment.runs drop constraint if exists runs_request_unique;

alter table enrichment.steps
  add column if not exists failures int not null default 0,
  add column if not exists lookup text not null default '',
  add column if not exists reused boolean not null default false,
  add column if not exists ready_at timestamptz,
  add column if not exists parked_at timestamptz;
alter table enrichment.steps drop constraint if exists steps_status;
alter table enrichment.steps add constraint steps_status check (status in (
  'pending', 'in_progress', 'complete', 'failed', 'skipped', 'circuit_open', 'not_found',
  'suppressed', 'budget_denied', 'parked')) not valid;
update enrichment.prospects p set answered = (
  select coalesce(jsonb_object_agg(s.source, jsonb_build_object('status', s.status, 'at', s.ended_at)), '{}')
  from enrichment.steps s
  where s.tenant_id = p.tenant_id and s.run_id = p.run_id and s.status in ('complete', 'not_found'));

alter table enrichment.attempts
  add column if not exists lookup text not null default '',
  add column if not exists reserved_micros bigint not null default 0,
  add column if not exists queue_wait_ms bigint not null default 0,
  add column if not exists breaker_wait_ms bigint not null default 0,
  add column if not exists limiter_wait_ms bigint not null default 0,
  add column if not exists worker text not null default '';

drop index if exists enrichment.runs_waiting;
create index if not exists runs_open on enrichment.runs (tenant_id, line_at) include (wake_at) where open;
create index if not exists runs_leased on enrichment.runs (tenant_id) where lease_token is not null;
-- No index looks at a column that a turn changes, so that a turn's updates stay on their page (HOT).
drop index if exists enrichment.runs_one_in_flight;
create unique index if not exists runs_one_in_flight on enrichment.runs (tenant_id, prospect_id)
  where ended_at is null;
alter table enrichment.runs set (fillfactor = 70);
alter table enrichment.steps set (fillfactor = 60);
alter table enrichment.attempts set (fillfactor = 80);
alter table enrichment.prospects set (fillfactor = 60);
create index if not exists runs_newest on enrichment.runs (tenant_id, created_at desc, run_id desc);
create index if not exists runs_of_prospect on enrichment.runs (tenant_id, prospect_id, created_at desc);
create index if not exists prospects_newest
  on enrichment.prospects (tenant_id, created_at desc, prospect_id desc);
create index if not exists attempts_of_day on enrichment.attempts (tenant_id, started_at);

create table if not exists enrichment.requests (
  tenant_id uuid not null,
  request_id uuid not null,
  run_id uuid, -- absent only while the request is being taken in
  created_at timestamptz not null default now(),
  constraint requests_pk primary key (tenant_id, request_id)
);
insert into enrichment.requests (tenant_id, request_id, run_id, created_at)
select tenant_id, request_id, run_id, created_at from enrichment.runs where request_id is not null
on conflict do nothing;

create table if not exists enrichment.batches (
  tenant_id uuid not null,
  batch_id uuid not null,
  user_id uuid not null,
  created_at timestamptz not null default now(),
  closed_at timestamptz,
  ended_at timestamptz,
  constraint batches_pk primary key (tenant_id, batch_id)
);

-- A run may belong to more than one batch: a request for a prospect in flight joins its run.
create table if not exists enrichment.batch_runs (
  tenant_id uuid not null,
  batch_id uuid not null,
  place int not null,
  run_id uuid not null,
  constraint batch_runs_pk primary key (tenant_id, batch_id, place),
  constraint batch_runs_batch_fk foreign key (tenant_id, batch_id)
    references enrichment.batches (tenant_id, batch_id) on delete cascade,
  constraint batch_runs_run_fk foreign key (tenant_id, run_id)
    references enrichment.runs (tenant_id, run_id) on delete cascade
);
create index if not exists batch_runs_of_run on enrichment.batch_runs (tenant_id, run_id);

create table if not exists enrichment.policies (
  tenant_id uuid not null,
  is_stopped boolean not null default false,
  contact_lookups text[] not null default '{linkedin_url,email,name_and_company}',
  ask_paid_again boolean not null default false,
  run_budget_micros bigint not null default 0,
  day_budget_micros bigint not null default 0,
  most_runs_at_once int not null default 32,
  weight int not null default 1,
  debounce_seconds int not null default 0,
  sources jsonb not null default '{}',
  updated_at timestamptz not null default now(),
  constraint policies_pk primary key (tenant_id),
  constraint policies_budgets check (run_budget_micros >= 0 and day_budget_micros >= 0),
  constraint policies_share check (weight between 1 and 100 and most_runs_at_once between 1 and 1000)
);

create table if not exists enrichment.suppressions (
  tenant_id uuid not null,
  digest bytea not null,
  kind text not null,
  reason text not null default '',
  created_at timestamptz not null default now(),
  constraint suppressions_pk primary key (tenant_id, digest),
  constraint suppressions_kind check (kind in ('email', 'linkedin_url', 'name_and_company'))
);

create table if not exists enrichment.ledger (
  tenant_id uuid not null,
  run_id uuid not null,
  source text not null,
  attempt int not null,
  kind text not null,
  amount_micros bigint not null,
  created_at timestamptz not null,
  constraint ledger_pk primary key (tenant_id, run_id, source, attempt, kind),
  constraint ledger_kind check (kind in ('reserve', 'settle', 'refund'))
);

-- One row a day and source, and one for all sources, whose lock orders the day's reservations.
create table if not exists enrichment.spending (
  tenant_id uuid not null,
  day date not null,
  source text not null,
  committed_micros bigint not null default 0,
  constraint spending_pk primary key (tenant_id, day, source)
);

create table if not exists enrichment.flows (
  tenant_id uuid not null,
  turn double precision not null,
  constraint flows_pk primary key (tenant_id)
);

create table if not exists enrichment.virtual_time (
  only_row boolean not null default true,
  turn double precision not null default 0,
  constraint virtual_time_pk primary key (only_row),
  constraint virtual_time_only_row check (only_row)
);
insert into enrichment.virtual_time default values on conflict do nothing;

create table if not exists enrichment.sources (
  source text not null,
  state text not null default 'closed',
  epoch bigint not null default 0,
  reason text not null default '',
  open_until timestamptz,
  openings int not null default 0,
  quota int not null default 0,
  admitted int not null default 0,
  parked_until timestamptz,
  parked_reason text not null default '',
  paused boolean not null default false,
  paused_until timestamptz,
  paused_reason text not null default '',
  next_free_at timestamptz not null default '-infinity',
  constraint sources_pk primary key (source),
  constraint sources_state check (state in ('closed', 'open', 'half_open'))
);
insert into enrichment.sources (source) values ('contactout'), ('exa'), ('sec'), ('claude')
on conflict do nothing;

alter table enrichment.prospects force row level security;
alter table enrichment.runs force row level security;
alter table enrichment.steps force row level security;
alter table enrichment.requests enable row level security;
alter table enrichment.requests force row level security;
alter table enrichment.batches enable row level security;
alter table enrichment.batches force row level security;
alter table enrichment.batch_runs enable row level security;
alter table enrichment.batch_runs force row level security;
alter table enrichment.policies enable row level security;
alter table enrichment.policies force row level security;
alter table enrichment.suppressions enable row level security;
alter table enrichment.suppressions force row level security;
alter table enrichment.ledger enable row level security;
alter table enrichment.ledger force row level security;
alter table enrichment.spending enable row level security;
alter table enrichment.spending force row level security;
alter table enrichment.flows enable row level security;
alter table enrichment.flows force row level security;

create policy requests_of_tenant on enrichment.requests to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy batches_of_tenant on enrichment.batches to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy batch_runs_of_tenant on enrichment.batch_runs to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy policies_of_tenant on enrichment.policies to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy suppressions_of_tenant on enrichment.suppressions to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy ledger_of_tenant on enrichment.ledger to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy spending_of_tenant on enrichment.spending to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy flows_of_tenant on enrichment.flows to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy flows_of_claimer on enrichment.flows to enrichment_claimer using (true);
create policy runs_leased_by_claimer on enrichment.runs for update to enrichment_claimer using (true);
create policy policies_of_claimer on enrichment.policies for select to enrichment_claimer using (true);
create policy runs_of_keeper on enrichment.runs for select to enrichment_keeper using (true);
create policy requests_of_keeper on enrichment.requests to enrichment_keeper using (true);

grant select, insert, update, delete on enrichment.requests, enrichment.batches,
  enrichment.batch_runs, enrichment.policies, enrichment.suppressions, enrichment.spending,
  enrichment.flows to enrichment_app;
grant select, insert on enrichment.ledger to enrichment_app;
grant delete on enrichment.prospects, enrichment.runs, enrichment.steps, enrichment.attempts
  to enrichment_app;
grant select, update on enrichment.sources to enrichment_app;
grant select on enrichment.sources to enrichment_claimer;
grant select, update on enrichment.virtual_time to enrichment_claimer;
grant select, insert, update on enrichment.flows to enrichment_claimer;
grant select (open, line_at, lease_token, lease_epoch, cancel_requested_at) on enrichment.runs
  to enrichment_claimer;
grant update (lease_token, lease_expires_at, lease_epoch) on enrichment.runs to enrichment_claimer;
grant select (tenant_id, most_runs_at_once, weight) on enrichment.policies to enrichment_claimer;
grant select (tenant_id, run_id, open, ended_at) on enrichment.runs to enrichment_keeper;
grant select (tenant_id, request_id, created_at) on enrichment.requests to enrichment_keeper;
grant delete on enrichment.requests to enrichment_keeper;
