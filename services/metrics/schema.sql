-- What the migrations add up to; written by `make schema`, kept true by a test.

CREATE SCHEMA metrics;

ALTER SCHEMA metrics OWNER TO metrics_owner;

CREATE FUNCTION metrics.daily_totals(tenant uuid, first_day date, last_day date) RETURNS TABLE(time_zone text, date date, total_logins bigint, searches_executed bigint, profiles_viewed bigint, profiles_enriched bigint, csv_exports bigint, lists_created bigint, list_additions bigint, list_removals bigint, statuses_updated bigint, notes_added bigint, personas_created bigint, lookalike_searches bigint, total_activities bigint)
    LANGUAGE plpgsql STABLE
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
#variable_conflict use_column
begin
  perform set_config('app.current_tenant_id', tenant::text, true);
  return query
    select s.time_zone, u.date, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities
    from (
      select coalesce((
        select z.time_zone from metrics.settings z where z.tenant_id = tenant), 'UTC') as time_zone
    ) as s
    left join metrics.usage_metrics_daily_totals u
      on u.tenant_id = tenant and u.date between first_day and last_day
    order by u.date;
end
$$;

ALTER FUNCTION metrics.daily_totals(tenant uuid, first_day date, last_day date) OWNER TO metrics_owner;

CREATE FUNCTION metrics.day_digests(day date) RETURNS TABLE(tenant_id uuid, activity_count bigint, digest numeric)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
  select u.tenant_id, sum(u.total_activities)::bigint, sum(u.digest)
  from metrics.usage_metrics_quarter_hours u
  where u.quarter_hour >= day::timestamp at time zone 'UTC'
    and u.quarter_hour < (day + 1)::timestamp at time zone 'UTC'
  group by u.tenant_id
  order by u.tenant_id
$$;

ALTER FUNCTION metrics.day_digests(day date) OWNER TO metrics_owner;

CREATE FUNCTION metrics.drop_old_shadows() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
  delete from metrics.usage_shadow
  where uuid_extract_timestamp(rebuild_id) < now() - interval '1 day'
$$;

ALTER FUNCTION metrics.drop_old_shadows() OWNER TO metrics_owner;

CREATE FUNCTION metrics.hash_user() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
begin
  new.user_hash := metrics.user_hash(new.tenant_id, new.user_id);
  new.user_id := null;
  return new;
end
$$;

ALTER FUNCTION metrics.hash_user() OWNER TO metrics_owner;

CREATE FUNCTION metrics.uneven_days(day date) RETURNS TABLE(tenant_id uuid, date date, user_id uuid, right_count bigint, day_count bigint)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'metrics', 'pg_temp'
    AS $$
  with side as (
    select u.tenant_id,
      (u.quarter_hour at time zone coalesce(s.time_zone, 'UTC'))::date as date, u.user_id,
      1 as sign, u.total_logins, u.searches_executed, u.profiles_viewed, u.profiles_enriched,
      u.csv_exports, u.lists_created, u.list_additions, u.list_removals, u.statuses_updated,
      u.notes_added, u.personas_created, u.lookalike_searches, u.total_activities, u.digest
    from metrics.usage_metrics_quarter_hours u left join metrics.settings s using (tenant_id)
    where u.quarter_hour >= (day - 1)::timestamp at time zone 'UTC'
      and u.quarter_hour < (day + 2)::timestamp at time zone 'UTC'
    union all
    select u.tenant_id, u.date, u.user_id, -1, u.total_logins, u.searches_executed,
      u.profiles_viewed, u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions,
      u.list_removals, u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, u.digest
    from metrics.usage_metrics_daily u
    where u.date = day
    union all
    select u.tenant_id, u.date, null, 1, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, 0
    from metrics.usage_metrics_daily u
    where u.date = day
    union all
    select u.tenant_id, u.date, null, -1, u.total_logins, u.searches_executed, u.profiles_viewed,
      u.profiles_enriched, u.csv_exports, u.lists_created, u.list_additions, u.list_removals,
      u.statuses_updated, u.notes_added, u.personas_created, u.lookalike_searches,
      u.total_activities, 0
    from metrics.usage_metrics_daily_totals u
    where u.date = day
  )
  select d.tenant_id, d.date, d.user_id,
    coalesce(sum(d.total_activities) filter (where d.sign = 1), 0)::bigint,
    coalesce(sum(d.total_activities) filter (where d.sign = -1), 0)::bigint
  from side d
  where d.date = day
  group by d.tenant_id, d.date, d.user_id
  having sum(d.sign * d.total_logins) <> 0 or sum(d.sign * d.searches_executed) <> 0 or sum(d.sign *
      d.profiles_viewed) <> 0 or sum(d.sign * d.profiles_enriched) <> 0 or sum(d.sign *
      d.csv_exports) <> 0 or sum(d.sign * d.lists_created) <> 0 or sum(d.sign * d.list_additions) <>
      0 or sum(d.sign * d.list_removals) <> 0 or sum(d.sign * d.statuses_updated) <> 0 or sum(d.sign
      * d.notes_added) <> 0 or sum(d.sign * d.personas_created) <> 0 or sum(d.sign *
      d.lookalike_searches) <> 0 or sum(d.sign * d.total_activities) <> 0 or sum(d.sign * d.digest)
      <> 0
  order by 1, 2, 3
$$;

ALTER FUNCTION metrics.uneven_days(day date) OWNER TO metrics_owner;

CREATE FUNCTION metrics.user_hash(tenant_id uuid, user_id uuid) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$
  select sha256(uuid_send(tenant_id) || uuid_send(user_id))
$$;

ALTER FUNCTION metrics.user_hash(tenant_id uuid, user_id uuid) OWNER TO metrics_owner;

CREATE TABLE metrics.erasures (
    tenant_id uuid NOT NULL,
    user_id uuid,
    erased_at timestamp with time zone NOT NULL,
    user_hash bytea NOT NULL
);

ALTER TABLE ONLY metrics.erasures FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.erasures OWNER TO metrics_owner;

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
    traceparent text DEFAULT ''::text NOT NULL,
    told_again integer DEFAULT 0 NOT NULL
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

CREATE TABLE metrics.published (
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
ALTER TABLE ONLY metrics.published ALTER COLUMN body SET STORAGE EXTERNAL;

ALTER TABLE ONLY metrics.published FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.published OWNER TO metrics_owner;

CREATE TABLE metrics.quota_usage (
    tenant_id uuid NOT NULL,
    counter text NOT NULL,
    period text NOT NULL,
    period_start date NOT NULL,
    used bigint DEFAULT 0 NOT NULL,
    soft_reached_at timestamp with time zone,
    hard_reached_at timestamp with time zone
);

ALTER TABLE ONLY metrics.quota_usage FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.quota_usage OWNER TO metrics_owner;

CREATE TABLE metrics.quotas (
    tenant_id uuid NOT NULL,
    counter text NOT NULL,
    period text NOT NULL,
    soft_limit bigint DEFAULT 0 NOT NULL,
    hard_limit bigint DEFAULT 0 NOT NULL,
    CONSTRAINT quotas_period CHECK ((period = ANY (ARRAY['day'::text, 'month'::text])))
);

ALTER TABLE ONLY metrics.quotas FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.quotas OWNER TO metrics_owner;

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
    findings jsonb DEFAULT '[]'::jsonb NOT NULL,
    finding_count bigint DEFAULT 0 NOT NULL,
    CONSTRAINT reconciliations_outcome CHECK ((outcome = ANY (ARRAY['equal'::text, 'repaired'::text, 'moving'::text])))
);

ALTER TABLE ONLY metrics.reconciliations FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.reconciliations OWNER TO metrics_owner;

CREATE TABLE metrics.relay_lease (
    only_row boolean DEFAULT true NOT NULL,
    holder uuid,
    expires_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL,
    CONSTRAINT relay_lease_one_row CHECK (only_row)
);

ALTER TABLE metrics.relay_lease OWNER TO metrics_owner;

CREATE TABLE metrics.schema_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE metrics.schema_migrations OWNER TO metrics_owner;

CREATE TABLE metrics.settings (
    tenant_id uuid NOT NULL,
    time_zone text DEFAULT 'UTC'::text NOT NULL
);

ALTER TABLE ONLY metrics.settings FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.settings OWNER TO metrics_owner;

CREATE TABLE metrics.stream_positions (
    stream text NOT NULL,
    generation bigint DEFAULT 0 NOT NULL,
    first_sequence bigint DEFAULT 0 NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL,
    looked_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

ALTER TABLE metrics.stream_positions OWNER TO metrics_owner;

CREATE TABLE metrics.token_key (
    only_row boolean DEFAULT true NOT NULL,
    key bytea NOT NULL,
    CONSTRAINT token_key_long CHECK ((octet_length(key) >= 32)),
    CONSTRAINT token_key_one_row CHECK (only_row)
);

ALTER TABLE metrics.token_key OWNER TO metrics_owner;

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

CREATE TABLE metrics.usage_metrics_daily_totals (
    tenant_id uuid NOT NULL,
    date date NOT NULL,
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
    total_activities bigint DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY metrics.usage_metrics_daily_totals FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.usage_metrics_daily_totals OWNER TO metrics_owner;

CREATE TABLE metrics.usage_metrics_quarter_hours (
    tenant_id uuid NOT NULL,
    quarter_hour timestamp with time zone NOT NULL,
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
    CONSTRAINT usage_metrics_quarter_hours_adds_up CHECK ((total_activities = ((((((((((total_logins + searches_executed) + profiles_viewed) + profiles_enriched) + csv_exports) + list_additions) + list_removals) + statuses_updated) + notes_added) + personas_created) + lookalike_searches))),
    CONSTRAINT usage_metrics_quarter_hours_new_lists CHECK (((lists_created >= 0) AND (lists_created <= list_additions)))
);

ALTER TABLE ONLY metrics.usage_metrics_quarter_hours FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.usage_metrics_quarter_hours OWNER TO metrics_owner;

CREATE TABLE metrics.usage_shadow (
    tenant_id uuid NOT NULL,
    rebuild_id uuid NOT NULL,
    quarter_hour timestamp with time zone NOT NULL,
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
    digest numeric DEFAULT 0 NOT NULL
);

ALTER TABLE ONLY metrics.usage_shadow FORCE ROW LEVEL SECURITY;

ALTER TABLE metrics.usage_shadow OWNER TO metrics_owner;

ALTER TABLE ONLY metrics.erasures
    ADD CONSTRAINT erasures_pk PRIMARY KEY (tenant_id, user_hash);

ALTER TABLE ONLY metrics.inbox
    ADD CONSTRAINT inbox_pk PRIMARY KEY (tenant_id, consumer, event_id);

ALTER TABLE ONLY metrics.outbox
    ADD CONSTRAINT outbox_pk PRIMARY KEY (tenant_id, outbox_id);

ALTER TABLE ONLY metrics.published
    ADD CONSTRAINT published_pk PRIMARY KEY (stream, generation, sequence, tenant_id);

ALTER TABLE ONLY metrics.quota_usage
    ADD CONSTRAINT quota_usage_pk PRIMARY KEY (tenant_id, counter, period, period_start);

ALTER TABLE ONLY metrics.quotas
    ADD CONSTRAINT quotas_pk PRIMARY KEY (tenant_id, counter, period);

ALTER TABLE metrics.quotas
    ADD CONSTRAINT quotas_some_limit CHECK (((soft_limit >= 0) AND (hard_limit >= 0) AND (GREATEST(soft_limit, hard_limit) > 0))) NOT VALID;

ALTER TABLE ONLY metrics.reconciliations
    ADD CONSTRAINT reconciliations_pk PRIMARY KEY (tenant_id, reconciliation_id);

ALTER TABLE ONLY metrics.relay_lease
    ADD CONSTRAINT relay_lease_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY metrics.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (name);

ALTER TABLE ONLY metrics.settings
    ADD CONSTRAINT settings_pk PRIMARY KEY (tenant_id);

ALTER TABLE ONLY metrics.stream_positions
    ADD CONSTRAINT stream_positions_pk PRIMARY KEY (stream);

ALTER TABLE ONLY metrics.token_key
    ADD CONSTRAINT token_key_pk PRIMARY KEY (only_row);

ALTER TABLE ONLY metrics.usage_metrics_daily
    ADD CONSTRAINT usage_metrics_daily_pk PRIMARY KEY (tenant_id, date, user_id);

ALTER TABLE metrics.usage_metrics_daily_totals
    ADD CONSTRAINT usage_metrics_daily_totals_adds_up CHECK ((total_activities = ((((((((((total_logins + searches_executed) + profiles_viewed) + profiles_enriched) + csv_exports) + list_additions) + list_removals) + statuses_updated) + notes_added) + personas_created) + lookalike_searches))) NOT VALID;

ALTER TABLE ONLY metrics.usage_metrics_daily_totals
    ADD CONSTRAINT usage_metrics_daily_totals_pk PRIMARY KEY (tenant_id, date);

ALTER TABLE ONLY metrics.usage_metrics_daily
    ADD CONSTRAINT usage_metrics_daily_unique UNIQUE (date, tenant_id, user_id);

ALTER TABLE ONLY metrics.usage_metrics_quarter_hours
    ADD CONSTRAINT usage_metrics_quarter_hours_pk PRIMARY KEY (tenant_id, quarter_hour, user_id);

ALTER TABLE metrics.usage_shadow
    ADD CONSTRAINT usage_shadow_adds_up CHECK ((total_activities = ((((((((((total_logins + searches_executed) + profiles_viewed) + profiles_enriched) + csv_exports) + list_additions) + list_removals) + statuses_updated) + notes_added) + personas_created) + lookalike_searches))) NOT VALID;

ALTER TABLE ONLY metrics.usage_shadow
    ADD CONSTRAINT usage_shadow_pk PRIMARY KEY (tenant_id, rebuild_id, quarter_hour, user_id);

CREATE INDEX inbox_handled_at ON metrics.inbox USING brin (handled_at);

CREATE INDEX outbox_in_order ON metrics.outbox USING btree (outbox_id);

CREATE INDEX usage_metrics_daily_totals_date ON metrics.usage_metrics_daily_totals USING btree (date, tenant_id);

CREATE INDEX usage_metrics_quarter_hours_moment ON metrics.usage_metrics_quarter_hours USING btree (quarter_hour, tenant_id);

CREATE TRIGGER hash_user BEFORE INSERT ON metrics.erasures FOR EACH ROW WHEN ((new.user_id IS NOT NULL)) EXECUTE FUNCTION metrics.hash_user();

ALTER TABLE ONLY metrics.quota_usage
    ADD CONSTRAINT quota_usage_quota FOREIGN KEY (tenant_id, counter, period) REFERENCES metrics.quotas(tenant_id, counter, period) ON DELETE CASCADE;

ALTER TABLE metrics.erasures ENABLE ROW LEVEL SECURITY;

CREATE POLICY erasures_of_tenant ON metrics.erasures TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.inbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY inbox_of_relay ON metrics.inbox TO metrics_relay USING ((handled_at < (now() - '40 days'::interval)));

CREATE POLICY inbox_of_tenant ON metrics.inbox TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.outbox ENABLE ROW LEVEL SECURITY;

CREATE POLICY outbox_of_relay ON metrics.outbox TO metrics_relay USING (true);

CREATE POLICY outbox_of_tenant ON metrics.outbox TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.published ENABLE ROW LEVEL SECURITY;

CREATE POLICY published_of_relay ON metrics.published TO metrics_relay USING (true);

CREATE POLICY published_of_tenant ON metrics.published TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.quota_usage ENABLE ROW LEVEL SECURITY;

CREATE POLICY quota_usage_of_tenant ON metrics.quota_usage TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.quotas ENABLE ROW LEVEL SECURITY;

CREATE POLICY quotas_of_tenant ON metrics.quotas TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.reconciliations ENABLE ROW LEVEL SECURITY;

CREATE POLICY reconciliations_of_tenant ON metrics.reconciliations TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.settings ENABLE ROW LEVEL SECURITY;

CREATE POLICY settings_of_auditor ON metrics.settings FOR SELECT TO metrics_owner USING (true);

CREATE POLICY settings_of_tenant ON metrics.settings TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.usage_metrics_daily ENABLE ROW LEVEL SECURITY;

CREATE POLICY usage_metrics_daily_of_auditor ON metrics.usage_metrics_daily FOR SELECT TO metrics_owner USING (true);

CREATE POLICY usage_metrics_daily_of_tenant ON metrics.usage_metrics_daily TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.usage_metrics_daily_totals ENABLE ROW LEVEL SECURITY;

CREATE POLICY usage_metrics_daily_totals_of_auditor ON metrics.usage_metrics_daily_totals FOR SELECT TO metrics_owner USING (true);

CREATE POLICY usage_metrics_daily_totals_of_tenant ON metrics.usage_metrics_daily_totals TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.usage_metrics_quarter_hours ENABLE ROW LEVEL SECURITY;

CREATE POLICY usage_metrics_quarter_hours_of_auditor ON metrics.usage_metrics_quarter_hours FOR SELECT TO metrics_owner USING (true);

CREATE POLICY usage_metrics_quarter_hours_of_tenant ON metrics.usage_metrics_quarter_hours TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

ALTER TABLE metrics.usage_shadow ENABLE ROW LEVEL SECURITY;

CREATE POLICY usage_shadow_of_cleaner ON metrics.usage_shadow TO metrics_owner USING ((uuid_extract_timestamp(rebuild_id) < (now() - '1 day'::interval)));

CREATE POLICY usage_shadow_of_tenant ON metrics.usage_shadow TO metrics_app USING ((tenant_id = ( SELECT (NULLIF(current_setting('app.current_tenant_id'::text, true), ''::text))::uuid AS "nullif")));

GRANT USAGE ON SCHEMA metrics TO metrics_app;
GRANT USAGE ON SCHEMA metrics TO metrics_relay;

REVOKE ALL ON FUNCTION metrics.daily_totals(tenant uuid, first_day date, last_day date) FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.daily_totals(tenant uuid, first_day date, last_day date) TO metrics_app;

REVOKE ALL ON FUNCTION metrics.day_digests(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.day_digests(day date) TO metrics_app;

REVOKE ALL ON FUNCTION metrics.drop_old_shadows() FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.drop_old_shadows() TO metrics_app;

REVOKE ALL ON FUNCTION metrics.hash_user() FROM PUBLIC;

REVOKE ALL ON FUNCTION metrics.uneven_days(day date) FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.uneven_days(day date) TO metrics_app;

REVOKE ALL ON FUNCTION metrics.user_hash(tenant_id uuid, user_id uuid) FROM PUBLIC;
GRANT ALL ON FUNCTION metrics.user_hash(tenant_id uuid, user_id uuid) TO metrics_app;

GRANT SELECT,INSERT ON TABLE metrics.erasures TO metrics_app;

GRANT SELECT,INSERT,DELETE ON TABLE metrics.inbox TO metrics_app;
GRANT SELECT,DELETE ON TABLE metrics.inbox TO metrics_relay;

GRANT SELECT,INSERT,DELETE ON TABLE metrics.outbox TO metrics_app;
GRANT SELECT,INSERT,DELETE ON TABLE metrics.outbox TO metrics_relay;

GRANT SELECT ON TABLE metrics.published TO metrics_app;
GRANT SELECT,INSERT,DELETE ON TABLE metrics.published TO metrics_relay;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.quota_usage TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.quotas TO metrics_app;

GRANT SELECT,INSERT ON TABLE metrics.reconciliations TO metrics_app;

GRANT UPDATE(findings) ON TABLE metrics.reconciliations TO metrics_app;

GRANT SELECT,UPDATE ON TABLE metrics.relay_lease TO metrics_relay;
GRANT SELECT,UPDATE ON TABLE metrics.relay_lease TO metrics_app;

GRANT SELECT ON TABLE metrics.schema_migrations TO metrics_app;

GRANT SELECT,INSERT,UPDATE ON TABLE metrics.settings TO metrics_app;

GRANT SELECT,INSERT,UPDATE ON TABLE metrics.stream_positions TO metrics_relay;

GRANT SELECT ON TABLE metrics.token_key TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.usage_metrics_daily TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.usage_metrics_daily_totals TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.usage_metrics_quarter_hours TO metrics_app;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE metrics.usage_shadow TO metrics_app;
