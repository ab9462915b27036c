-- What it does: says who may do what: row level security and grants of both tables, what an
--   instructor may write into her rows, and what the service role needs of lessons.
-- Needs: 004.
-- Locks: both tables, access exclusive for a moment (policies).
-- Undo: down/005_access.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Asked row by row, on purpose: of "in" and "exists" Postgres makes a list of all her lessons first,
-- every time that she looks at one.
drop policy if exists "Instructors can manage their own asset tracking records" on public.mux_asset_tracking;
create policy "Instructors can manage their own asset tracking records" on public.mux_asset_tracking
  for all to authenticated
  using ((select l.creator_id from public.lessons l where l.id = mux_asset_tracking.lesson_id) = (select auth.uid()))
  with check ((select l.creator_id from public.lessons l where l.id = mux_asset_tracking.lesson_id) = (select auth.uid()));

drop policy if exists "Service role has full access" on public.mux_asset_tracking;
create policy "Service role has full access" on public.mux_asset_tracking
  for all to service_role using (true) with check (true);

drop policy if exists "Instructors can read the events of their own lessons" on public.mux_asset_events;
create policy "Instructors can read the events of their own lessons" on public.mux_asset_events
  for select to authenticated
  using (creator_id = (select auth.uid())
         and (select l.creator_id from public.lessons l where l.id = mux_asset_events.lesson_id) = (select auth.uid()));

drop policy if exists "Service role can read all events" on public.mux_asset_events;
create policy "Service role can read all events" on public.mux_asset_events
  for select to service_role using (true);

-- Policies say which rows, column grants which columns; this says which values. Its name sorts
-- before the trigger that restarts an upload, so it sees the values as they were written.
create or replace function mux_private.guard_tracking() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if pg_has_role(current_user, (select c.relowner from pg_catalog.pg_class c where c.oid = tg_relid), 'usage') then
    return new;
  end if;
  if new.status <> 'processing' and (tg_op = 'INSERT' or new.status <> old.status) then
    raise insufficient_privilege using
      message = format('status %s is the worker''s to write', new.status),
      hint = 'Write processing: the worker looks at the upload and says what became of it.';
  end if;
  if tg_op = 'UPDATE' and new.lesson_id <> old.lesson_id then
    raise insufficient_privilege using
      message = 'lesson_id of a tracking row cannot be changed',
      hint = 'Delete the row and insert one for the other lesson.';
  end if;
  if greatest(length(new.upload_id), length(new.temp_asset_id)) > 1000 then
    raise string_data_right_truncation using
      message = 'upload_id and temp_asset_id have at most 1000 characters';
  end if;
  return new;
end
$$;
comment on function mux_private.guard_tracking() is
  'Trigger: lets only the service role and the owner write another status than processing, move a row to another lesson, or store a text of any length.';
revoke execute on function mux_private.guard_tracking() from public, anon, authenticated;

create or replace trigger guard_tracking
  before insert or update on public.mux_asset_tracking for each row
  when (not pg_has_role(current_user, 'service_role', 'member'))
  execute function mux_private.guard_tracking();

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

insert into mux_private.applied_files (name) values ('005_access') on conflict do nothing;

commit;
