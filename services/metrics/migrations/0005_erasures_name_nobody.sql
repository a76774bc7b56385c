-- Why: whoever was erased is known again when more is counted of them, and is named by nothing: not by the
-- table of erasures either, which kept the user's id for good.
--
-- The table    erasures.user_hash is what user_hash() makes of the tenant and the user. It is no secret: who
--              knows a user's id can look it up; who does not learns none from it.
-- The flow     The release before writes and reads user_id. What it writes becomes a hash at once, by the
--              trigger, so no id is stored from now on. It finds none when it reads: while its replicas run
--              it may count what an erased user still does under the user's id. The nightly comparison does
--              not see that; `prospect usage verify --thorough` does, and a rebuild mends it.
-- Next         The release after this one drops user_id, the trigger and its function.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function metrics.user_hash(tenant_id uuid, user_id uuid)
returns bytea language sql immutable parallel safe as $$
  select sha256(uuid_send(tenant_id) || uuid_send(user_id))
$$;

revoke all on function metrics.user_hash(uuid, uuid) from public;
grant execute on function metrics.user_hash(uuid, uuid) to metrics_app;

-- One row for each erased user, so that this is done in a moment.
alter table metrics.erasures add column if not exists user_hash bytea;
-- squawk-ignore ban-drop-constraint
alter table metrics.erasures drop constraint if exists erasures_pk;
-- squawk-ignore ban-drop-not-null
alter table metrics.erasures alter column user_id drop not null;
-- The owner, too, is held to row level security; until the end of this transaction it is not.
alter table metrics.erasures no force row level security;
update metrics.erasures set user_hash = metrics.user_hash(tenant_id, user_id), user_id = null
where user_id is not null;
alter table metrics.erasures force row level security;
-- squawk-ignore adding-not-nullable-field
alter table metrics.erasures alter column user_hash set not null;
-- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field
alter table metrics.erasures add constraint erasures_pk primary key (tenant_id, user_hash);

create or replace function metrics.hash_user()
returns trigger language plpgsql set search_path = metrics, pg_temp as $$
begin
  new.user_hash := metrics.user_hash(new.tenant_id, new.user_id);
  new.user_id := null;
  return new;
end
$$;

revoke all on function metrics.hash_user() from public;
drop trigger if exists hash_user on metrics.erasures;
create trigger hash_user before insert on metrics.erasures
  for each row when (new.user_id is not null) execute function metrics.hash_user();
