-- The roles and the schema of one service; a superuser runs this once per database.
-- `__service__` stands for activity, enrichment or metrics (`prospect migrate --print-roles`).
--
--   __service___owner   owns the schema, migrates
--   __service___app     serves: no superuser, no BYPASSRLS, no rights in another schema
--   __service___relay   sees the outbox across tenants, the inbox's old rows, and nothing else; the app
--                       steps into it by SET ROLE inside a transaction, and inherits none of it
do $$
declare
  name text;
begin
  foreach name in array array['__service___owner', '__service___app', '__service___relay'] loop
    begin
      execute format('create role %I nosuperuser nocreatedb nocreaterole nobypassrls', name);
    exception when duplicate_object or unique_violation then
      null; -- another replica, or another database of this cluster, was first
    end;
  end loop;
end $$;

alter role __service___owner login;
alter role __service___app login;
grant __service___relay to __service___app with inherit false, set true;

create schema if not exists __service__ authorization __service___owner;
grant usage on schema __service__ to __service___app, __service___relay;

-- PostgreSQL's own log must not quote what users type: no DETAIL and CONTEXT lines, which show rows and values,
-- and no parameters of statements. Where only the server's configuration may say so, docs/operating.md tells how.
do $$
declare
  name text;
begin
  foreach name in array array['__service___owner', '__service___app'] loop
    execute format('alter role %I set log_error_verbosity = terse', name);
    execute format('alter role %I set log_parameter_max_length = 0', name);
    execute format('alter role %I set log_parameter_max_length_on_error = 0', name);
  end loop;
exception when insufficient_privilege then
  raise notice 'log_error_verbosity and log_parameter_max_length must be set in the server''s configuration';
end $$;
