-- Undoes ../024_lessons_write.sql. What the service role was granted on the app's table of
-- lessons stays, since the app may rely on it.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('024_lessons_write', array[
      'lessons_denied', 'write_video', 'close_upload_history', 'lock_lesson'
    ]);
  end if;
end
$$;
commit;
