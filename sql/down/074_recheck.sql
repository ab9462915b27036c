-- Undoes ../074_recheck.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('074_recheck', array[
      'settle_row_alone', 'settle_recheck', 'follow_playback_id', 'settle_deletion', 'mark_unplayable', 'recheck'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
