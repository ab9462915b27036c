-- Undoes ../090_app.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('090_app', array[
      'track_upload', 'app_track_upload', 'app_lock_lesson', 'app_own_lesson', 'check_asset_status',
      'app_check_status', 'app_user'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
