-- Why: no replica loses counts of a counter that it does not know.
--
-- The tables   usage_metrics_daily_totals and usage_shadow keep the rule that the quarter-hours and the days
--              keep: the total is the sum of the actions' counters. A replica of the version before a new
--              counter leaves that counter out of rows that it rewrites, and is refused by this.
--              Rows from before are not checked: the days' own rule held for what they are sums of.

set lock_timeout = '5s';
set statement_timeout = '60s';

-- squawk-ignore ban-drop-constraint
alter table metrics.usage_metrics_daily_totals drop constraint if exists usage_metrics_daily_totals_adds_up;
alter table metrics.usage_metrics_daily_totals
  add constraint usage_metrics_daily_totals_adds_up check (total_activities = total_logins
    + searches_executed + profiles_viewed + profiles_enriched + csv_exports + list_additions
    + list_removals + statuses_updated + notes_added + personas_created + lookalike_searches) not valid;
-- squawk-ignore ban-drop-constraint
alter table metrics.usage_shadow drop constraint if exists usage_shadow_adds_up;
alter table metrics.usage_shadow
  add constraint usage_shadow_adds_up check (total_activities = total_logins
    + searches_executed + profiles_viewed + profiles_enriched + csv_exports + list_additions
    + list_removals + statuses_updated + notes_added + personas_created + lookalike_searches) not valid;
