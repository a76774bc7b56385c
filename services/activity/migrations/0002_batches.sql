-- Why: every recorded batch is remembered with the hashes of its entries, so that the log can be proven
-- untouched; and a batch may carry a request id that makes sending it again harmless.
--
-- The tables   batches holds one row a recording transaction: which entries it added, when they happened,
--              and one leaf hash an entry. An entry names its batch. requests holds the answer to each
--              request id, for as long as it is idempotent.
-- The hash     leaf_hash covers every column of an entry and its salt, 16 random bytes of its own. Without
--              the salt the hash tells nothing: erasing an entry drops its salt and keeps its leaf.
-- Guarantees   An entry and its leaf commit together. The app can add batches, and set first_leaf (the
--              batch's place in the tenant's tree) and nothing else of them.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table activity.activity_log add column if not exists batch_id uuid;
alter table activity.activity_log add column if not exists salt uuid;
alter table activity.activity_log alter column salt set default gen_random_uuid();
-- The receipt of the erasure that made the entry anonymous; null for an entry as it was recorded.
alter table activity.activity_log add column if not exists erased_by uuid;

create table if not exists activity.batches (
  tenant_id uuid not null,
  batch_id uuid not null,
  entry_count int not null,
  earliest timestamptz not null,
  latest timestamptz not null,
  activity_ids uuid[] not null,
  created_ats timestamptz[] not null,
  leaves bytea not null,
  first_leaf bigint,
  constraint batches_pk primary key (tenant_id, batch_id),
  constraint batches_columns check (
    octet_length(leaves) = 32 * entry_count and cardinality(activity_ids) = entry_count
    and cardinality(created_ats) = entry_count and entry_count > 0)
);
-- Ids and hashes do not compress: do not try.
alter table activity.batches alter column activity_ids set storage external;
alter table activity.batches alter column created_ats set storage external;
alter table activity.batches alter column leaves set storage external;
alter table activity.outbox alter column body set storage external;
create unique index if not exists batches_in_tree on activity.batches (tenant_id, first_leaf)
  where first_leaf is not null;
create index if not exists batches_unsealed on activity.batches (tenant_id, batch_id)
  where first_leaf is null;

create table if not exists activity.requests (
  tenant_id uuid not null,
  request_id uuid not null,
  content_hash bytea not null,
  answer bytea not null,
  answered_at timestamptz not null default now(),
  constraint requests_pk primary key (tenant_id, request_id)
);
create index if not exists requests_by_age on activity.requests (answered_at);

alter table activity.batches enable row level security;
alter table activity.batches force row level security;
alter table activity.requests enable row level security;
alter table activity.requests force row level security;
create policy batches_of_tenant on activity.batches to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
create policy requests_of_tenant on activity.requests to activity_app
  using (tenant_id = (select nullif(current_setting('app.current_tenant_id', true), '')::uuid));
grant select, insert on activity.batches to activity_app;
grant update (first_leaf) on activity.batches to activity_app;
grant select, insert, delete on activity.requests to activity_app;

-- The leaf of an entry in its tenant's Merkle tree: SHA-256 of a zero byte (RFC 6962: this is a leaf) and the
-- entry in a fixed form. Times are PostgreSQL's binary form: microseconds since 2000-01-01, 8 bytes, big
-- endian. Texts end with a zero byte, which no text of PostgreSQL can contain.
create or replace function activity.leaf_hash(
  salt uuid, tenant_id uuid, activity_id uuid, user_id uuid, created_at timestamptz,
  recorded_at timestamptz, action_type text, target_id text, metadata jsonb, ip_address inet,
  user_agent text)
returns bytea language sql stable parallel safe as $$
  select sha256('\x00'::bytea || uuid_send(salt) || uuid_send(tenant_id) || uuid_send(activity_id)
    || uuid_send(user_id) || timestamptz_send(created_at) || timestamptz_send(recorded_at)
    || convert_to(action_type, 'UTF8') || '\x00'::bytea || convert_to(target_id, 'UTF8')
    || '\x00'::bytea || convert_to(metadata::text, 'UTF8') || '\x00'::bytea
    || convert_to(coalesce(host(ip_address), ''), 'UTF8') || '\x00'::bytea
    || convert_to(user_agent, 'UTF8') || '\x00'::bytea)
$$;

-- Microseconds since 1970-01-01 UTC as a time.
create or replace function activity.from_micros(micros bigint)
returns timestamptz language sql immutable parallel safe as $$
  select timestamptz 'epoch' + micros * interval '1 microsecond'
$$;
