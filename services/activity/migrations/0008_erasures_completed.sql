-- Why: an erasure that was begun is completed whatever becomes of its caller, and does not lead back to whom
-- it erased: an entry names its receipt, so a receipt that named the user for ever would undo the erasure.
--
-- The table    erasures.user_id stands while the erasure is under way, so that it can be gone on with; once
--              all is erased it is the anonymous user, as in the entries.
-- The flow     EraseUser erases, and completes. What it could not complete activity_keeper sees, by tenant
--              and receipt, and the service goes on with as that tenant.
-- Before this  A receipt kept its user. Completed ones forget theirs now: those of whose user no entry is
--              left that was recorded before the erasure began. The others are gone on with.

set lock_timeout = '5s';
set statement_timeout = '60s';

create policy erasures_of_keeper on activity.erasures for select to activity_keeper
  using (user_id <> '00000000-0000-0000-0000-000000000000');
grant select (tenant_id, receipt_id) on activity.erasures to activity_keeper;
grant update (user_id) on activity.erasures to activity_app;

-- The owner, too, is held to row level security; until the end of this transaction it is not.
alter table activity.erasures no force row level security;
update activity.erasures e set user_id = '00000000-0000-0000-0000-000000000000'
where not exists (
  select from activity.activity_log l
  where l.tenant_id = e.tenant_id and l.user_id = e.user_id and l.recorded_at < e.erased_at);
alter table activity.erasures force row level security;
