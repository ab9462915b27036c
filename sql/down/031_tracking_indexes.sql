-- Undoes ../031_tracking_indexes.sql. The indexes go with the table, or with 030, which gives an
-- app's own table back to it.
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
