-- Undoes ../031_tracking_indexes.sql. The indexes stay until 030 is undone, which drops the table, or
-- the indexes that 031 made of an app's own table.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('031_tracking_indexes');
  end if;
end
$$;
commit;
