-- Undoes ../072_settle_row.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('072_settle_row', array[
      'settle_row', 'back_off', 'wait', 'note_look', 'fail', 'publish'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
