-- What it does: makes what the app calls for a signed-in user: check_asset_status and track_upload.
--   What is wrong is answered with the HTTP status 400, 401 or 404.
-- Needs: 050, 056.
-- Locks: none. (track_upload locks the lesson, then writes the tracking row.)
-- Undo: down/090_app.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- If lessons have no owner, no user can call: the app does on its server, with the service role.
create or replace function mux_private.app_user(p_function text) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  claims constant jsonb := auth.jwt();
begin
  if mux_private.lesson_options() ->> 'owner' is null then
    if claims ->> 'role' is distinct from 'service_role' then
      raise sqlstate 'PT401' using message = p_function || ' needs the service role';
    end if;
    return null;
  elsif claims ->> 'sub' is null then
    raise sqlstate 'PT401' using message = p_function || ' needs a signed-in user';
  end if;
  return claims ->> 'sub';
end
$$;
comment on function mux_private.app_user is 'The signed-in user, who may ask for lessons with this owner; null for the service role, where lessons have no owner. Raises PT401 for anybody else.';

-- Security definer: users may not read the schedule. It checks the owner itself.
create or replace function mux_private.app_check_status(p_lesson_id text) returns jsonb
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  app_user constant text := mux_private.app_user('check_asset_status');
  lesson mux_private.lesson := mux_private.lesson(mux_private.lesson_key(p_lesson_id));
  result jsonb;
begin
  if p_lesson_id is null then
    raise sqlstate 'PT400' using message = 'check_asset_status needs lesson_id';
  end if;
  if lesson.id is null or lesson.owner is distinct from app_user then
    raise sqlstate 'PT404' using message = 'there is no such lesson of yours';
  end if;
  select jsonb_build_object(
    'status', coalesce(t.status::text, 'unknown'),
    'playbackId', case when t.status = 'ready' and not unplayable.is_so then t.mux_playback_id end,
    'error', case when t.status = 'error' or unplayable.is_so
      then jsonb_build_object(
        'message', coalesce(nullif(btrim(t.error_message), ''), 'The video could not be processed. Upload it again.'),
        'type', t.error_type) end,
    'stuck', coalesce(t.status = 'processing' and coalesce(t.tracked_at, t.updated_at) < now() - interval '30 minutes', false),
    'progress', s.progress,
    'checkedAt', coalesce(s.last_checked_at, t.settled_at),
    'durationSeconds', t.duration_seconds,
    'aspectRatio', t.aspect_ratio,
    'maxResolution', t.max_resolution
  ) into result
  from (values (1)) one
  left join public.mux_asset_tracking t on t.lesson_id = lesson.id
  left join mux_private.schedule s on s.tracking_id = t.id
  cross join lateral (
    select coalesce(t.status = 'ready' and t.error_type in ('playback_ids_withdrawn', 'asset_deleted'), false) as is_so
  ) unplayable;
  return result;
end
$$;
comment on function mux_private.app_check_status is 'Does what check_asset_status promises, with the owner''s rights.';

-- The names in a body of SQL are resolved when it is made: its caller needs no usage of the private
-- schema.
create or replace function public.check_asset_status(lesson_id text default null) returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return mux_private.app_check_status($1);
comment on function public.check_asset_status(text) is
  'For the app: how far the video of a lesson of one''s own is: {status, playbackId, error: {message, type}, stuck, progress, checkedAt, durationSeconds, aspectRatio, maxResolution}. status is processing, ready, error, or unknown where nothing is tracked; message says what happened and what to do, and is never null; stuck is processing for over half an hour; progress is how far Mux is with encoding, in per cent, where it says so. A lesson whose video can no longer be played is ready, without playbackId and with the error. 404 for a lesson of another user.';

-- Locked before anything else is: what a form saves at the same moment comes before or after.
create or replace function mux_private.app_own_lesson(p_function text, p_lesson_id text) returns mux_private.lesson
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  app_user constant text := mux_private.app_user(p_function);
  key constant mux_private.lesson.id%type := mux_private.lesson_key(p_lesson_id);
  lesson mux_private.lesson;
begin
  if p_lesson_id is null then
    raise sqlstate 'PT400' using message = p_function || ' needs lesson_id';
  end if;
  if mux_private.owner_of(key) is not distinct from app_user then
    lesson := mux_private.lock_lesson(key, false);
  end if;
  if lesson.id is null or lesson.owner is distinct from app_user then
    raise sqlstate 'PT404' using message = 'there is no such lesson of yours';
  end if;
  return lesson;
end
$$;
comment on function mux_private.app_own_lesson is 'A lesson of one''s own, locked until the end of the transaction. Raises PT401, PT400 or PT404, with the name of the function that was called.';

-- Security definer: locking a lesson requires the right to change it, which an instructor may lack.
create or replace function mux_private.app_lock_lesson(p_lesson_id text, p_upload_id text, p_temp_asset_id text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  perform mux_private.app_own_lesson('track_upload', p_lesson_id);
  if mux_private.is_mux_id(p_upload_id) is not true then
    raise sqlstate 'PT400' using
      message = 'upload_id is not the id of a Mux upload',
      hint = 'It is the id that Mux gave when the upload was created, not its URL and not a temp_ id.';
  end if;
  if p_temp_asset_id !~ '^temp_[A-Za-z0-9_-]{1,255}$' then
    raise sqlstate 'PT400' using message = 'temp_asset_id does not begin with temp_ or is no id';
  end if;
end
$$;
comment on function mux_private.app_lock_lesson is 'Locks a lesson of one''s own until the end of the transaction, to track an upload for it. Raises what is wrong.';

-- With the rights of its caller, for grants, policies and triggers.
create or replace function mux_private.app_track_upload(
  p_lesson_id mux_private.lesson.id%type, p_upload_id text, p_temp_asset_id text
) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  insert into public.mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, updated_at)
  values (p_lesson_id, p_upload_id, p_temp_asset_id, 'processing', now())
  on conflict (lesson_id) do update
  set upload_id = excluded.upload_id, temp_asset_id = excluded.temp_asset_id,
      status = excluded.status, updated_at = excluded.updated_at;
end
$$;
comment on function mux_private.app_track_upload is 'Begins to track an upload for a lesson, with the rights of its caller.';

create or replace function public.track_upload(
  lesson_id text default null, upload_id text default null, temp_asset_id text default null
) returns jsonb
language sql set search_path = public, extensions, pg_temp
begin atomic
  select mux_private.app_lock_lesson($1, $2, $3);
  select mux_private.app_track_upload(mux_private.lesson_key($1), $2, $3);
  select mux_private.app_check_status($1);
end;
comment on function public.track_upload(text, text, text) is
  'For the app: begins to wait for the video of a lesson of one''s own (where lessons have no owner: of any, by the service role), or starts over with another upload. A published lesson keeps its old video until the new one is ready. Answers as check_asset_status does.';

insert into mux_private.applied_files (name) values ('090_app') on conflict do nothing;

commit;
