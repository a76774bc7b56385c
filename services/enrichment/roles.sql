-- Across tenants, ids and times, no content:
--
--   enrichment_claimer  leases the runs that wait for a worker, and renews the leases
--   enrichment_keeper   finds the runs and the requests that are old enough to be forgotten
--
-- The app steps into them by SET ROLE inside a transaction, and inherits none of it.
do $$
declare
  name text;
begin
  foreach name in array array['enrichment_claimer', 'enrichment_keeper'] loop
    begin
      execute format('create role %I nosuperuser nocreatedb nocreaterole nobypassrls', name);
    exception when duplicate_object or unique_violation then
      null; -- another replica, or another database of this cluster, was first
    end;
  end loop;
end $$;

grant enrichment_claimer, enrichment_keeper to enrichment_app with inherit false, set true;
grant usage on schema enrichment to enrichment_claimer, enrichment_keeper;
