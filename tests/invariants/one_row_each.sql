select activity.ensure_partitions('2026-01-01', '2026-01-01');
insert into activity.activity_log (tenant_id, activity_id, user_id, action_type, created_at)
values ('TENANT', gen_random_uuid(), gen_random_uuid(), 'login', '2026-01-15');
insert into activity.batches (
  tenant_id, batch_id, entry_count, earliest, latest, activity_ids, created_ats, leaves)
values ('TENANT', gen_random_uuid(), 1, now(), now(), array[gen_random_uuid()], array[now()],
  sha256('leaf'));
insert into activity.requests (tenant_id, request_id, content_hash, answer)
values ('TENANT', gen_random_uuid(), '', '');
insert into activity.erasures (tenant_id, receipt_id, user_id, erased_count, erased_at)
values ('TENANT', gen_random_uuid(), gen_random_uuid(), 0, now());
insert into activity.expiries (tenant_id, expired_before) values ('TENANT', now());
insert into activity.retention (tenant_id, retention_days) values ('TENANT', 30);
insert into activity.trees (tenant_id, size, frontier, note, began_at, sealed_at)
values ('TENANT', 1, sha256('leaf'), '', now(), now());
insert into activity.tiles (tenant_id, level, tile, hashes) values ('TENANT', 1, 0, sha256('node'));
insert into activity.outbox (event_id, tenant_id, subject, event_type, source, body, occurred_at)
values (gen_random_uuid(), 'TENANT', 's', 't', 's', '', now());
insert into activity.published (stream, generation, sequence, tenant_id, outbox_id, event_id, subject,
  event_type, source, body, occurred_at)
values ('TENANT', 0, 1, 'TENANT', 1, gen_random_uuid(), 's', 't', 's', '', now());
insert into activity.inbox (tenant_id, consumer, event_id) values ('TENANT', 'c', gen_random_uuid());
insert into metrics.outbox (event_id, tenant_id, subject, event_type, source, body, occurred_at)
values (gen_random_uuid(), 'TENANT', 's', 't', 's', '', now());
insert into metrics.published (stream, generation, sequence, tenant_id, outbox_id, event_id, subject,
  event_type, source, body, occurred_at)
values ('TENANT', 0, 1, 'TENANT', 1, gen_random_uuid(), 's', 't', 's', '', now());
insert into metrics.inbox (tenant_id, consumer, event_id) values ('TENANT', 'c', gen_random_uuid());
insert into metrics.usage_metrics_daily (date, tenant_id, user_id)
values ('2026-01-15', 'TENANT', gen_random_uuid());
insert into metrics.reconciliations (
  tenant_id, date, outcome, log_count, rollup_count, log_digest, rollup_digest)
values ('TENANT', '2026-01-15', 'equal', 0, 0, 0, 0);
insert into enrichment.outbox (event_id, tenant_id, subject, event_type, source, body, occurred_at)
values (gen_random_uuid(), 'TENANT', 's', 't', 's', '', now());
insert into enrichment.published (stream, generation, sequence, tenant_id, outbox_id, event_id, subject,
  event_type, source, body, occurred_at)
values ('TENANT', 0, 1, 'TENANT', 1, gen_random_uuid(), 's', 't', 's', '', now());
insert into enrichment.inbox (tenant_id, consumer, event_id) values ('TENANT', 'c', gen_random_uuid());
insert into enrichment.prospects (tenant_id, prospect_id, name, company)
values ('TENANT', 'TENANT', 'n', 'c');
insert into enrichment.runs (tenant_id, run_id, prospect_id, user_id, deadline_at)
values ('TENANT', 'TENANT', 'TENANT', gen_random_uuid(), now());
insert into enrichment.steps (tenant_id, run_id, source) values ('TENANT', 'TENANT', 'exa');
insert into enrichment.attempts (tenant_id, run_id, source, attempt, started_at)
values ('TENANT', 'TENANT', 'exa', 1, now());
insert into enrichment.requests (tenant_id, request_id, run_id)
values ('TENANT', gen_random_uuid(), 'TENANT');
insert into enrichment.batches (tenant_id, batch_id, user_id)
values ('TENANT', 'TENANT', gen_random_uuid());
insert into enrichment.batch_runs (tenant_id, batch_id, place, run_id)
values ('TENANT', 'TENANT', 0, 'TENANT');
insert into enrichment.policies (tenant_id) values ('TENANT');
insert into enrichment.suppressions (tenant_id, digest, kind)
values ('TENANT', sha256('address'), 'email');
insert into enrichment.ledger (tenant_id, run_id, source, attempt, kind, amount_micros, created_at)
values ('TENANT', 'TENANT', 'exa', 1, 'reserve', 1, now());
insert into enrichment.spending (tenant_id, day, source) values ('TENANT', '2026-01-15', 'exa');
insert into enrichment.flows (tenant_id, turn) values ('TENANT', 0);
insert into enrichment.erasures (
  tenant_id, receipt_id, prospect_id, user_id, erased_at, run_count, event_count)
values ('TENANT', gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), 0, 0);
insert into metrics.settings (tenant_id) values ('TENANT');
insert into metrics.erasures (tenant_id, user_hash, erased_at)
values ('TENANT', '\x00', now());
insert into metrics.quotas (tenant_id, counter, period, soft_limit)
values ('TENANT', 'total_logins', 'day', 1);
insert into metrics.quota_usage (tenant_id, counter, period, period_start)
values ('TENANT', 'total_logins', 'day', '2026-01-15');
insert into metrics.usage_metrics_quarter_hours (tenant_id, quarter_hour, user_id)
values ('TENANT', '2026-01-15', gen_random_uuid());
insert into metrics.usage_metrics_daily_totals (tenant_id, date) values ('TENANT', '2026-01-15');
insert into metrics.usage_shadow (tenant_id, rebuild_id, quarter_hour, user_id)
values ('TENANT', gen_random_uuid(), '2026-01-15', gen_random_uuid());
