-- What it does: makes the functions that give a lesson its video back where the app overwrote its ids.
-- Needs: 076, 080.
-- Locks: none.
-- Undo: down/081_restore.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A lesson's status comes back once for each upload: an instructor who unpublishes it after that means
-- it. Null where there is nothing to restore. The caller has locked both rows.
create or replace function mux_private.restore(p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  video mux_private.upload_history := mux_private.video_to_restore(p_lesson, p_tracking);
  publishes boolean := p_lesson.is_draft and video.was_published and video.restored_at is null;
  found_status text;
begin
  if video.playback_id is null then
    return null;
  elsif publishes then
    perform mux_private.note_restored(video.id);
  end if;
  found_status := mux_private.write_video(p_lesson.id, publishes, video.asset_id, video.playback_id);
  p_tracking.mux_asset_id := video.asset_id;
  p_tracking.mux_playback_id := video.playback_id;
  p_tracking.upload_id := case when video.mux_id = video.asset_id then 'migrated' else coalesce(video.mux_id, p_tracking.upload_id) end;
  perform mux_private.record_event('restored', p_tracking, p_tracking.status, p_lesson.status, found_status);
  return mux_private.outcome('restored', p_tracking);
end
$$;
comment on function mux_private.restore is 'Gives a lesson the ids of its newest playable video again, and its status once for each upload.';

create or replace function mux_private.refusal(
  p_lesson_id text, p_code text, p_problem text, p_context text, p_constraint_name text, p_table_name text
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return jsonb_build_object(
    'lesson_id', p_lesson_id, 'outcome', 'refused', 'sqlstate', p_code, 'message', left(p_problem, 500),
    'raised_by', mux_private.raised_by(p_context, p_constraint_name, p_table_name));
end
$$;
comment on function mux_private.refusal is 'The outcome for a lesson that the database would not change.';

-- The older video is no reason to leave the newest one untracked.
create or replace function mux_private.try_to_restore(p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  return mux_private.restore(p_lesson, p_tracking);
exception
  when serialization_failure or deadlock_detected or lock_not_available then raise;
  when assert_failure or others then
    get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
      constraint_name = constraint_name, table_name = table_name;
    return mux_private.refusal(p_lesson.id::text, code, problem, context, constraint_name, table_name);
end
$$;
comment on function mux_private.try_to_restore is 'Does what restore does. Where the database refuses it, returns the outcome refused.';

insert into mux_private.applied_files (name) values ('081_restore') on conflict do nothing;

commit;
