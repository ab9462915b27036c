-- Undoes ../006_claim.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('006_claim', array[
      'worker_release', 'worker_claim', 'may_sweep', 'is_left_to_events', 'events_arrive'
    ], array['mux_private.worker_state']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
