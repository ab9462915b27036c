-- Undoes ../100_operate.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('100_operate', array[
      'worker_make_due', 'worker_retry', 'worker_publish', 'worker_lesson', 'worker_find_lessons',
      'lesson_json', 'lesson_state', 'set_operator'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
