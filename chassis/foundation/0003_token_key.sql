-- Why: page and resume tokens are signed, and all replicas of a service must agree on the key. Where no
-- setting names one, it is this row's, which the first migration makes at random.
--
-- Guarantees   One row at most; the service's own role reads it, no other role of ours does.
--              A new key: delete the row and insert another, then restart the replicas.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists __service__.token_key (
  only_row boolean not null default true,
  key bytea not null,
  constraint token_key_pk primary key (only_row),
  constraint token_key_one_row check (only_row),
  constraint token_key_long check (octet_length(key) >= 32)
);
grant select on __service__.token_key to __service___app;

-- 244 bits of Postgres' strong random numbers.
insert into __service__.token_key (key)
values (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
on conflict do nothing;
