-- Why: an entry whose month was dropped is not one that somebody removed. How long the log is kept today does
-- not tell: it may have been less for a while.
--
-- The table    drops remembers, in its one row, the time before which months of the log were ever dropped. It
--              is about the whole log and has no tenant.
-- Guarantees   The owner alone writes it, before anything is dropped, and only forward.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.drops (
  is_only boolean not null default true,
  dropped_before timestamptz not null,
  constraint drops_pk primary key (is_only),
  constraint drops_one_row check (is_only)
);
grant select on activity.drops to activity_app;
