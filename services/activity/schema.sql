-- What the migrations add up to; written by `make schema`, kept true by a test.

CREATE SCHEMA activity;

ALTER SCHEMA activity OWNER TO activity_owner;

CREATE TYPE activity.entry AS (
	activity_id text,
	user_id text,
	action_type text,
	target_id text,
	metadata text,
	ip_address text,
	user_agent text
);

ALTER TYPE activity.entry OWNER TO activity_owner;

CREATE FUNCTION activity.as_tenant(tenant uuid, most bigint) RETURNS bigint
    LANGUAGE sql
    AS $$
  select case when set_config('app.current_tenant_id', tenant::text, true) <> '' then most end
$$;

ALTER FUNCTION activity.as_tenant(tenant uuid, most bigint) OWNER TO activity_owner;

CREATE FUNCTION activity.csv_cell(content text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select case when content ~ '^[-=+@''\uff0b\uff0d\uff1d\uff20]' or content ~ '[",;\t\r\n]'
    then '"' || case when content ~ '^[-=+@\t\r\n''\uff0b\uff0d\uff1d\uff20]' then '''' else '' end
      || replace(
        regexp_replace(content, '([;\t\r\n])(?=[-=+@\t\r\n''"\uff0b\uff0d\uff1d\uff20])', '\1''', 'g'),
        '"', '""') || '"'
    else content end
$$;

ALTER FUNCTION activity.csv_cell(content text) OWNER TO activity_owner;

CREATE FUNCTION activity.day_digests(day date) RETURNS TABLE(tenant_id uuid, activity_count bigint, digest numeric, unpublished_events bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'activity', 'pg_temp'
    AS $$
  select l.tenant_id, count(*), sum(hashtextextended(l.activity_id::text || l.action_type, 0)),
    (select count(*) from activity.outbox o where o.tenant_id = l.tenant_id)
  from activity.activity_log l
  where l.created_at >= day::timestamp at time zone 'UTC'
    and l.created_at < (day + 1)::timestamp at time zone 'UTC'
  group by l.tenant_id
  order by l.tenant_id
$$;

ALTER FUNCTION activity.day_digests(day date) OWNER TO activity_owner;

CREATE FUNCTION activity.ensure_partitions(first_month date, last_month date) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'activity', 'pg_temp'
    SET lock_timeout TO '3s'
    AS $$
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

ALTER FUNCTION activity.ensure_partitions(first_month date, last_month date) OWNER TO activity_owner;

CREATE FUNCTION activity.entry_of(activity_id uuid, user_id uuid, action_type text, target_id text, metadata jsonb, ip_address inet, user_agent text) RETURNS activity.entry
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
  select (activity_id::text, user_id::text, action_type, target_id, metadata::text,
    coalesce(host(ip_address), ''), user_agent)::activity.entry
$$;

ALTER FUNCTION activity.entry_of(activity_id uuid, user_id uuid, action_type text, target_id text, metadata jsonb, ip_address inet, user_agent text) OWNER TO activity_owner;

CREATE FUNCTION activity.from_micros(micros bigint) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select timestamptz 'epoch' + micros * interval '1 microsecond'
$$;

ALTER FUNCTION activity.from_micros(micros bigint) OWNER TO activity_owner;

CREATE FUNCTION activity.leaf_hash(salt uuid, tenant_id uuid, activity_id uuid, user_id uuid, created_at timestamp with time zone, recorded_at timestamp with time zone, action_type text, target_id text, metadata jsonb, ip_address inet, user_agent text) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$
  select sha256('\x00'::bytea || uuid_send(salt) || uuid_send(tenant_id) || uuid_send(activity_id)
    || uuid_send(user_id) || timestamptz_send(created_at) || timestamptz_send(recorded_at)
    || convert_to(action_type, 'UTF8') || '\x00'::bytea || convert_to(target_id, 'UTF8')
    || '\x00'::bytea || convert_to(metadata::text, 'UTF8') || '\x00'::bytea
    || convert_to(coalesce(host(ip_address), ''), 'UTF8') || '\x00'::bytea
    || convert_to(user_agent, 'UTF8') || '\x00'::bytea)
$$;

ALTER FUNCTION activity.leaf_hash(salt uuid, tenant_id uuid, activity_id uuid, user_id uuid, created_at timestamp with time zone, recorded_at timestamp with time zone, action_type text, target_id text, metadata jsonb, ip_address inet, user_agent text) OWNER TO activity_owner;

CREATE FUNCTION activity.partitions() RETURNS TABLE(month date, estimated_rows bigint, table_bytes bigint, index_bytes bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'activity', 'pg_temp'
    AS $$
  select to_date(right(c.relname, 7), 'YYYY_MM'), c.reltuples::bigint, pg_table_size(c.oid),
    pg_indexes_size(c.oid)
  from pg_inherits i join pg_class c on c.oid = i.inhrelid
  where i.inhparent = 'activity.activity_log'::regclass and not i.inhdetachpending
  order by 1
$$;

ALTER FUNCTION activity.partitions() OWNER TO activity_owner;

CREATE FUNCTION activity.tenants_past(day date, today date) RETURNS TABLE(tenant_id uuid)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'activity', 'pg_temp'
    AS $$
  select r.tenant_id from activity.retention r where day < today - r.retention_days
$$;

ALTER FUNCTION activity.tenants_past(day date, today date) OWNER TO activity_owner;

CREATE FUNCTION activity.to_iso(moment timestamp with time zone) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select to_char(moment at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

ALTER FUNCTION activity.to_iso(moment timestamp with time zone) OWNER TO activity_owner;

CREATE TABLE activity.action_types (
    name text NOT NULL,
    number integer NOT NULL
);

ALTER TABLE activity.action_types OWNER TO activity_owner;

CREATE TABLE activity.activity_log (
    tenant_id uuid NOT NULL,
    activity_id uuid NOT NULL,
    user_id uuid NOT NULL,
    action_type text NOT NULL,
    target_id text DEFAULT ''::text NOT NULL,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone DEFAULT now() NOT NULL,
    ip_address inet,
    user_agent text DEFAULT ''::text NOT NULL,
    batch_id uuid,
    salt uuid DEFAULT gen_random_uuid(),
    erased_by uuid,
    CONSTRAINT activity_log_action_type CHECK ((action_type = ANY (ARRAY['login'::text, 'search_executed'::text, 'profile_viewed'::text, 'profile_enriched'::text, 'add_to_list'::text, 'remove_from_list'::text, 'status_updated'::text, 'note_added'::text, 'csv_exported'::text, 'persona_created'::text, 'lookalike_search'::text]))),
    CONSTRAINT activity_log_metadata_is_object CHECK ((jsonb_typeof(metadata) = 'object'::text))
)
PARTITION BY RANGE (created_at);

ALTER TABLE ONLY activity.activity_log FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.activity_log OWNER TO activity_owner;

CREATE TABLE activity.batches (
    tenant_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    entry_count integer NOT NULL,
    earliest timestamp with time zone NOT NULL,
    latest timestamp with time zone NOT NULL,
    activity_ids uuid[] NOT NULL,
    created_ats timestamp with time zone[] NOT NULL,
    leaves bytea NOT NULL,
    first_leaf bigint,
    CONSTRAINT batches_columns CHECK (((octet_length(leaves) = (32 * entry_count)) AND (cardinality(activity_ids) = entry_count) AND (cardinality(created_ats) = entry_count) AND (entry_count > 0)))
);
ALTER TABLE ONLY activity.batches ALTER COLUMN activity_ids SET STORAGE EXTERNAL;
ALTER TABLE ONLY activity.batches ALTER COLUMN created_ats SET STORAGE EXTERNAL;
ALTER TABLE ONLY activity.batches ALTER COLUMN leaves SET STORAGE EXTERNAL;

ALTER TABLE ONLY activity.batches FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.batches OWNER TO activity_owner;

CREATE TABLE activity.drops (
    is_only boolean DEFAULT true NOT NULL,
    dropped_before timestamp with time zone NOT NULL,
    CONSTRAINT drops_one_row CHECK (is_only)
);

ALTER TABLE activity.drops OWNER TO activity_owner;

CREATE TABLE activity.erasures (
    tenant_id uuid NOT NULL,
    receipt_id uuid NOT NULL,
    user_id uuid NOT NULL,
    erased_count bigint NOT NULL,
    erased_at timestamp with time zone NOT NULL
);

ALTER TABLE ONLY activity.erasures FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.erasures OWNER TO activity_owner;

CREATE TABLE activity.expiries (
    tenant_id uuid NOT NULL,
    expired_before timestamp with time zone NOT NULL
);

ALTER TABLE ONLY activity.expiries FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.expiries OWNER TO activity_owner;

CREATE TABLE activity.inbox (
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY activity.inbox FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.inbox OWNER TO activity_owner;

CREATE TABLE activity.outbox (
    outbox_id bigint NOT NULL,
    event_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    subject text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    body bytea NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL,
    told_again integer DEFAULT 0 NOT NULL
);
ALTER TABLE ONLY activity.outbox ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY activity.outbox FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.outbox OWNER TO activity_owner;

ALTER TABLE activity.outbox ALTER COLUMN outbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME activity.outbox_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW activity.own_log WITH (security_invoker='false') AS
 SELECT tenant_id,
    created_at,
    activity_id,
    user_id,
    action_type,
    target_id,
    metadata,
    recorded_at,
    ip_address,
    user_agent
   FROM activity.activity_log
  WHERE (tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif"));

ALTER VIEW activity.own_log OWNER TO activity_owner;

CREATE TABLE activity.published (
    stream text NOT NULL,
    generation bigint NOT NULL,
    sequence bigint NOT NULL,
    tenant_id uuid NOT NULL,
    outbox_id bigint NOT NULL,
    event_id uuid NOT NULL,
    subject text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    body bytea NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL,
    told_again integer DEFAULT 0 NOT NULL,
    published_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY activity.published ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY activity.published FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.published OWNER TO activity_owner;

CREATE TABLE activity.relay_lease (
    only_row boolean DEFAULT true NOT NULL,
    holder uuid,
    expires_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT relay_lease_one_row CHECK (only_row)
);

ALTER TABLE activity.relay_lease OWNER TO activity_owner;

CREATE TABLE activity.requests (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    content_hash bytea NOT NULL,
    answer bytea NOT NULL,
    answered_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY activity.requests FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.requests OWNER TO activity_owner;

CREATE TABLE activity.retention (
    tenant_id uuid NOT NULL,
    retention_days integer NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT retention_days_range CHECK (((retention_days >= 1) AND (retention_days <= 3650)))
);

ALTER TABLE ONLY activity.retention FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.retention OWNER TO activity_owner;

CREATE TABLE activity.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE activity.schema_migrations OWNER TO activity_owner;

CREATE TABLE activity.stream_positions (
    stream text NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    first_sequence bigint DEFAULT 0 NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL,
    looked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

ALTER TABLE activity.stream_positions OWNER TO activity_owner;

CREATE TABLE activity.tiles (
    tenant_id uuid NOT NULL,
    level integer NOT NULL,
    tile bigint NOT NULL,
    hashes bytea NOT NULL,
    CONSTRAINT tiles_hashes CHECK (((level > 0) AND ((octet_length(hashes) >= 32) AND (octet_length(hashes) <= 8192)) AND ((octet_length(hashes) % 32) = 0)))
);
ALTER TABLE ONLY activity.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

ALTER TABLE ONLY activity.tiles FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.tiles OWNER TO activity_owner;

CREATE TABLE activity.token_key (
    only_row boolean DEFAULT true NOT NULL,
    key bytea NOT NULL,
    CONSTRAINT token_key_long CHECK ((octet_length(key) >= 32)),
    CONSTRAINT token_key_one_row CHECK (only_row)
);

ALTER TABLE activity.token_key OWNER TO activity_owner;

CREATE TABLE activity.trees (
    tenant_id uuid NOT NULL,
    size bigint NOT NULL,
    frontier bytea NOT NULL,
    note text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    sealed_at timestamp with time zone NOT NULL,
    CONSTRAINT trees_frontier CHECK (((size > 0) AND (octet_length(frontier) = (32 * bit_count((size)::bit(64))))))
);

ALTER TABLE ONLY activity.trees FORCE ROW LEVEL SECURITY;

ALTER TABLE activity.trees OWNER TO activity_owner;

ALTER TABLE ONLY activity.action_types
    ADD CONSTRAINT action_types_number UNIQUE (number);

ALTER TABLE ONLY activity.action_types
    ADD CONSTRAINT action_types_pk PRIMARY KEY (name);

ALTER TABLE activity.activity_log
    ADD CONSTRAINT activity_log_metadata_size CHECK ((octet_length((metadata)::text) <= 16384)) NOT VALID;

ALTER TABLE ONLY activity.activity_log
    ADD CONSTRAINT activity_log_pk PRIMARY KEY (tenant_id, created_at, activity_id);

ALTER TABLE ONLY activity.batches
    ADD CONSTRAINT batches_pk PRIMARY KEY (tenant_id, batch_id);

ALTER TABLE ONLY activity.drops
    ADD CONSTRAINT drops_pk PRIMARY KEY (is_only);

ALTER TABLE ONLY activity.erasures
    ADD CONSTRAINT erasures_pk PRIMARY KEY (tenant_id, receipt_id);

ALTER TABLE ONLY activity.expiries
    ADD CONSTRAINT expiries_pk PRIMARY KEY (tenant_id);

ALTER TABLE ONLY activity.inbox
    ADD CONSTRAINT inbox_pk PRIMARY KEY (tenant_id, consumer, event_id);

ALTER TABLE ONLY activity.outbox
    ADD CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, outbox_id);

ALTER TABLE ONLY activity.published
    ADD CONSTRAINT published_pk PRIMARY KEY (stream, generation, sequence, tenant_id);

ALTER TABLE ONLY activity.relay_lease
    ADD CONSTRAINT relay_lease_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY activity.requests
    ADD CONSTRAINT requests_pk PRIMARY KEY (tenant_id, request_id);

ALTER TABLE ONLY activity.retention
    ADD CONSTRAINT retention_pk PRIMARY KEY (tenant_id);

ALTER TABLE ONLY activity.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY activity.stream_positions
    ADD CONSTRAINT stream_positions_pk PRIMARY KEY (stream);

ALTER TABLE ONLY activity.tiles
    ADD CONSTRAINT tiles_pk PRIMARY KEY (tenant_id, level, tile);

ALTER TABLE ONLY activity.token_key
    ADD CONSTRAINT token_key_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY activity.trees
    ADD CONSTRAINT trees_pk PRIMARY KEY (tenant_id);

CREATE INDEX activity_log_created_at ON ONLY activity.activity_log USING brin (created_at);

CREATE INDEX activity_log_metadata ON ONLY activity.activity_log USING gin (metadata);

CREATE INDEX activity_log_tenant_action ON ONLY activity.activity_log USING btree (tenant_id, action_type, created_at DESC);

CREATE INDEX activity_log_user ON ONLY activity.activity_log USING btree (user_id, created_at DESC);

CREATE UNIQUE INDEX batches_in_tree ON activity.batches USING btree (tenant_id, first_leaf) WHERE (first_leaf IS NOT NULL);

CREATE INDEX batches_unsealed ON activity.batches USING btree (tenant_id, batch_id) WHERE (first_leaf IS NULL);

CREATE INDEX inbox_handled_at ON activity.inbox USING brin (handled_at);

CREATE INDEX outbox_in_order ON activity.outbox USING btree (outbox_id);

CREATE INDEX requests_by_age ON activity.requests USING btree (answered_at);

ALTER TABLE activity.activity_log ENABLE ROW LEVEL SECURITY;

CREATE POLICY activity_log_of_auditor ON activity.activity_log FOR SELECT TO activity_owner USING (true);

CREATE POLICY activity_log_of_tenant ON activity.activity_log TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.batches ENABLE ROW LEVEL SECURITY;

CREATE POLICY batches_of_sealer ON activity.batches FOR SELECT TO activity_sealer USING ((first_leaf IS NULL));

CREATE POLICY batches_of_tenant ON activity.batches TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.erasures ENABLE ROW LEVEL SECURITY;

CREATE POLICY erasures_of_keeper ON activity.erasures FOR SELECT TO activity_keeper USING ((user_id <> '00000000-0000-0000-0000-000000000000'::uuid));

CREATE POLICY erasures_of_tenant ON activity.erasures TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.expiries ENABLE ROW LEVEL SECURITY;

CREATE POLICY expiries_of_tenant ON activity.expiries TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.inbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY inbox_of_relay ON activity.inbox TO activity_relay USING ((handled_at < (now() - '40 days'::interval)));

CREATE POLICY inbox_of_tenant ON activity.inbox TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.outbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY outbox_of_auditor ON activity.outbox FOR SELECT TO activity_owner USING (true);

CREATE POLICY outbox_of_relay ON activity.outbox TO activity_relay USING (true);

CREATE POLICY outbox_of_tenant ON activity.outbox TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.published ENABLE ROW LEVEL SECURITY;

CREATE POLICY published_of_relay ON activity.published TO activity_relay USING (true);

CREATE POLICY published_of_tenant ON activity.published TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.requests ENABLE ROW LEVEL SECURITY;

CREATE POLICY requests_of_keeper ON activity.requests TO activity_keeper USING (true);

CREATE POLICY requests_of_tenant ON activity.requests TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.retention ENABLE ROW LEVEL SECURITY;

CREATE POLICY retention_of_auditor ON activity.retention FOR SELECT TO activity_owner USING (true);

CREATE POLICY retention_of_keeper ON activity.retention FOR SELECT TO activity_keeper USING (true);

CREATE POLICY retention_of_tenant ON activity.retention TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.tiles ENABLE ROW LEVEL SECURITY;

CREATE POLICY tiles_of_tenant ON activity.tiles TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE activity.trees ENABLE ROW LEVEL SECURITY;

CREATE POLICY trees_of_tenant ON activity.trees TO activity_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA activity TO activity_app;
GRANT USAGE ON SCHEMA activity TO activity_relay;
GRANT USAGE ON SCHEMA activity TO activity_keeper;
GRANT USAGE ON SCHEMA activity TO activity_sealer;

REVOKE ALL ON FUNCTION activity.day_digests(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION activity.day_digests(day date) TO activity_app;

REVOKE ALL ON FUNCTION activity.ensure_partitions(first_month date, last_month date) FROM PUBLIC;
GRANT ALL ON FUNCTION activity.ensure_partitions(first_month date, last_month date) TO activity_app;

REVOKE ALL ON FUNCTION activity.partitions() FROM PUBLIC;
GRANT ALL ON FUNCTION activity.partitions() TO activity_app;

REVOKE ALL ON FUNCTION activity.tenants_past(day date, today date) FROM PUBLIC;
GRANT ALL ON FUNCTION activity.tenants_past(day date, today date) TO activity_app;

GRANT SELECT ON TABLE activity.action_types TO activity_app;

GRANT SELECT,INSERT,DELETE ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(user_id) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(target_id) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(metadata) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(ip_address) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(user_agent) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(salt) ON TABLE activity.activity_log TO activity_app;

GRANT UPDATE(erased_by) ON TABLE activity.activity_log TO activity_app;

GRANT SELECT,INSERT ON TABLE activity.batches TO activity_app;

GRANT SELECT(tenant_id) ON TABLE activity.batches TO activity_sealer;

GRANT SELECT(batch_id) ON TABLE activity.batches TO activity_sealer;

GRANT UPDATE(first_leaf) ON TABLE activity.batches TO activity_app;
GRANT SELECT(first_leaf) ON TABLE activity.batches TO activity_sealer;

GRANT SELECT ON TABLE activity.drops TO activity_app;

GRANT SELECT,INSERT ON TABLE activity.erasures TO activity_app;

GRANT SELECT(tenant_id) ON TABLE activity.erasures TO activity_keeper;

GRANT SELECT(receipt_id) ON TABLE activity.erasures TO activity_keeper;

GRANT UPDATE(user_id) ON TABLE activity.erasures TO activity_app;

GRANT UPDATE(erased_count) ON TABLE activity.erasures TO activity_app;

GRANT SELECT,INSERT,UPDATE ON TABLE activity.expiries TO activity_app;

GRANT SELECT,INSERT,DELETE ON TABLE activity.inbox TO activity_app;
GRANT SELECT,DELETE ON TABLE activity.inbox TO activity_relay;

GRANT SELECT,INSERT,DELETE ON TABLE activity.outbox TO activity_app;
GRANT SELECT,INSERT,DELETE ON TABLE activity.outbox TO activity_relay;

GRANT SELECT ON TABLE activity.own_log TO activity_app;

GRANT SELECT ON TABLE activity.published TO activity_app;
GRANT SELECT,INSERT,DELETE ON TABLE activity.published TO activity_relay;

GRANT SELECT,UPDATE ON TABLE activity.relay_lease TO activity_relay;
GRANT SELECT,UPDATE ON TABLE activity.relay_lease TO activity_app;

GRANT SELECT,INSERT,DELETE ON TABLE activity.requests TO activity_app;
GRANT DELETE ON TABLE activity.requests TO activity_keeper;

GRANT SELECT(answered_at) ON TABLE activity.requests TO activity_keeper;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE activity.retention TO activity_app;
GRANT SELECT ON TABLE activity.retention TO activity_keeper;

GRANT SELECT ON TABLE activity.schema_migrations TO activity_app;

GRANT SELECT,INSERT,UPDATE ON TABLE activity.stream_positions TO activity_relay;

GRANT SELECT,INSERT,UPDATE ON TABLE activity.tiles TO activity_app;

GRANT SELECT ON TABLE activity.token_key TO activity_app;

GRANT SELECT,INSERT,UPDATE ON TABLE activity.trees TO activity_app;
