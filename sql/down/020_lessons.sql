-- Undoes ../020_lessons.sql. What the service role was granted on the app's table of lessons
-- stays, since the app may rely on it.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo(
      '020_lessons',
      array['write_video', 'close_upload_history', 'lessons_are_indexed', 'lock_lesson', 'lesson_title', 'lessons_holding', 'waiting_lessons_after',
            'lessons_after', 'lessons', 'lesson', 'is_owner', 'owner_of', 'lesson_key', 'lessons_problems',
            'referred_column', 'lessons_refuse', 'lessons_table', 'lesson_options'],
      types => array['mux_private.lesson_keys', 'mux_private.lesson_key', 'mux_private.lesson']);
  end if;
end
$$;
commit;
