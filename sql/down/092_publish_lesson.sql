-- Undoes ../092_publish_lesson.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('092_publish_lesson', array[
      'publish_lesson', 'app_publish', 'app_look_soon', 'app_require_video', 'app_require_newest',
      'app_is_current', 'app_is_of_another', 'app_asset'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
