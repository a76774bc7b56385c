-- enrichment_claimer finds runs that wait for a worker, across tenants: ids and times, no content.
-- The app steps into it by SET ROLE inside a transaction, and inherits none of it.
do $$
begin
  create role enrichment_claimer nosuperuser nocreatedb nocreaterole nobypassrls;
exception when duplicate_object or unique_violation then
  null; -- another replica, or another database of this cluster, was first
end $$;

grant enrichment_claimer to enrichment_app with inherit false, set true;
grant usage on schema enrichment to enrichment_claimer;
