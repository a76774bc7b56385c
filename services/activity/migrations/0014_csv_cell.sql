-- Why: a cell that begins with a full-width sign is run as a formula too, and a spreadsheet that splits lines
-- at ; or tabs makes cells of what stands behind one of these within a cell of ours.
--
-- What would be run begins with '; so does what began with ' itself, at the beginning and behind ; tab and line
-- break alike, so that a reader can take one away from each.

set lock_timeout = '5s';
set statement_timeout = '60s';

create or replace function activity.csv_cell(content text)
returns text language sql immutable parallel safe as $$
  select case when content ~ '^[-=+@''\uff0b\uff0d\uff1d\uff20]' or content ~ '[",;\t\r\n]'
    then '"' || case when content ~ '^[-=+@\t\r\n''\uff0b\uff0d\uff1d\uff20]' then '''' else '' end
      || replace(
        regexp_replace(content, '([;\t\r\n])(?=[-=+@\t\r\n''"\uff0b\uff0d\uff1d\uff20])', '\1''', 'g'),
        '"', '""') || '"'
    else content end
$$;
