-- Undoes ../900_grants.sql: afterwards only the owner reaches the worker's tables and functions. What
-- 020 granted the service role on lessons stays.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
declare
  part regprocedure;
begin
  if to_regnamespace('mux_private') is null then
    return;
  end if;
  revoke all on schema mux_private from service_role;
  revoke all on all tables in schema mux_private from service_role;
  revoke all on all routines in schema mux_private from authenticated, service_role;
  for part in select f.function from mux_private.public_functions() f where f.is_ours loop
    execute format('revoke all on function %s from authenticated, service_role', part);
  end loop;
  if to_regclass('mux_private.of_the_app') is not null and to_regclass('public.mux_asset_tracking') is not null then
    revoke all on public.mux_asset_tracking from authenticated, service_role;  -- else it is the app's
  end if;
  if to_regclass('public.mux_asset_events') is not null then
    revoke all on public.mux_asset_events from authenticated, service_role;
  end if;
  call mux_private.undo('900_grants', array['open_to_worker_role']);
end
$$;
commit;
notify pgrst, 'reload schema';
