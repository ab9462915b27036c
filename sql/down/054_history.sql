-- Undoes ../054_history.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('054_history', array[
      'note_backfill', 'note_restored', 'pass_over', 'mark_deleted', 'note_withdrawn', 'note_video', 'learn'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
