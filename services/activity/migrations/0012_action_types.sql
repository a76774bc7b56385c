-- Why: during a rolling upgrade a replica reads entries whose action type only a newer release has in its
-- contract. It cannot know the number under which callers get it, unless the database tells.
--
-- The table    action_types has a row an action type: its name in activity_log, and its number in the contract.
--              It is about the whole log and has no tenant.
-- The rule     A migration that adds a name to the check activity_log_action_type adds its row here.

set lock_timeout = '5s';
set statement_timeout = '60s';

create table if not exists activity.action_types (
  name text not null,
  number int not null,
  constraint action_types_pk primary key (name),
  constraint action_types_number unique (number)
);
grant select on activity.action_types to activity_app;

insert into activity.action_types (name, number) values
  ('login', 1), ('search_executed', 2), ('profile_viewed', 3), ('profile_enriched', 4),
  ('add_to_list', 5), ('remove_from_list', 6), ('status_updated', 7), ('note_added', 8),
  ('csv_exported', 9), ('persona_created', 10), ('lookalike_search', 11)
on conflict do nothing;
