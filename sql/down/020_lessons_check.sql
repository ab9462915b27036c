-- Undoes ../020_lessons_check.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('020_lessons_check', array[
      'lessons_problems', 'referred_column', 'lessons_refuse', 'lessons_table', 'lesson_options'
    ]);
  end if;
end
$$;
commit;
