-- Undoes ../006_claim.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists schedule_new_upload on public.mux_asset_tracking;
    drop trigger if exists schedule_changed_upload on public.mux_asset_tracking;
    drop trigger if exists unschedule_upload on public.mux_asset_tracking;
    call mux_private.undo('006_claim', array[
      'worker_release', 'worker_claim', 'lease', 'due_count', 'keep_schedule', 'schedule_look', 'may_sweep', 'events_arrive'
    ], array['mux_private.worker_state', 'mux_private.schedule']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
