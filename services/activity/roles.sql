-- activity_keeper sees how long each tenant keeps its log, and which answered requests are old enough to
-- forget; no content. The app steps into it by SET ROLE inside a transaction, and inherits none of it.
do $$
begin
  create role activity_keeper nosuperuser nocreatedb nocreaterole nobypassrls;
exception when duplicate_object or unique_violation then
  null; -- another replica, or another database of this cluster, was first
end $$;

grant activity_keeper to activity_app with inherit false, set true;
grant usage on schema activity to activity_keeper;
