-- Why: a page or an entry is read by one statement. With a transaction around it, which sets the tenant first, it
-- takes three round trips, a tenth of the time of a page of 1,000. And its rows are written as a response's bytes
-- while they come, which takes another fourteenth of that time away: asyncpg calls a decoder for a value, not for a row.
--
-- The function as_tenant sets the tenant until the transaction ends, which for a statement by itself is the end of
--              the statement, and returns `most`. It is the limit of the statements that read so: Postgres works
--              out a limit before it reads a row, and row level security asks for the tenant at the first row.
-- Guarantees   A limit worked out too late would find no tenant, and no row: it can hide rows, not show others'.
-- The type     entry is what of an entry is text, as one value.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function activity.as_tenant(tenant uuid, most bigint)
returns bigint language sql volatile as $$
  select case when set_config('app.current_tenant_id', tenant::text, true) <> '' then most end
$$;

create type activity.entry as (
  activity_id text,
  user_id text,
  action_type text,
  target_id text,
  metadata text,
  ip_address text,
  user_agent text
);
