-- Why: a month is made while the log is read. CREATE TABLE … PARTITION OF takes ACCESS EXCLUSIVE on the log:
-- it waits for every reader, an export among them, and every call of every tenant queues behind it. ATTACH
-- PARTITION takes SHARE UPDATE EXCLUSIVE, which waits for no reader and no writer.
--
-- The months   are as they were: the log's defaults, checks, indexes and storage; row level security on and
--              forced, no policy and no grant, so that the log's own policy is the only way in.
-- Guarantees   What cannot be attached soon fails, and is tried again by who needs the month: nothing queues
--              for long behind what waits here.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function activity.ensure_partitions(first_month date, last_month date)
returns int language plpgsql security definer set search_path = activity, pg_temp
set lock_timeout = '3s' as $$
declare
  month date := date_trunc('month', first_month)::date;
  made int := 0;
  partition text;
begin
  if last_month > first_month + interval '10 years' then
    raise exception 'more than ten years of partitions at once';
  end if;
  perform pg_advisory_xact_lock(hashtext('activity.ensure_partitions'));
  while month <= last_month loop
    partition := 'activity_log_' || to_char(month, 'YYYY_MM');
    if to_regclass('activity.' || partition) is null then
      execute format(
        'create table activity.%I (like activity.activity_log including defaults including constraints'
        ' including storage including compression)', partition);
      execute format('alter table activity.%I enable row level security', partition);
      execute format('alter table activity.%I force row level security', partition);
      execute format(
        'alter table activity.activity_log attach partition activity.%I for values from (%L) to (%L)',
        partition, month || ' 00:00:00+00', (month + interval '1 month')::date || ' 00:00:00+00');
      made := made + 1;
    end if;
    month := (month + interval '1 month')::date;
  end loop;
  return made;
end $$;
