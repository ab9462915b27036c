-- Undoes ../036_schedule.sql. Stop the workers first. Drops the schedule and the shared state.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('036_schedule', tables => array['mux_private.schedule', 'mux_private.worker_state']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
