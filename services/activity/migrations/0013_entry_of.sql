-- Why: ten statements read entries, and each spelled out what an entry is as one value.
--
-- The function entry_of is that spelling. PostgreSQL puts its body in place of the call when it plans a
--              statement, so a call costs nothing and the plans are the same.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function activity.entry_of(
  activity_id uuid, user_id uuid, action_type text, target_id text, metadata jsonb, ip_address inet,
  user_agent text)
returns activity.entry language sql stable parallel safe as $$
  select (activity_id::text, user_id::text, action_type, target_id, metadata::text,
    coalesce(host(ip_address), ''), user_agent)::activity.entry
$$;
