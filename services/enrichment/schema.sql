-- What the migrations add up to; written by `make schema`, kept true by a test.

CREATE SCHEMA enrichment;

ALTER SCHEMA enrichment OWNER TO enrichment_owner;

CREATE TABLE enrichment.attempts (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    source text NOT NULL,
    attempt integer NOT NULL,
    status text DEFAULT 'started'::text NOT NULL,
    error_class text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    source_request_id text DEFAULT ''::text NOT NULL,
    cost_micros bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT attempts_status CHECK ((status = ANY (ARRAY['started'::text, 'complete'::text, 'not_found'::text, 'failed'::text, 'uncertain'::text])))
);

ALTER TABLE ONLY enrichment.attempts FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.attempts OWNER TO enrichment_owner;

CREATE TABLE enrichment.inbox (
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY enrichment.inbox FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.inbox OWNER TO enrichment_owner;

CREATE TABLE enrichment.outbox (
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

ALTER TABLE ONLY enrichment.outbox FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.outbox OWNER TO enrichment_owner;

ALTER TABLE enrichment.outbox ALTER COLUMN outbox_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME enrichment.outbox_outbox_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE enrichment.prospects (
    tenant_id uuid NOT NULL,
    prospect_id uuid NOT NULL,
    name text NOT NULL,
    email text DEFAULT ''::text NOT NULL,
    linkedin_url text DEFAULT ''::text NOT NULL,
    company text NOT NULL,
    title text DEFAULT ''::text NOT NULL,
    is_public_company boolean DEFAULT false NOT NULL,
    company_cik bigint,
    enrichment_status text DEFAULT 'pending'::text NOT NULL,
    last_enriched_at timestamp with time zone,
    contact_data jsonb,
    web_data jsonb,
    insider_data jsonb,
    ai_summary jsonb,
    enrichment_source_status jsonb DEFAULT '{}'::jsonb NOT NULL,
    run_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT prospects_enrichment_status CHECK ((enrichment_status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text])))
);

ALTER TABLE ONLY enrichment.prospects FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.prospects OWNER TO enrichment_owner;

CREATE TABLE enrichment.runs (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    prospect_id uuid NOT NULL,
    user_id uuid NOT NULL,
    request_id uuid,
    status text DEFAULT 'pending'::text NOT NULL,
    missing text[] DEFAULT '{}'::text[] NOT NULL,
    traceparent text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deadline_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    wake_at timestamp with time zone DEFAULT now() NOT NULL,
    lease_token uuid,
    lease_expires_at timestamp with time zone,
    CONSTRAINT runs_ended CHECK (((ended_at IS NOT NULL) = (status = ANY (ARRAY['complete'::text, 'failed'::text])))),
    CONSTRAINT runs_status CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text])))
);

ALTER TABLE ONLY enrichment.runs FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.runs OWNER TO enrichment_owner;

CREATE TABLE enrichment.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE enrichment.schema_migrations OWNER TO enrichment_owner;

CREATE TABLE enrichment.steps (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    source text NOT NULL,
    status text DEFAULT 'pending'::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    error_class text DEFAULT ''::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,
    uncertain_attempts integer DEFAULT 0 NOT NULL,
    cost_micros bigint DEFAULT 0 NOT NULL,
    started_at timestamp with time zone,
    ended_at timestamp with time zone,
    next_attempt_at timestamp with time zone,
    finding jsonb,
    CONSTRAINT steps_source CHECK ((source = ANY (ARRAY['contactout'::text, 'exa'::text, 'sec'::text, 'claude'::text]))),
    CONSTRAINT steps_status CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text, 'skipped'::text, 'circuit_open'::text, 'not_found'::text]))),
    CONSTRAINT steps_uncertain CHECK (((uncertain_attempts >= 0) AND (uncertain_attempts <= attempts)))
);

ALTER TABLE ONLY enrichment.steps FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.steps OWNER TO enrichment_owner;

ALTER TABLE ONLY enrichment.attempts
    ADD CONSTRAINT attempts_pk PRIMARY KEY (tenant_id, run_id, source, attempt);

ALTER TABLE ONLY enrichment.inbox
    ADD CONSTRAINT inbox_pk PRIMARY KEY (tenant_id, consumer, event_id);

ALTER TABLE ONLY enrichment.outbox
    ADD CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, outbox_id);

ALTER TABLE ONLY enrichment.prospects
    ADD CONSTRAINT prospects_pk PRIMARY KEY (tenant_id, prospect_id);

ALTER TABLE ONLY enrichment.runs
    ADD CONSTRAINT runs_pk PRIMARY KEY (tenant_id, run_id);

ALTER TABLE ONLY enrichment.runs
    ADD CONSTRAINT runs_request_unique UNIQUE (tenant_id, request_id);

ALTER TABLE ONLY enrichment.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY enrichment.steps
    ADD CONSTRAINT steps_pk PRIMARY KEY (tenant_id, run_id, source);

CREATE INDEX outbox_in_order ON enrichment.outbox USING btree (outbox_id);

CREATE UNIQUE INDEX runs_one_in_flight ON enrichment.runs USING btree (tenant_id, prospect_id) WHERE (status = ANY (ARRAY['pending'::text, 'in_progress'::text]));

CREATE INDEX runs_waiting ON enrichment.runs USING btree (wake_at) WHERE (status = ANY (ARRAY['pending'::text, 'in_progress'::text]));

ALTER TABLE ONLY enrichment.attempts
    ADD CONSTRAINT attempts_step_fk FOREIGN KEY (tenant_id, run_id, source) REFERENCES enrichment.steps(tenant_id, run_id, source) ON DELETE CASCADE;

ALTER TABLE ONLY enrichment.runs
    ADD CONSTRAINT runs_prospect_fk FOREIGN KEY (tenant_id, prospect_id) REFERENCES enrichment.prospects(tenant_id, prospect_id) ON DELETE CASCADE;

ALTER TABLE ONLY enrichment.steps
    ADD CONSTRAINT steps_run_fk FOREIGN KEY (tenant_id, run_id) REFERENCES enrichment.runs(tenant_id, run_id) ON DELETE CASCADE;

ALTER TABLE enrichment.attempts ENABLE ROW LEVEL SECURITY;

CREATE POLICY attempts_of_tenant ON enrichment.attempts TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.inbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY inbox_of_tenant ON enrichment.inbox TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.outbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY outbox_of_relay ON enrichment.outbox TO enrichment_relay USING (true);

CREATE POLICY outbox_of_tenant ON enrichment.outbox TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.prospects ENABLE ROW LEVEL SECURITY;

CREATE POLICY prospects_of_tenant ON enrichment.prospects TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.runs ENABLE ROW LEVEL SECURITY;

CREATE POLICY runs_of_claimer ON enrichment.runs FOR SELECT TO enrichment_claimer USING (true);

CREATE POLICY runs_of_tenant ON enrichment.runs TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.steps ENABLE ROW LEVEL SECURITY;

CREATE POLICY steps_of_tenant ON enrichment.steps TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA enrichment TO enrichment_app;
GRANT USAGE ON SCHEMA enrichment TO enrichment_relay;
GRANT USAGE ON SCHEMA enrichment TO enrichment_claimer;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.attempts TO enrichment_app;

GRANT SELECT,INSERT,DELETE ON TABLE enrichment.inbox TO enrichment_app;

GRANT SELECT,INSERT,DELETE ON TABLE enrichment.outbox TO enrichment_app;
GRANT SELECT,DELETE ON TABLE enrichment.outbox TO enrichment_relay;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.prospects TO enrichment_app;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.runs TO enrichment_app;

GRANT SELECT(tenant_id) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(run_id) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(status) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(wake_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(lease_expires_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.steps TO enrichment_app;
