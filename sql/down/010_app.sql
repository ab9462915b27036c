-- Undoes ../010_app.sql. The app can no longer call its functions.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('010_app', array[
      'publish_lesson', 'track_upload', 'check_asset_status', 'app_publish', 'app_track_upload', 'app_lock_lesson',
      'app_check_status', 'app_look_soon', 'app_require_newest', 'app_require_video', 'app_is_current', 'app_is_of_another', 'app_asset'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
