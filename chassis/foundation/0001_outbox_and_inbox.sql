-- Why: a state change and the event that tells of it commit together (outbox), and an event that comes
-- twice has its effect once (inbox). Both are tenant tables; only the relay's role looks across.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists __service__.outbox (
  outbox_id bigint generated always as identity,
  event_id uuid not null,
  tenant_id uuid not null,
  subject text not null,
  event_type text not null,
  source text not null,
  body bytea not null,
  occurred_at timestamptz not null,
  traceparent text not null default '',
  constraint outbox_pk primary key (tenant_id, outbox_id)
);
create index if not exists outbox_in_order on __service__.outbox (outbox_id);

create table if not exists __service__.inbox (
  tenant_id uuid not null,
  consumer text not null,
  event_id uuid not null,
  handled_at timestamptz not null default now(),
  constraint inbox_pk primary key (tenant_id, consumer, event_id)
);

alter table __service__.outbox enable row level security;
alter table __service__.outbox force row level security;
alter table __service__.inbox enable row level security;
alter table __service__.inbox force row level security;

create policy outbox_of_tenant on __service__.outbox to __service___app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy inbox_of_tenant on __service__.inbox to __service___app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy outbox_of_relay on __service__.outbox to __service___relay using (true);

grant select, insert, delete on __service__.outbox to __service___app;
grant select, insert, delete on __service__.inbox to __service___app;
grant select, delete on __service__.outbox to __service___relay;
