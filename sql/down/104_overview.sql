-- Undoes ../104_overview.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('104_overview', array[
      'worker_lesson_events', 'worker_overview', 'day', 'events_of_the_day'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
