-- Why: one relay at a time publishes a service's events, so that they keep their order. It held a lock
-- in the transaction in which it published: a replica that fell silent there kept all others from
-- publishing for as long as its connection seemed alive. A lease runs out by itself.
--
-- Guarantees   One row. A relay that was silent for longer than its lease may publish what another has
--              published meanwhile: the broker knows the events by their ids.
-- The flow     A relay takes the lease, publishes outside any transaction, deletes what it published
--              and gives the lease back in one statement.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists __service__.relay_lease (
  only_row boolean not null default true,
  holder uuid,
  expires_at timestamptz not null default '-infinity',
  constraint relay_lease_pk primary key (only_row),
  constraint relay_lease_one_row check (only_row)
);
insert into __service__.relay_lease default values on conflict do nothing;

grant select, update on __service__.relay_lease to __service___relay;
-- What changes pending events waits for those that a relay has in hand (chassis.outbox.hold).
grant select, update on __service__.relay_lease to __service___app;
