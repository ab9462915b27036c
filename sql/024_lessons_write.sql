-- What it does: the last part of the adapter: the functions that lock a lesson and write into it, and
--   the trigger function for a lesson that is deleted. It grants the service role what the worker
--   reads and writes of the table.
--   Printed by: mux-worker sql
-- Needs: 022. (A function that it makes writes the table of 034.)
-- Locks: none.
-- Undo: down/024_lessons_write.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Read after it is locked, parents included: what was committed meanwhile counts.
create or replace function mux_private.lock_lesson(p_lesson_id mux_private.lesson.id%type, p_skip_locked boolean) returns mux_private.lesson
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_skip_locked then
    perform from public.lessons l where l.id = p_lesson_id for no key update of l skip locked;
  else
    perform from public.lessons l where l.id = p_lesson_id for no key update of l;
  end if;
  if not found then
    return null;
  end if;
  return mux_private.lesson(p_lesson_id);
end
$$;
comment on function mux_private.lock_lesson is
  'Locks a lesson until the end of the transaction, and reads it; null where there is none, or where it is locked and p_skip_locked.';

-- Security definer: the user who deletes a lesson may not write the history. (034 makes the trigger.)
create or replace function mux_private.close_upload_history() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set lesson_id = null where h.lesson_id = old.id;
  return null;
end
$$;
comment on function mux_private.close_upload_history is 'Trigger: closes the upload history of a lesson that is deleted.';

create or replace function mux_private.write_video(
  p_lesson_id mux_private.lesson.id%type, p_publish boolean, p_asset_id text, p_playback_id text
) returns text
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  wanted_status text := case when p_publish then 'published' else (mux_private.lesson(p_lesson_id)).status end;
  found_status text;
  found_asset_id text;
  found_playback_id text;
begin
  if p_publish then
    update public.lessons l
    set status = 'published', mux_asset_id = p_asset_id, mux_playback_id = p_playback_id, updated_at = now()
    where l.id = p_lesson_id
    returning l.status::text, l.mux_asset_id, l.mux_playback_id into found_status, found_asset_id, found_playback_id;
  else
    update public.lessons l
    set mux_asset_id = p_asset_id, mux_playback_id = p_playback_id, updated_at = now()
    where l.id = p_lesson_id
    returning l.status::text, l.mux_asset_id, l.mux_playback_id into found_status, found_asset_id, found_playback_id;
  end if;
  -- A trigger of the app may swallow an update, or turn it into another, without an error.
  if not found then
    raise exception 'lesson should have its video now and is not updated' using errcode = 'triggered_data_change_violation';
  elsif found_status is distinct from wanted_status then
    raise exception 'lesson should be % now and is %', coalesce(wanted_status, 'null'), coalesce(found_status, 'null')
      using errcode = 'triggered_data_change_violation';
  elsif (found_asset_id, found_playback_id) is distinct from (p_asset_id, p_playback_id) then
    raise exception 'lesson should play as % now and plays as %', p_playback_id, coalesce(found_playback_id, 'nothing')
      using errcode = 'triggered_data_change_violation';
  end if;
  return found_status;
end
$$;
comment on function mux_private.write_video is
  'Writes a video into a lesson that the caller has locked, publishes it if p_publish, and returns its status afterwards.';

-- "explain" checks what a statement may read and write, that of policies included, and does not run it.
create or replace function mux_private.lessons_denied() returns text
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  plan text;
begin
  for plan in
    explain update public.lessons l set status = l.status, mux_asset_id = l.mux_asset_id, mux_playback_id = l.mux_playback_id, updated_at = l.updated_at
    where l.id is null
    returning l.id, l.creator_id, l.status, l.mux_asset_id, l.mux_playback_id, l.updated_at
  loop
    null;
  end loop;
  return null;
exception when others then
  return sqlerrm;
end
$$;
comment on function mux_private.lessons_denied() is 'Why the caller cannot read and write lessons as the worker does; null if it can.';

grant select (id, creator_id, status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to service_role;
grant update (status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to service_role;
do $$
begin
  if exists (
    select from pg_attribute a
    where a.attrelid = mux_private.lessons_table() and a.attname = 'title' and not a.attisdropped
  ) then
    grant select (title) on public.lessons to service_role;
  end if;
end
$$;

insert into mux_private.applied_files (name) values ('024_lessons_write') on conflict do nothing;

commit;
