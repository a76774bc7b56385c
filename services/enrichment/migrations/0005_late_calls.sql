-- Why: a call that is out when its run has ended, and paid for, is not repeated by the next run of the
-- prospect; where the prospect has other words by then, what the call brings is nobody's.
--
-- runs.follows    which calls of earlier runs were out when it was made, source by run: it waits for them
--                 and takes over what they bring.
-- runs.outdated   its prospect has other words since: what it still brings is not kept.
-- requests.digest a keyed hash of what was asked, so that the same id with another question is refused;
--                 null for what was asked before this was kept.
-- batch_runs      keeps a place whose run is gone, so that a batch that is sent again brings nobody back.

-- squawk-ignore-file ban-drop-not-null, ban-drop-constraint

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table enrichment.runs add column if not exists follows jsonb not null default '{}';
alter table enrichment.runs add column if not exists outdated boolean not null default false;
alter table enrichment.requests add column if not exists digest bytea;

alter table enrichment.batch_runs alter column run_id drop not null;
alter table enrichment.batch_runs drop constraint if exists batch_runs_run_fk;
alter table enrichment.batch_runs add constraint batch_runs_run_fk foreign key (tenant_id, run_id)
  references enrichment.runs (tenant_id, run_id) on delete set null (run_id) not valid;
