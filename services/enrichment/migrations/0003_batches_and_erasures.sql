-- Why: who follows a batch is told of each run's end once; a prospect can be erased, with a receipt; a
-- policy's field that was never set follows the deployment's setting; old history is forgotten.
--
-- batch_runs.end_order   counts a batch's runs in the order in which their ends were committed. It is given
--                        under the batch's lock, so that no smaller number ever appears after a larger one.
--                        A run that stands at several places of a batch has it at the first.
-- erasures               the receipts: ids, counts and a time, nothing of the person.

-- A migration is one transaction, so no index can be built concurrently. No version before wrote policies,
-- so none has a null to stumble over.
-- squawk-ignore-file require-concurrent-index-creation, ban-drop-default, ban-drop-not-null

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table enrichment.batch_runs add column if not exists end_order int;
create index if not exists batch_runs_ended on enrichment.batch_runs (tenant_id, batch_id, end_order)
  where end_order is not null;

alter table enrichment.policies alter column ask_paid_again drop default;
alter table enrichment.policies alter column ask_paid_again drop not null;
alter table enrichment.policies alter column most_runs_at_once drop default;
alter table enrichment.policies alter column most_runs_at_once drop not null;

create table if not exists enrichment.erasures (
  tenant_id uuid not null,
  receipt_id uuid not null,
  prospect_id uuid not null,
  user_id uuid not null,
  erased_at timestamptz not null,
  run_count int not null,
  event_count int not null,
  constraint erasures_pk primary key (tenant_id, receipt_id)
);
create index if not exists erasures_of_prospect
  on enrichment.erasures (tenant_id, prospect_id, erased_at desc);
alter table enrichment.erasures enable row level security;
alter table enrichment.erasures force row level security;
create policy erasures_of_tenant on enrichment.erasures to enrichment_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
grant select, insert, update on enrichment.erasures to enrichment_app;

-- A pending event of a user who is erased is told of the anonymous user instead.
grant update (body) on enrichment.outbox to enrichment_app;
grant select (run_id) on enrichment.requests to enrichment_keeper;
