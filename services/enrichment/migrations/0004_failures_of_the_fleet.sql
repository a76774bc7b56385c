-- Why: a source's failures in a row are counted for all replicas together, else a breaker opens only when one
-- replica alone has seen enough; and a wave of probes ends when all of them have succeeded.
--
-- sources.failures   in a row, while the breaker is closed.
-- sources.succeeded  of the present wave's probes; quota is how many it has, admitted how many have left.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table enrichment.sources
  add column if not exists failures int not null default 0,
  add column if not exists succeeded int not null default 0;
