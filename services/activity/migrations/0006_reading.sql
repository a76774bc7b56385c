-- Why: reading by metadata is fast where few entries match, and an export is rendered where the rows are.
--
-- The view     own_log is the log of the transaction's tenant. Row level security lets an index serve only
--              operators that cannot leak, and jsonb's @> does not count as such: read from the table it
--              would be checked row after row. The view reads as the owner, and has the policy's condition
--              in its own text; so the GIN index serves, and no setting still means no rows.
-- Guarantees   The view gives no row of another tenant whatever the statement says. It cannot be written to.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace view activity.own_log with (security_invoker = false) as
select tenant_id, created_at, activity_id, user_id, action_type, target_id, metadata, recorded_at,
  ip_address, user_agent
from activity.activity_log
where tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid);

grant select on activity.own_log to activity_app;

-- A cell of CSV (RFC 4180). What a spreadsheet would run as a formula begins with '; so does what began with
-- ' itself, so that a reader can take one away from each.
create or replace function activity.csv_cell(content text)
returns text language sql immutable parallel safe as $$
  select case when content ~ '^[-=+@\t\r\n'']' or content ~ '[",\r\n]'
    then '"' || case when content ~ '^[-=+@\t\r\n'']' then '''' else '' end
      || replace(content, '"', '""') || '"'
    else content end
$$;
