-- Undoes ../034_upload_history.sql. Drops the upload history with all its rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    if to_regproc('mux_private.lessons_table') is not null and mux_private.lessons_table() is not null then
      execute format('drop trigger if exists close_upload_history on %s', mux_private.lessons_table());
    end if;
    call mux_private.undo('034_upload_history', tables => array['mux_private.upload_history']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
