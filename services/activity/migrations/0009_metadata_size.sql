-- Why: an entry can be read again. jsonb keeps a number digit by digit, so that 8 KB of text such as 1e131071
-- is written as 100 MB: no page, tail or export could hold it, and none could pass it by.
--
-- The rule     What is written has at most 16,384 bytes, twice what a caller may send: the spaces that jsonb
--              puts in make one half as long again at most, so only written exponents reach it.
-- Before this  Entries that are there already are not looked at.

set lock_timeout = '5s';
set statement_timeout = '60s';

alter table activity.activity_log add constraint activity_log_metadata_size
  check (octet_length(metadata::text) <= 16384) not valid;
