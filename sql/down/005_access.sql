-- Undoes ../005_access.sql: afterwards only the owner reaches the tables. What the service role
-- was granted on lessons stays, since the app may rely on it.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop trigger if exists guard_tracking on public.mux_asset_tracking;
drop function if exists mux_private.guard_tracking();
drop policy if exists "Instructors can manage their own asset tracking records" on public.mux_asset_tracking;
drop policy if exists "Service role has full access" on public.mux_asset_tracking;
drop policy if exists "Instructors can read the events of their own lessons" on public.mux_asset_events;
drop policy if exists "Service role can read all events" on public.mux_asset_events;
revoke all on public.mux_asset_tracking from public, anon, authenticated, service_role;
revoke all on public.mux_asset_events from public, anon, authenticated, service_role;
delete from mux_private.applied_files where name = '005_access';
commit;
notify pgrst, 'reload schema';
