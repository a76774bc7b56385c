-- Why: an event can come again for as long as its stream and the dead letters keep it, which is 30 days at
-- most; ids older than that only make the inbox grow, by a row an event.
--
-- Guarantees   The relay's role sees and deletes rows of the inbox once they are 40 days old, and no others.

-- squawk-ignore-file require-concurrent-index-creation
-- (a BRIN index is built in one pass over what is a small table so far; a migration is one transaction)

set lock_timeout = '5s';
set statement_timeout = '60s';

-- Rows come in the order of time, so this is a few pages for any number of them.
create index if not exists inbox_handled_at on __service__.inbox using brin (handled_at);

create policy inbox_of_relay on __service__.inbox to __service___relay
  using (handled_at < now() - interval '40 days');
grant select, delete on __service__.inbox to __service___relay;
