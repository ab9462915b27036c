-- Undoes ../016_status_page.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('016_status_page', array[
      'worker_make_due', 'worker_lesson_events', 'worker_overview', 'overview_row', 'first_event_since'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
