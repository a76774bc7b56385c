-- Why: a call that is out when its run has ended, and paid for, is not repeated by the next run of the
-- prospect; where the prospect has other words by then, what the call brings is nobody's.
--
-- runs.follows    calls of earlier runs were out when it was made: it waits for them and takes over what
--                 they bring.
-- runs.outdated   its prospect has other words since: what it still brings is not kept.
-- requests.digest a keyed hash of what was asked, so that the same id with another question is refused;
--                 null for what was asked before this was kept.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table enrichment.runs add column if not exists follows boolean not null default false;
alter table enrichment.runs add column if not exists outdated boolean not null default false;
alter table enrichment.requests add column if not exists digest bytea;
