-- What it does: makes the policies of mux_asset_tracking and mux_asset_events, and a trigger that
--   checks what an instructor writes into a row. (Grants are in 900.)
-- Needs: 032.
-- Locks: mux_asset_tracking and mux_asset_events, access exclusive for a moment (policies, trigger).
-- Undo: down/040_access.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Checked row by row: the function may have to read the lesson's parents to find its owner.
drop policy if exists "Instructors can manage their own asset tracking records" on public.mux_asset_tracking;
drop policy if exists "Instructors can read the events of their own lessons" on public.mux_asset_events;
do $$
begin
  if mux_private.lesson_options() ->> 'owner' is not null then
    create policy "Instructors can manage their own asset tracking records" on public.mux_asset_tracking
      for all to authenticated
      using (mux_private.is_owner(lesson_id, (select auth.jwt()) ->> 'sub'))
      with check (mux_private.is_owner(lesson_id, (select auth.jwt()) ->> 'sub'));
    create policy "Instructors can read the events of their own lessons" on public.mux_asset_events
      for select to authenticated
      using (owner = (select auth.jwt()) ->> 'sub' and mux_private.is_owner(lesson_id, (select auth.jwt()) ->> 'sub'));
  end if;
end
$$;

drop policy if exists "Service role has full access" on public.mux_asset_tracking;
create policy "Service role has full access" on public.mux_asset_tracking
  for all to service_role using (true) with check (true);

drop policy if exists "Service role can read all events" on public.mux_asset_events;
create policy "Service role can read all events" on public.mux_asset_events
  for select to service_role using (true);

-- Policies restrict rows, and column grants columns; this restricts values. Its name sorts before the
-- trigger that restarts an upload, so it sees the values as they were written.
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
  if length(new.lesson_id::text) > 300 then
    raise string_data_right_truncation using message = 'lesson_id has at most 300 characters';
  end if;
  if greatest(length(new.upload_id), length(new.temp_asset_id)) > 1000 then
    raise string_data_right_truncation using
      message = 'upload_id and temp_asset_id have at most 1000 characters';
  end if;
  -- By the clock of the database: in a row from before the worker ages are counted from here, and a
  -- time of the user's, such as infinity, would fail every claim and list that has the row.
  if tg_op = 'INSERT' or new.updated_at is distinct from old.updated_at then
    new.updated_at := now();
  end if;
  return new;
end
$$;
comment on function mux_private.guard_tracking() is
  'Trigger: lets only the service role, the worker''s own role and the owner write another status than processing, move a row to another lesson, store a text of any length, or choose updated_at.';

create or replace trigger guard_tracking
  before insert or update on public.mux_asset_tracking for each row
  when (not pg_has_role(current_user, 'service_role', 'member') and current_user <> 'mux_worker')
  execute function mux_private.guard_tracking();

insert into mux_private.applied_files (name) values ('040_access') on conflict do nothing;

commit;
