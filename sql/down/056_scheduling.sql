-- Undoes ../056_scheduling.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists schedule_new_upload on public.mux_asset_tracking;
    drop trigger if exists schedule_changed_upload on public.mux_asset_tracking;
    drop trigger if exists unschedule_upload on public.mux_asset_tracking;
    call mux_private.undo('056_scheduling', array[
      'put_off', 'put_off_until', 'make_due', 'keep_schedule', 'schedule_look', 'events_arrive'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
