-- Why: who is erased stays nowhere, findings say how many there were, and limits may be as large as they go.
--
-- The tables   reconciliations keeps how many findings there were beside the first of them, and lets the
--              users in them be replaced: an erased one is UUID 0 there as well.
--              quotas adds its limits up no more, which overflowed.
-- The flow     drop_old_shadows is run at the start of each replica and by the daily event: a rebuild that
--              was killed leaves users behind in its shadow.
-- Across tenants  drop_old_shadows, a function of the owner, deletes and gives nothing.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table metrics.reconciliations add column if not exists finding_count bigint not null default 0;
grant update (findings) on metrics.reconciliations to metrics_app;

-- squawk-ignore ban-drop-constraint
alter table metrics.quotas drop constraint if exists quotas_some_limit;
alter table metrics.quotas add constraint quotas_some_limit check (soft_limit >= 0 and hard_limit >= 0
  and greatest(soft_limit, hard_limit) > 0) not valid;

-- For drop_old_shadows, which runs as the owner: the shadows that no rebuild can be writing to any more.
create policy usage_shadow_of_cleaner on metrics.usage_shadow to metrics_owner
  using (uuid_extract_timestamp(rebuild_id) < now() - interval '1 day');

create or replace function metrics.drop_old_shadows()
returns void language sql security definer set search_path = metrics, pg_temp as $$
  delete from metrics.usage_shadow
  where uuid_extract_timestamp(rebuild_id) < now() - interval '1 day'
$$;

revoke all on function metrics.drop_old_shadows() from public;
grant execute on function metrics.drop_old_shadows() to metrics_app;
