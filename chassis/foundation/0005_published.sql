-- Why: an event left the outbox once the broker had it. Where the broker's store was wiped, or put back to an
-- older state, before our consumers had handled the event, it was lost. It is kept here until then.
--
-- Guarantees   An event is in the outbox, in `published`, or handled by each of our consumers of its subject.
-- The flow     The relay moves a row here with its sequence in the stream. Once the consumers have acknowledged
--              beyond it, the row is deleted. Where the stream lost it, the row goes back to the outbox.
--              A stream that lost events begins a new generation: rows of older ones are the lost ones.
-- Beside the release before: its relay deletes what it has published, as it did.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists __service__.published (
  stream text not null,
  generation bigint not null,
  sequence bigint not null,
  tenant_id uuid not null,
  outbox_id bigint not null,
  event_id uuid not null,
  subject text not null,
  event_type text not null,
  source text not null,
  body bytea not null,
  occurred_at timestamptz not null,
  traceparent text not null default '',
  told_again integer not null default 0,
  published_at timestamptz not null default now(),
  constraint published_pk primary key (stream, generation, sequence, tenant_id)
);
-- A row stays for seconds: to compress its body would cost more than it saves.
alter table __service__.published alter column body set storage external;

-- How many times the event was published before, and lost.
alter table __service__.outbox add column if not exists told_again integer not null default 0;

-- Of each stream: where the events stand that were published last, and when a replica last looked whether
-- they have been handled.
create table if not exists __service__.stream_positions (
  stream text not null,
  generation bigint not null default 0,
  first_sequence bigint not null default 0,
  last_sequence bigint not null default 0,
  looked_at timestamptz not null default '-infinity',
  constraint stream_positions_pk primary key (stream)
);

alter table __service__.published enable row level security;
alter table __service__.published force row level security;
create policy published_of_tenant on __service__.published to __service___app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy published_of_relay on __service__.published to __service___relay using (true);

grant select on __service__.published to __service___app;
grant select, insert, delete on __service__.published to __service___relay;
grant insert on __service__.outbox to __service___relay;
grant select, insert, update on __service__.stream_positions to __service___relay;
