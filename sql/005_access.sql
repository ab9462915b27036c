-- What it does: says who may do what: row level security and grants of both tables, and what the
--   service role needs of lessons.
-- Needs: 003.
-- Locks: both tables, access exclusive for a moment (policies).
-- Undo: down/005_access.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

drop policy if exists "Instructors can manage their own asset tracking records" on public.mux_asset_tracking;
create policy "Instructors can manage their own asset tracking records" on public.mux_asset_tracking
  for all to authenticated
  using (lesson_id in (select l.id from public.lessons l where l.creator_id = (select auth.uid())))
  with check (lesson_id in (select l.id from public.lessons l where l.creator_id = (select auth.uid())));

drop policy if exists "Service role has full access" on public.mux_asset_tracking;
create policy "Service role has full access" on public.mux_asset_tracking
  for all to service_role using (true) with check (true);

drop policy if exists "Instructors can read the events of their own lessons" on public.mux_asset_events;
create policy "Instructors can read the events of their own lessons" on public.mux_asset_events
  for select to authenticated
  using (lesson_id in (select l.id from public.lessons l where l.creator_id = (select auth.uid())));

drop policy if exists "Service role can read all events" on public.mux_asset_events;
create policy "Service role can read all events" on public.mux_asset_events
  for select to service_role using (true);

-- Bypassing row level security is no grant, and where new tables are granted to everybody by
-- default that is taken back first.
revoke all on public.mux_asset_tracking from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.mux_asset_tracking to service_role;
grant select, delete on public.mux_asset_tracking to authenticated;
grant insert (lesson_id, upload_id, temp_asset_id, status, updated_at) on public.mux_asset_tracking to authenticated;
grant update (lesson_id, upload_id, temp_asset_id, status, updated_at) on public.mux_asset_tracking to authenticated;

revoke all on public.mux_asset_events from public, anon, authenticated, service_role;
revoke all on sequence public.mux_asset_events_id_seq from public, anon, authenticated, service_role;
grant select on public.mux_asset_events to authenticated, service_role;

grant select on public.lessons to service_role;
grant update (status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to service_role;

insert into mux_private.applied_files (name) values ('005_access') on conflict do nothing;

commit;
