-- Undoes ../022_lessons_read.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('022_lessons_read', array[
      'lessons_matching', 'lesson_title', 'lessons_holding', 'lessons_are_indexed', 'waiting_lessons_after', 'lessons_after', 'lessons',
      'lesson', 'is_owner', 'owner_of', 'lesson_key'
    ],
      types => array['mux_private.lesson_keys', 'mux_private.lesson_key', 'mux_private.lesson']);
  end if;
end
$$;
commit;
