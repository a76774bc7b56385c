-- Why: four statements read a run in one shape and three narrow runs by one filter; each spelled both out.
--
-- The view      run_rows is a run as callers see it, with its cost and its steps. It changes by a new view
--               beside it: replicas of the version before have prepared statements with all its columns.
-- The function  filter_runs narrows a tenant's runs; what is null does not narrow. It is one plain select, so
--               that the planner takes it into the statement and chooses an index for the values.
-- Guarantees    Both read as who calls them: row level security holds as for the tables.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace view enrichment.run_rows with (security_invoker = true) as
select r.tenant_id, r.run_id, r.prospect_id, r.user_id, r.batch_id, r.status, r.missing, r.priority,
  r.version, r.budget_micros, r.created_at, r.deadline_at, r.ended_at, r.amended_at, r.open,
  r.traceparent,
  (select coalesce(sum(s.cost_micros), 0)::bigint from enrichment.steps s
   where s.tenant_id = r.tenant_id and s.run_id = r.run_id) as cost_micros,
  array(select s from enrichment.steps s
   where s.tenant_id = r.tenant_id and s.run_id = r.run_id) as steps
from enrichment.runs r;

create or replace function enrichment.filter_runs(
  tenant uuid, prospect uuid, statuses text[], missing_source text, error text,
  created_from timestamptz, created_until timestamptz)
returns setof enrichment.run_rows language sql stable as $$
  select r.* from enrichment.run_rows r
  where r.tenant_id = tenant
    and (prospect is null or r.prospect_id = prospect)
    and (statuses is null or r.status = any(statuses))
    and (missing_source is null or missing_source = any(r.missing))
    and (error is null or exists (
      select from enrichment.steps s
      where s.tenant_id = r.tenant_id and s.run_id = r.run_id and s.error_class = error))
    and (created_from is null or r.created_at >= created_from)
    and (created_until is null or r.created_at < created_until)
$$;

grant select on enrichment.run_rows to enrichment_app;
revoke all on function enrichment.filter_runs(
  uuid, uuid, text[], text, text, timestamptz, timestamptz) from public;
grant execute on function enrichment.filter_runs(
  uuid, uuid, text[], text, text, timestamptz, timestamptz) to enrichment_app;
