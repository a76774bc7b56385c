-- Why: who is erased is erased from the events that are published and kept until they are handled, as from
-- those that wait.
--
-- Guarantees   The service deletes kept events of the tenant it works for and changes their bodies, no more.

set lock_timeout = '5s';
set statement_timeout = '60s';

grant delete, update (body) on enrichment.published to enrichment_app;
