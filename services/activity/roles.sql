-- The narrow roles of the activity service, which work across tenants and see no content. The app steps
-- into them by SET ROLE inside a transaction, and inherits none of them.
--
--   activity_keeper  sees how long each tenant keeps its log, which answered requests are old enough
--                    to forget, and which erasures are not completed (not whose)
--   activity_sealer  sees which tenants have batches that are not in their tree yet
do $$
declare
  name text;
begin
  foreach name in array array['activity_keeper', 'activity_sealer'] loop
    begin
      execute format('create role %I nosuperuser nocreatedb nocreaterole nobypassrls', name);
    exception when duplicate_object or unique_violation then
      null; -- another replica, or another database of this cluster, was first
    end;
  end loop;
end $$;

grant activity_keeper, activity_sealer to activity_app with inherit false, set true;
grant usage on schema activity to activity_keeper, activity_sealer;
