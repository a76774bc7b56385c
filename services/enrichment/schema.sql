-- What the migrations add up to; written by `make schema`, kept true by a test.

CREATE SCHEMA enrichment;

ALTER SCHEMA enrichment OWNER TO enrichment_owner;

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
    batch_id uuid,
    in_batch boolean DEFAULT false NOT NULL,
    priority integer DEFAULT 2 NOT NULL,
    line_at timestamp with time zone DEFAULT now() NOT NULL,
    open boolean DEFAULT true NOT NULL,
    sources text[] DEFAULT '{}'::text[] NOT NULL,
    budget_micros bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    began_at timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    amended_at timestamp with time zone,
    lease_epoch bigint DEFAULT 0 NOT NULL,
    follows jsonb DEFAULT '{}'::jsonb NOT NULL,
    outdated boolean DEFAULT false NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE ONLY enrichment.runs FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.runs OWNER TO enrichment_owner;

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
    failures integer DEFAULT 0 NOT NULL,
    lookup text DEFAULT ''::text NOT NULL,
    reused boolean DEFAULT false NOT NULL,
    ready_at timestamp with time zone,
    parked_at timestamp with time zone,
    CONSTRAINT steps_source CHECK ((source = ANY (ARRAY['contactout'::text, 'exa'::text, 'sec'::text, 'claude'::text]))),
    CONSTRAINT steps_uncertain CHECK (((uncertain_attempts >= 0) AND (uncertain_attempts <= attempts)))
)
WITH (fillfactor='60');

ALTER TABLE ONLY enrichment.steps FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.steps OWNER TO enrichment_owner;

CREATE VIEW enrichment.run_rows WITH (security_invoker='true') AS
 SELECT tenant_id,
    run_id,
    prospect_id,
    user_id,
    batch_id,
    status,
    missing,
    priority,
    version,
    budget_micros,
    created_at,
    deadline_at,
    ended_at,
    amended_at,
    open,
    traceparent,
    ( SELECT (COALESCE(sum(s.cost_micros), (0)::numeric))::bigint AS "coalesce"
           FROM enrichment.steps s
          WHERE ((s.tenant_id = r.tenant_id) AND (s.run_id = r.run_id))) AS cost_micros,
    ARRAY( SELECT s.*::enrichment.steps AS s
           FROM enrichment.steps s
          WHERE ((s.tenant_id = r.tenant_id) AND (s.run_id = r.run_id))) AS steps
   FROM enrichment.runs r;

ALTER VIEW enrichment.run_rows OWNER TO enrichment_owner;

CREATE FUNCTION enrichment.filter_runs(tenant uuid, prospect uuid, statuses text[], missing_source text, error text, created_from timestamp with time zone, created_until timestamp with time zone) RETURNS SETOF enrichment.run_rows
    LANGUAGE sql STABLE
    AS $$
  select r.* from enrichment.run_rows r
  where r.tenant_id = tenant
    and (prospect is null or r.prospect_id = prospect)
    and (statuses is null or r.status = any(statuses))
    and (missing_source is null or missing_source = any(r.missing))
    and (error is null or exists (
      select from enrichment.steps s
      where s.tenant_id = r.tenant_id and s.run_id = r.run_id and s.error_class = error))
    and (created_from is null or r.created_at >= created_from)
    and (created_until is null or r.created_at < created_until)
$$;

ALTER FUNCTION enrichment.filter_runs(tenant uuid, prospect uuid, statuses text[], missing_source text, error text, created_from timestamp with time zone, created_until timestamp with time zone) OWNER TO enrichment_owner;

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
    lookup text DEFAULT ''::text NOT NULL,
    reserved_micros bigint DEFAULT 0 NOT NULL,
    queue_wait_ms bigint DEFAULT 0 NOT NULL,
    breaker_wait_ms bigint DEFAULT 0 NOT NULL,
    limiter_wait_ms bigint DEFAULT 0 NOT NULL,
    worker text DEFAULT ''::text NOT NULL,
    CONSTRAINT attempts_status CHECK ((status = ANY (ARRAY['started'::text, 'complete'::text, 'not_found'::text, 'failed'::text, 'uncertain'::text])))
)
WITH (fillfactor='80');

ALTER TABLE ONLY enrichment.attempts FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.attempts OWNER TO enrichment_owner;

CREATE TABLE enrichment.batch_runs (
    tenant_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    place integer NOT NULL,
    run_id uuid,
    end_order integer
);

ALTER TABLE ONLY enrichment.batch_runs FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.batch_runs OWNER TO enrichment_owner;

CREATE TABLE enrichment.batches (
    tenant_id uuid NOT NULL,
    batch_id uuid NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    closed_at timestamp with time zone,
    ended_at timestamp with time zone
);

ALTER TABLE ONLY enrichment.batches FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.batches OWNER TO enrichment_owner;

CREATE TABLE enrichment.erasures (
    tenant_id uuid NOT NULL,
    receipt_id uuid NOT NULL,
    prospect_id uuid NOT NULL,
    user_id uuid NOT NULL,
    erased_at timestamp with time zone NOT NULL,
    run_count integer NOT NULL,
    event_count integer NOT NULL
);

ALTER TABLE ONLY enrichment.erasures FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.erasures OWNER TO enrichment_owner;

CREATE TABLE enrichment.flows (
    tenant_id uuid NOT NULL,
    turn double precision NOT NULL
);

ALTER TABLE ONLY enrichment.flows FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.flows OWNER TO enrichment_owner;

CREATE TABLE enrichment.inbox (
    tenant_id uuid NOT NULL,
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    handled_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE ONLY enrichment.inbox FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.inbox OWNER TO enrichment_owner;

CREATE TABLE enrichment.ledger (
    tenant_id uuid NOT NULL,
    run_id uuid NOT NULL,
    source text NOT NULL,
    attempt integer NOT NULL,
    kind text NOT NULL,
    amount_micros bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT ledger_kind CHECK ((kind = ANY (ARRAY['reserve'::text, 'settle'::text, 'refund'::text])))
);

ALTER TABLE ONLY enrichment.ledger FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.ledger OWNER TO enrichment_owner;

CREATE TABLE enrichment.outbox (
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

CREATE TABLE enrichment.policies (
    tenant_id uuid NOT NULL,
    is_stopped boolean DEFAULT false NOT NULL,
    contact_lookups text[] DEFAULT '{linkedin_url,email,name_and_company}'::text[] NOT NULL,
    ask_paid_again boolean,
    run_budget_micros bigint DEFAULT 0 NOT NULL,
    day_budget_micros bigint DEFAULT 0 NOT NULL,
    most_runs_at_once integer,
    weight integer DEFAULT 1 NOT NULL,
    debounce_seconds integer DEFAULT 0 NOT NULL,
    sources jsonb DEFAULT '{}'::jsonb NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT policies_budgets CHECK (((run_budget_micros >= 0) AND (day_budget_micros >= 0))),
    CONSTRAINT policies_share CHECK ((((weight >= 1) AND (weight <= 100)) AND ((most_runs_at_once >= 1) AND (most_runs_at_once <= 1000))))
);

ALTER TABLE ONLY enrichment.policies FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.policies OWNER TO enrichment_owner;

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
    answered jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT prospects_enrichment_status CHECK ((enrichment_status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text])))
)
WITH (fillfactor='60');

ALTER TABLE ONLY enrichment.prospects FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.prospects OWNER TO enrichment_owner;

CREATE TABLE enrichment.published (
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
ALTER TABLE ONLY enrichment.published ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY enrichment.published FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.published OWNER TO enrichment_owner;

CREATE TABLE enrichment.relay_lease (
    only_row boolean DEFAULT true NOT NULL,
    holder uuid,
    expires_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT relay_lease_one_row CHECK (only_row)
);

ALTER TABLE enrichment.relay_lease OWNER TO enrichment_owner;

CREATE TABLE enrichment.requests (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    run_id uuid,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    digest bytea
);

ALTER TABLE ONLY enrichment.requests FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.requests OWNER TO enrichment_owner;

CREATE TABLE enrichment.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE enrichment.schema_migrations OWNER TO enrichment_owner;

CREATE TABLE enrichment.sources (
    source text NOT NULL,
    state text DEFAULT 'closed'::text NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    open_until timestamp with time zone,
    openings integer DEFAULT 0 NOT NULL,
    quota integer DEFAULT 0 NOT NULL,
    admitted integer DEFAULT 0 NOT NULL,
    parked_until timestamp with time zone,
    parked_reason text DEFAULT ''::text NOT NULL,
    paused boolean DEFAULT false NOT NULL,
    paused_until timestamp with time zone,
    paused_reason text DEFAULT ''::text NOT NULL,
    next_free_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    succeeded integer DEFAULT 0 NOT NULL,
    CONSTRAINT sources_state CHECK ((state = ANY (ARRAY['closed'::text, 'open'::text, 'half_open'::text])))
);

ALTER TABLE enrichment.sources OWNER TO enrichment_owner;

CREATE TABLE enrichment.spending (
    tenant_id uuid NOT NULL,
    day date NOT NULL,
    source text NOT NULL,
    committed_micros bigint DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY enrichment.spending FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.spending OWNER TO enrichment_owner;

CREATE TABLE enrichment.stream_positions (
    stream text NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    first_sequence bigint DEFAULT 0 NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL,
    looked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

ALTER TABLE enrichment.stream_positions OWNER TO enrichment_owner;

CREATE TABLE enrichment.suppressions (
    tenant_id uuid NOT NULL,
    digest bytea NOT NULL,
    kind text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT suppressions_kind CHECK ((kind = ANY (ARRAY['email'::text, 'linkedin_url'::text, 'name_and_company'::text])))
);

ALTER TABLE ONLY enrichment.suppressions FORCE ROW LEVEL SECURITY;

ALTER TABLE enrichment.suppressions OWNER TO enrichment_owner;

CREATE TABLE enrichment.token_key (
    only_row boolean DEFAULT true NOT NULL,
    key bytea NOT NULL,
    CONSTRAINT token_key_long CHECK ((octet_length(key) >= 32)),
    CONSTRAINT token_key_one_row CHECK (only_row)
);

ALTER TABLE enrichment.token_key OWNER TO enrichment_owner;

CREATE TABLE enrichment.virtual_time (
    only_row boolean DEFAULT true NOT NULL,
    turn double precision DEFAULT 0 NOT NULL,
    CONSTRAINT virtual_time_only_row CHECK (only_row)
);

ALTER TABLE enrichment.virtual_time OWNER TO enrichment_owner;

ALTER TABLE ONLY enrichment.attempts
    ADD CONSTRAINT attempts_pk PRIMARY KEY (tenant_id, run_id, source, attempt);

ALTER TABLE ONLY enrichment.batch_runs
    ADD CONSTRAINT batch_runs_pk PRIMARY KEY (tenant_id, batch_id, place);

ALTER TABLE ONLY enrichment.batches
    ADD CONSTRAINT batches_pk PRIMARY KEY (tenant_id, batch_id);

ALTER TABLE ONLY enrichment.erasures
    ADD CONSTRAINT erasures_pk PRIMARY KEY (tenant_id, receipt_id);

ALTER TABLE ONLY enrichment.flows
    ADD CONSTRAINT flows_pk PRIMARY KEY (tenant_id);

ALTER TABLE ONLY enrichment.inbox
    ADD CONSTRAINT inbox_pk PRIMARY KEY (tenant_id, consumer, event_id);

ALTER TABLE ONLY enrichment.ledger
    ADD CONSTRAINT ledger_pk PRIMARY KEY (tenant_id, run_id, source, attempt, kind);

ALTER TABLE ONLY enrichment.outbox
    ADD CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, outbox_id);

ALTER TABLE ONLY enrichment.policies
    ADD CONSTRAINT policies_pk PRIMARY KEY (tenant_id);

ALTER TABLE ONLY enrichment.prospects
    ADD CONSTRAINT prospects_pk PRIMARY KEY (tenant_id, prospect_id);

ALTER TABLE ONLY enrichment.published
    ADD CONSTRAINT published_pk PRIMARY KEY (stream, generation, sequence, tenant_id);

ALTER TABLE ONLY enrichment.relay_lease
    ADD CONSTRAINT relay_lease_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY enrichment.requests
    ADD CONSTRAINT requests_pk PRIMARY KEY (tenant_id, request_id);

ALTER TABLE enrichment.runs
    ADD CONSTRAINT runs_ended CHECK (((ended_at IS NOT NULL) = (status = ANY (ARRAY['complete'::text, 'failed'::text, 'cancelled'::text])))) NOT VALID;

ALTER TABLE ONLY enrichment.runs
    ADD CONSTRAINT runs_pk PRIMARY KEY (tenant_id, run_id);

ALTER TABLE enrichment.runs
    ADD CONSTRAINT runs_status CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text, 'cancelled'::text]))) NOT VALID;

ALTER TABLE ONLY enrichment.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY enrichment.sources
    ADD CONSTRAINT sources_pk PRIMARY KEY (source);

ALTER TABLE ONLY enrichment.spending
    ADD CONSTRAINT spending_pk PRIMARY KEY (tenant_id, day, source);

ALTER TABLE ONLY enrichment.steps
    ADD CONSTRAINT steps_pk PRIMARY KEY (tenant_id, run_id, source);

ALTER TABLE enrichment.steps
    ADD CONSTRAINT steps_status CHECK ((status = ANY (ARRAY['pending'::text, 'in_progress'::text, 'complete'::text, 'failed'::text, 'skipped'::text, 'circuit_open'::text, 'not_found'::text, 'suppressed'::text, 'budget_denied'::text, 'parked'::text]))) NOT VALID;

ALTER TABLE ONLY enrichment.stream_positions
    ADD CONSTRAINT stream_positions_pk PRIMARY KEY (stream);

ALTER TABLE ONLY enrichment.suppressions
    ADD CONSTRAINT suppressions_pk PRIMARY KEY (tenant_id, digest);

ALTER TABLE ONLY enrichment.token_key
    ADD CONSTRAINT token_key_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY enrichment.virtual_time
    ADD CONSTRAINT virtual_time_pk PRIMARY KEY (only_row);

CREATE INDEX attempts_of_day ON enrichment.attempts USING btree (tenant_id, started_at);

CREATE INDEX batch_runs_ended ON enrichment.batch_runs USING btree (tenant_id, batch_id, end_order) WHERE (end_order IS NOT NULL);

CREATE INDEX batch_runs_of_run ON enrichment.batch_runs USING btree (tenant_id, run_id);

CREATE INDEX erasures_of_prospect ON enrichment.erasures USING btree (tenant_id, prospect_id, erased_at DESC);

CREATE INDEX inbox_handled_at ON enrichment.inbox USING brin (handled_at);

CREATE INDEX outbox_in_order ON enrichment.outbox USING btree (outbox_id);

CREATE INDEX prospects_newest ON enrichment.prospects USING btree (tenant_id, created_at DESC, prospect_id DESC);

CREATE INDEX runs_leased ON enrichment.runs USING btree (tenant_id) WHERE (lease_token IS NOT NULL);

CREATE INDEX runs_newest ON enrichment.runs USING btree (tenant_id, created_at DESC, run_id DESC);

CREATE INDEX runs_of_prospect ON enrichment.runs USING btree (tenant_id, prospect_id, created_at DESC);

CREATE UNIQUE INDEX runs_one_in_flight ON enrichment.runs USING btree (tenant_id, prospect_id) WHERE (ended_at IS NULL);

CREATE INDEX runs_open ON enrichment.runs USING btree (tenant_id, line_at) INCLUDE (wake_at) WHERE open;

ALTER TABLE ONLY enrichment.attempts
    ADD CONSTRAINT attempts_step_fk FOREIGN KEY (tenant_id, run_id, source) REFERENCES enrichment.steps(tenant_id, run_id, source) ON DELETE CASCADE;

ALTER TABLE ONLY enrichment.batch_runs
    ADD CONSTRAINT batch_runs_batch_fk FOREIGN KEY (tenant_id, batch_id) REFERENCES enrichment.batches(tenant_id, batch_id) ON DELETE CASCADE;

ALTER TABLE ONLY enrichment.batch_runs
    ADD CONSTRAINT batch_runs_run_fk FOREIGN KEY (tenant_id, run_id) REFERENCES enrichment.runs(tenant_id, run_id) ON DELETE SET NULL (run_id) NOT VALID;

ALTER TABLE ONLY enrichment.runs
    ADD CONSTRAINT runs_prospect_fk FOREIGN KEY (tenant_id, prospect_id) REFERENCES enrichment.prospects(tenant_id, prospect_id) ON DELETE CASCADE;

ALTER TABLE ONLY enrichment.steps
    ADD CONSTRAINT steps_run_fk FOREIGN KEY (tenant_id, run_id) REFERENCES enrichment.runs(tenant_id, run_id) ON DELETE CASCADE;

ALTER TABLE enrichment.attempts ENABLE ROW LEVEL SECURITY;

CREATE POLICY attempts_of_tenant ON enrichment.attempts TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.batch_runs ENABLE ROW LEVEL SECURITY;

CREATE POLICY batch_runs_of_tenant ON enrichment.batch_runs TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.batches ENABLE ROW LEVEL SECURITY;

CREATE POLICY batches_of_tenant ON enrichment.batches TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.erasures ENABLE ROW LEVEL SECURITY;

CREATE POLICY erasures_of_tenant ON enrichment.erasures TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.flows ENABLE ROW LEVEL SECURITY;

CREATE POLICY flows_of_claimer ON enrichment.flows TO enrichment_claimer USING (true);

CREATE POLICY flows_of_tenant ON enrichment.flows TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.inbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY inbox_of_relay ON enrichment.inbox TO enrichment_relay USING ((handled_at < (now() - '40 days'::interval)));

CREATE POLICY inbox_of_tenant ON enrichment.inbox TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.ledger ENABLE ROW LEVEL SECURITY;

CREATE POLICY ledger_of_tenant ON enrichment.ledger TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.outbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY outbox_of_relay ON enrichment.outbox TO enrichment_relay USING (true);

CREATE POLICY outbox_of_tenant ON enrichment.outbox TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.policies ENABLE ROW LEVEL SECURITY;

CREATE POLICY policies_of_claimer ON enrichment.policies FOR SELECT TO enrichment_claimer USING (true);

CREATE POLICY policies_of_tenant ON enrichment.policies TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.prospects ENABLE ROW LEVEL SECURITY;

CREATE POLICY prospects_of_tenant ON enrichment.prospects TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.published ENABLE ROW LEVEL SECURITY;

CREATE POLICY published_of_relay ON enrichment.published TO enrichment_relay USING (true);

CREATE POLICY published_of_tenant ON enrichment.published TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.requests ENABLE ROW LEVEL SECURITY;

CREATE POLICY requests_of_keeper ON enrichment.requests TO enrichment_keeper USING (true);

CREATE POLICY requests_of_tenant ON enrichment.requests TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.runs ENABLE ROW LEVEL SECURITY;

CREATE POLICY runs_leased_by_claimer ON enrichment.runs FOR UPDATE TO enrichment_claimer USING (true);

CREATE POLICY runs_of_claimer ON enrichment.runs FOR SELECT TO enrichment_claimer USING (true);

CREATE POLICY runs_of_keeper ON enrichment.runs FOR SELECT TO enrichment_keeper USING (true);

CREATE POLICY runs_of_tenant ON enrichment.runs TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.spending ENABLE ROW LEVEL SECURITY;

CREATE POLICY spending_of_tenant ON enrichment.spending TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.steps ENABLE ROW LEVEL SECURITY;

CREATE POLICY steps_of_tenant ON enrichment.steps TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE enrichment.suppressions ENABLE ROW LEVEL SECURITY;

CREATE POLICY suppressions_of_tenant ON enrichment.suppressions TO enrichment_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA enrichment TO enrichment_app;
GRANT USAGE ON SCHEMA enrichment TO enrichment_relay;
GRANT USAGE ON SCHEMA enrichment TO enrichment_claimer;
GRANT USAGE ON SCHEMA enrichment TO enrichment_keeper;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.runs TO enrichment_app;

GRANT SELECT(tenant_id) ON TABLE enrichment.runs TO enrichment_claimer;
GRANT SELECT(tenant_id) ON TABLE enrichment.runs TO enrichment_keeper;

GRANT SELECT(run_id) ON TABLE enrichment.runs TO enrichment_claimer;
GRANT SELECT(run_id) ON TABLE enrichment.runs TO enrichment_keeper;

GRANT SELECT(status) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(ended_at) ON TABLE enrichment.runs TO enrichment_keeper;

GRANT SELECT(wake_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(lease_token),UPDATE(lease_token) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(lease_expires_at),UPDATE(lease_expires_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(line_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(open) ON TABLE enrichment.runs TO enrichment_claimer;
GRANT SELECT(open) ON TABLE enrichment.runs TO enrichment_keeper;

GRANT SELECT(cancel_requested_at) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT(lease_epoch),UPDATE(lease_epoch) ON TABLE enrichment.runs TO enrichment_claimer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.steps TO enrichment_app;

GRANT SELECT ON TABLE enrichment.run_rows TO enrichment_app;

REVOKE ALL ON FUNCTION enrichment.filter_runs(tenant uuid, prospect uuid, statuses text[], missing_source text, error text, created_from timestamp with time zone, created_until timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION enrichment.filter_runs(tenant uuid, prospect uuid, statuses text[], missing_source text, error text, created_from timestamp with time zone, created_until timestamp with time zone) TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.attempts TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.batch_runs TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.batches TO enrichment_app;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.erasures TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.flows TO enrichment_app;
GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.flows TO enrichment_claimer;

GRANT SELECT,INSERT,DELETE ON TABLE enrichment.inbox TO enrichment_app;
GRANT SELECT,DELETE ON TABLE enrichment.inbox TO enrichment_relay;

GRANT SELECT,INSERT ON TABLE enrichment.ledger TO enrichment_app;

GRANT SELECT,INSERT,DELETE ON TABLE enrichment.outbox TO enrichment_app;
GRANT SELECT,INSERT,DELETE ON TABLE enrichment.outbox TO enrichment_relay;

GRANT UPDATE(body) ON TABLE enrichment.outbox TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.policies TO enrichment_app;

GRANT SELECT(tenant_id) ON TABLE enrichment.policies TO enrichment_claimer;

GRANT SELECT(most_runs_at_once) ON TABLE enrichment.policies TO enrichment_claimer;

GRANT SELECT(weight) ON TABLE enrichment.policies TO enrichment_claimer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.prospects TO enrichment_app;

GRANT SELECT,DELETE ON TABLE enrichment.published TO enrichment_app;
GRANT SELECT,INSERT,DELETE ON TABLE enrichment.published TO enrichment_relay;

GRANT UPDATE(body) ON TABLE enrichment.published TO enrichment_app;

GRANT SELECT,UPDATE ON TABLE enrichment.relay_lease TO enrichment_relay;
GRANT SELECT,UPDATE ON TABLE enrichment.relay_lease TO enrichment_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.requests TO enrichment_app;
GRANT DELETE ON TABLE enrichment.requests TO enrichment_keeper;

GRANT SELECT(tenant_id) ON TABLE enrichment.requests TO enrichment_keeper;

GRANT SELECT(request_id) ON TABLE enrichment.requests TO enrichment_keeper;

GRANT SELECT(run_id) ON TABLE enrichment.requests TO enrichment_keeper;

GRANT SELECT(created_at) ON TABLE enrichment.requests TO enrichment_keeper;

GRANT SELECT ON TABLE enrichment.schema_migrations TO enrichment_app;

GRANT SELECT,UPDATE ON TABLE enrichment.sources TO enrichment_app;
GRANT SELECT ON TABLE enrichment.sources TO enrichment_claimer;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.spending TO enrichment_app;

GRANT SELECT,INSERT,UPDATE ON TABLE enrichment.stream_positions TO enrichment_relay;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE enrichment.suppressions TO enrichment_app;

GRANT SELECT ON TABLE enrichment.token_key TO enrichment_app;

GRANT SELECT,UPDATE ON TABLE enrichment.virtual_time TO enrichment_claimer;
