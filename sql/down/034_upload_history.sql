-- Undoes ../034_upload_history.sql. Drops the upload history with all its rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
declare
  watched regclass;
begin
  if to_regnamespace('mux_private') is not null then
    for watched in
      select t.tgrelid::regclass from pg_trigger t
      where t.tgname = 'close_upload_history' and t.tgparentid = 0
        and t.tgfoid = to_regproc('mux_private.close_upload_history')
    loop
      execute format('drop trigger close_upload_history on %s', watched);
    end loop;
    call mux_private.undo('034_upload_history', tables => array['mux_private.upload_history']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
