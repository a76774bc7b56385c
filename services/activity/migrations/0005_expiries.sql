-- Why: an entry that a tenant kept no longer and that is gone is not one that somebody removed. How long
-- the tenant keeps its log today does not tell: it may have been less for a while.
--
-- The table    expiries remembers, a row a tenant, up to which time entries were ever deleted by retention.
-- Guarantees   The mark is written before anything is deleted, and only moves forward.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.expiries (
  tenant_id uuid not null,
  expired_before timestamptz not null,
  constraint expiries_pk primary key (tenant_id)
);

alter table activity.expiries enable row level security;
alter table activity.expiries force row level security;
create policy expiries_of_tenant on activity.expiries to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
grant select, insert, update on activity.expiries to activity_app;
