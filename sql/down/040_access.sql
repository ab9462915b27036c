-- Undoes ../040_access.sql: afterwards only the owner of the tables, and roles that bypass row level
-- security, reach their rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regclass('mux_private.of_the_app') is not null then  -- else the tables are the app's
    drop trigger if exists guard_tracking on public.mux_asset_tracking;
    drop policy if exists "Instructors can manage their own asset tracking records" on public.mux_asset_tracking;
    drop policy if exists "Service role has full access" on public.mux_asset_tracking;
    drop policy if exists "Instructors can read the events of their own lessons" on public.mux_asset_events;
    drop policy if exists "Service role can read all events" on public.mux_asset_events;
  end if;
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('040_access', array['guard_tracking']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
