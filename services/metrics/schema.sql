-- What the migrations add up to; written by `make schema`, kept true by a test.

CREATE SCHEMA metrics;

ALTER SCHEMA metrics OWNER TO metrics_owner;

CREATE FUNCTION metrics.day_digests(day date) RETURNS TABLE(tenant_id uuid, activity_count bigint, digest numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
  select u.tenant_id, sum(u.total_activities)::bigint, sum(u.digest)
  from metrics.usage_metrics_daily u
  where u.date = day
  group by u.tenant_id
  order by u.tenant_id
$$;

ALTER FUNCTION metrics.day_digests(day date) OWNER TO metrics_owner;

CREATE TABLE metrics.inbox (
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY metrics.inbox FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.inbox OWNER TO metrics_owner;

CREATE TABLE metrics.outbox (
    outbox_id bigint NOT NULL,
    event_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    subject text NOT NULL,
    event_type text NOT NULL,
    source text NOT NULL,
    body bytea NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL
);

ALTER TABLE ONLY metrics.outbox FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.outbox OWNER TO metrics_owner;

ALTER TABLE metrics.outbox ALTER COLUMN outbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME metrics.outbox_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE metrics.reconciliations (
    tenant_id uuid NOT NULL,
    reconciliation_id uuid DEFAULT uuidv7() NOT NULL,
    date date NOT NULL,
    outcome text NOT NULL,
    log_count bigint NOT NULL,
    rollup_count bigint NOT NULL,
    log_digest numeric NOT NULL,
    rollup_digest numeric NOT NULL,
    reconciled_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT reconciliations_outcome CHECK ((outcome = ANY (ARRAY['equal'::text, 'repaired'::text, 'moving'::text])))
);

ALTER TABLE ONLY metrics.reconciliations FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.reconciliations OWNER TO metrics_owner;

CREATE TABLE metrics.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE metrics.schema_migrations OWNER TO metrics_owner;

CREATE TABLE metrics.usage_metrics_daily (
    date date NOT NULL,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    total_logins bigint DEFAULT 0 NOT NULL,
    searches_executed bigint DEFAULT 0 NOT NULL,
    profiles_viewed bigint DEFAULT 0 NOT NULL,
    profiles_enriched bigint DEFAULT 0 NOT NULL,
    csv_exports bigint DEFAULT 0 NOT NULL,
    lists_created bigint DEFAULT 0 NOT NULL,
    list_additions bigint DEFAULT 0 NOT NULL,
    list_removals bigint DEFAULT 0 NOT NULL,
    statuses_updated bigint DEFAULT 0 NOT NULL,
    notes_added bigint DEFAULT 0 NOT NULL,
    personas_created bigint DEFAULT 0 NOT NULL,
    lookalike_searches bigint DEFAULT 0 NOT NULL,
    total_activities bigint DEFAULT 0 NOT NULL,
    digest numeric DEFAULT 0 NOT NULL,
    CONSTRAINT usage_metrics_daily_adds_up CHECK ((total_activities = ((((((((((total_logins + searches_executed) + profiles_viewed) + profiles_enriched) + csv_exports) + list_additions) + list_removals) + statuses_updated) + notes_added) + personas_created) + lookalike_searches))),
    CONSTRAINT usage_metrics_daily_new_lists CHECK (((lists_created >= 0) AND (lists_created <= list_additions)))
);

ALTER TABLE ONLY metrics.usage_metrics_daily FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.usage_metrics_daily OWNER TO metrics_owner;

ALTER TABLE ONLY metrics.inbox
    ADD CONSTRAINT inbox_pk PRIMARY KEY (tenant_id, consumer, event_id);

ALTER TABLE ONLY metrics.outbox
    ADD CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, outbox_id);

ALTER TABLE ONLY metrics.reconciliations
    ADD CONSTRAINT reconciliations_pk PRIMARY KEY (tenant_id, reconciliation_id);

ALTER TABLE ONLY metrics.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY metrics.usage_metrics_daily
    ADD CONSTRAINT usage_metrics_daily_pk PRIMARY KEY (tenant_id, date, user_id);

ALTER TABLE ONLY metrics.usage_metrics_daily
    ADD CONSTRAINT usage_metrics_daily_unique UNIQUE (date, tenant_id, user_id);

CREATE INDEX outbox_in_order ON metrics.outbox USING btree (outbox_id);

ALTER TABLE metrics.inbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY inbox_of_tenant ON metrics.inbox TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.outbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY outbox_of_relay ON metrics.outbox TO metrics_relay USING (true);

CREATE POLICY outbox_of_tenant ON metrics.outbox TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.reconciliations ENABLE ROW LEVEL SECURITY;

CREATE POLICY reconciliations_of_tenant ON metrics.reconciliations TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.usage_metrics_daily ENABLE ROW LEVEL SECURITY;

CREATE POLICY usage_metrics_daily_of_auditor ON metrics.usage_metrics_daily FOR SELECT TO metrics_owner USING (true);

CREATE POLICY usage_metrics_daily_of_tenant ON metrics.usage_metrics_daily TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA metrics TO metrics_app;
GRANT USAGE ON SCHEMA metrics TO metrics_relay;

REVOKE ALL ON FUNCTION metrics.day_digests(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.day_digests(day date) TO metrics_app;

GRANT SELECT,INSERT,DELETE ON TABLE metrics.inbox TO metrics_app;

GRANT SELECT,INSERT,DELETE ON TABLE metrics.outbox TO metrics_app;
GRANT SELECT,DELETE ON TABLE metrics.outbox TO metrics_relay;

GRANT SELECT,INSERT ON TABLE metrics.reconciliations TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.usage_metrics_daily TO metrics_app;
