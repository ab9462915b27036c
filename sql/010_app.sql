-- What it does: makes what the app calls in the browser's name: track_upload, check_asset_status
--   and publish_lesson. Each tells by its HTTP status what is wrong: 400, 401, 404 or 409.
-- Needs: 005.
-- Locks: none. (publish_lesson locks lesson and tracking row, in this order, like all others.)
-- Undo: down/010_app.sql

begin;
set local lock_timeout = '5s';

-- Security definer: the schedule is nobody's to read. Whose lesson it is, it checks itself.
create or replace function mux_private.app_check_status(lesson_id uuid) returns jsonb
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  result jsonb;
begin
  if auth.uid() is null then
    raise sqlstate 'PT401' using message = 'check_asset_status needs a signed-in user';
  end if;
  if app_check_status.lesson_id is null then
    raise sqlstate 'PT400' using message = 'check_asset_status needs lesson_id';
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
  from public.lessons l
  left join public.mux_asset_tracking t on t.lesson_id = l.id
  left join mux_private.schedule s on s.tracking_id = t.id
  cross join lateral (
    select coalesce(t.status = 'ready' and t.error_type in ('playback_ids_withdrawn', 'asset_deleted'), false) as is_so
  ) unplayable
  where l.id = app_check_status.lesson_id and l.creator_id = auth.uid();
  if not found then
    raise sqlstate 'PT404' using message = 'there is no such lesson of yours';
  end if;
  return result;
end
$$;
comment on function mux_private.app_check_status is 'Does what check_asset_status promises, with the owner''s rights.';

-- A body of SQL is resolved when it is made: who may call this needs no way into the private schema.
create or replace function public.check_asset_status(lesson_id uuid default null) returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return mux_private.app_check_status($1);
comment on function public.check_asset_status(uuid) is
  'For the app: how far the video of a lesson of one''s own is: {status, playbackId, error: {message, type}, stuck, progress, checkedAt, durationSeconds, aspectRatio, maxResolution}. status is processing, ready, error, or unknown where nothing is tracked; message says what happened and what to do, and is never null; stuck is processing for over half an hour; progress is how far Mux is with encoding, in per cent, where it says so. A lesson whose video can no longer be played is ready, without playbackId and with the error. 404 for a lesson of another user.';

-- Security definer: to lock a lesson takes the right to change it, which an instructor may lack. The
-- lesson comes first, as everywhere: what the form saves at the same moment comes before or after.
create or replace function mux_private.app_lock_lesson(lesson_id uuid) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  perform 1 from public.lessons l
  where l.id = app_lock_lesson.lesson_id and l.creator_id = auth.uid() for no key update;
end
$$;
comment on function mux_private.app_lock_lesson is 'Locks a lesson of one''s own until the end of the transaction.';

create or replace function mux_private.app_track_upload(
  lesson_id uuid, upload_id text, temp_asset_id text
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  if auth.uid() is null then
    raise sqlstate 'PT401' using message = 'track_upload needs a signed-in user';
  end if;
  if app_track_upload.lesson_id is null then
    raise sqlstate 'PT400' using message = 'track_upload needs lesson_id and upload_id';
  end if;
  if (app_track_upload.upload_id ~ '^[A-Za-z0-9_-]{1,255}$' and app_track_upload.upload_id !~ '^(temp_.*|migrated)$') is not true then
    raise sqlstate 'PT400' using
      message = 'upload_id is not the id of a Mux upload',
      hint = 'It is the id that Mux gave when the upload was created, not its URL and not a temp_ id.';
  end if;
  if app_track_upload.temp_asset_id !~ '^temp_[A-Za-z0-9_-]{1,255}$' then
    raise sqlstate 'PT400' using message = 'temp_asset_id does not begin with temp_ or is no id';
  end if;
  perform 1 from public.lessons l where l.id = app_track_upload.lesson_id and l.creator_id = (select auth.uid());
  if not found then
    raise sqlstate 'PT404' using message = 'there is no such lesson of yours';
  end if;

  insert into public.mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, updated_at)
  values (app_track_upload.lesson_id, app_track_upload.upload_id, app_track_upload.temp_asset_id, 'processing', now())
  on conflict (lesson_id) do update
  set upload_id = excluded.upload_id, temp_asset_id = excluded.temp_asset_id,
      status = excluded.status, updated_at = excluded.updated_at;
  return public.check_asset_status(app_track_upload.lesson_id);
end
$$;
comment on function mux_private.app_track_upload is 'Does what track_upload promises, with the rights of its caller.';

create or replace function public.track_upload(
  lesson_id uuid default null, upload_id text default null, temp_asset_id text default null
) returns jsonb
language sql set search_path = public, extensions, pg_temp
begin atomic
  select mux_private.app_lock_lesson($1);
  select mux_private.app_track_upload($1, $2, $3);
end;
comment on function public.track_upload(uuid, text, text) is
  'For the app: begins to wait for the video of a lesson of one''s own, or starts over with another upload. A published lesson keeps its old video until the new one is ready. Answers as check_asset_status does.';

-- (A body of SQL would keep the app from changing these columns.)
create or replace function mux_private.app_asset(
  lesson mux_private.lesson, tracking public.mux_asset_tracking
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case
    when mux_private.is_mux_id(lesson.asset_id) then lesson.asset_id
    when mux_private.is_mux_id(tracking.mux_asset_id) then tracking.mux_asset_id
    else lesson.asset_id
  end;
end
$$;
comment on function mux_private.app_asset is 'The asset with which a lesson would be published by hand, real or not: its own, else that of its tracking row.';

-- Where the history does not know an asset, only what other lessons say of themselves is left to go by.
create or replace function mux_private.app_is_of_another(
  p_asset_id text, lesson mux_private.lesson, tracking public.mux_asset_tracking
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if exists (
    select from mux_private.upload_history h
    where h.mux_id_written = mux_private.as_written(p_asset_id)
       or h.asset_id_written = mux_private.as_written(p_asset_id)
  ) then
    return mux_private.is_of_another(tracking, lesson.owner::uuid, null, p_asset_id);
  end if;
  return exists (
    select 1 from public.lessons l
    where l.mux_asset_id = p_asset_id and l.creator_id::text is distinct from lesson.owner
  );
end
$$;
comment on function mux_private.app_is_of_another is 'Whether an asset is the video of another instructor''s lesson.';

create or replace function mux_private.app_is_current(
  asset_id text, lesson mux_private.lesson, tracking public.mux_asset_tracking
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return tracking.id is null or coalesce(tracking.mux_asset_id = asset_id, false)
    or coalesce((mux_private.entry_of(lesson.id, asset_id)).id = (mux_private.newest_entry(lesson.id)).id, false);
end
$$;
comment on function mux_private.app_is_current is 'Whether an asset is that of the upload that a lesson tracks, or nothing is tracked.';

create or replace function mux_private.app_require_newest(
  asset_id text, lesson mux_private.lesson, tracking public.mux_asset_tracking
) returns void
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if not mux_private.app_is_current(asset_id, lesson, tracking)
     and (tracking.status = 'ready' or (mux_private.entry_of(lesson.id, asset_id)).id is not null) then
    raise sqlstate 'PT409' using
      message = 'the lesson has a newer video than this one',
      hint = 'To go back to the older video, delete the lesson''s row of mux_asset_tracking, then publish again.';
  end if;
end
$$;
comment on function mux_private.app_require_newest is 'Raises PT409 if a lesson shall be published with an asset that is older than the upload that it tracks.';

create or replace function mux_private.app_require_video(
  asset_id text, lesson mux_private.lesson, tracking public.mux_asset_tracking
) returns void
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if coalesce(asset_id, '') = '' then
    raise sqlstate 'PT400' using message = 'the lesson has no video yet', hint = 'Upload one and track its upload.';
  end if;
  if not mux_private.is_mux_id(asset_id) then
    raise sqlstate 'PT400' using
      message = 'the lesson has only a temporary asset id',
      hint = 'Track its upload: the lesson is published when the video is ready.';
  end if;
  if tracking.status <> 'processing' and tracking.mux_asset_id = asset_id
     and tracking.error_type in ('asset_errored', 'asset_not_found', 'mux_rejected', 'lesson_mismatch',
                                 'playback_ids_withdrawn', 'asset_deleted') then
    raise sqlstate 'PT409' using
      message = 'the video cannot be played',
      hint = coalesce(nullif(btrim(tracking.error_message), ''), 'The video could not be processed. Upload it again.');
  end if;
  if mux_private.app_is_of_another(asset_id, lesson, tracking) then
    raise sqlstate 'PT409' using
      message = 'the video belongs to a lesson of another instructor', hint = 'Upload a video of your own.';
  end if;
end
$$;
comment on function mux_private.app_require_video is
  'Raises PT400 if a lesson has no real asset to publish by hand, PT409 if Mux has said that it is broken or it belongs to another user.';

-- Security definer: writes columns of the lesson and the tracking row that are not the user's, and
-- the audit. Whose lesson it is, it checks itself.
create or replace function mux_private.app_publish(lesson_id uuid) returns jsonb
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  lesson mux_private.lesson;
  tracking public.mux_asset_tracking;
  asset_id text;
  playback_id text;
  found_status text;
begin
  if auth.uid() is null then
    raise sqlstate 'PT401' using message = 'publish_lesson needs a signed-in user';
  end if;
  if app_publish.lesson_id is null then
    raise sqlstate 'PT400' using message = 'publish_lesson needs lesson_id';
  end if;
  select l.id, l.creator_id, l.status::text, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300) into lesson from public.lessons l
  where l.id = app_publish.lesson_id and l.creator_id = auth.uid() for no key update;
  if not found then
    raise sqlstate 'PT404' using message = 'there is no such lesson of yours';
  end if;
  select t.* into tracking from public.mux_asset_tracking t
  where t.lesson_id = app_publish.lesson_id for no key update;

  asset_id := mux_private.app_asset(lesson, tracking);
  perform mux_private.app_require_video(asset_id, lesson, tracking);
  perform mux_private.app_require_newest(asset_id, lesson, tracking);
  playback_id := case
    when tracking.mux_asset_id = asset_id and mux_private.is_mux_id(tracking.mux_playback_id) then tracking.mux_playback_id
    when lesson.asset_id = asset_id or mux_private.is_mux_id(lesson.playback_id) is not true then lesson.playback_id
  end;  -- never a real one that came with another asset

  if (lesson.status, lesson.asset_id, lesson.playback_id)
     is distinct from ('published', asset_id, playback_id) then
    update public.lessons l
    set status = 'published', mux_asset_id = asset_id, mux_playback_id = playback_id, updated_at = now()
    where l.id = lesson.id
    returning l.status::text into found_status;
    if found_status is distinct from 'published' then
      raise sqlstate 'PT409' using message = format('a rule of the app keeps the lesson %s', coalesce(found_status, 'as it is'));
    end if;
  end if;
  tracking := mux_private.app_look_soon(lesson, tracking, asset_id, playback_id);
  if found_status is not null then
    tracking.mux_asset_id := asset_id;
    tracking.mux_playback_id := case when mux_private.is_mux_id(playback_id) then playback_id end;
    perform mux_private.record_event(
      case when lesson.status = 'published' then 'attached' else 'published' end,
      tracking, tracking.status, lesson.status, 'published', 'by_hand');
  end if;
  return jsonb_build_object('playable', coalesce(mux_private.is_mux_id(playback_id), false));
end
$$;
comment on function mux_private.app_publish is 'Does what publish_lesson promises, with the owner''s rights.';

-- What waits is due at once. An asset that the history does not know is the newest: it is tracked
-- in place of an upload that is not ready. What is settled is looked at again where the lesson lacks
-- its playback id, or its own asset failed before.
create or replace function mux_private.app_look_soon(
  lesson mux_private.lesson, tracking public.mux_asset_tracking, asset_id text, playback_id text
) returns public.mux_asset_tracking
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  if tracking.id is null then
    insert into public.mux_asset_tracking as t (lesson_id, upload_id, mux_asset_id)
    values (lesson.id, 'migrated', asset_id)
    on conflict (lesson_id) do nothing
    returning t.* into tracking;
    if found then
      return tracking;
    end if;
    -- The app has just begun to track another.
    select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update;
    perform mux_private.app_require_newest(asset_id, lesson, tracking);
  end if;
  if not mux_private.app_is_current(asset_id, lesson, tracking) then
    perform mux_private.enter_upload(lesson.id, asset_id, tracking.id, asset_id);
    update public.mux_asset_tracking t
    set upload_id = 'migrated', mux_asset_id = asset_id, status = 'processing', tracked_at = now(), updated_at = now()
    where t.id = tracking.id;
  elsif tracking.status = 'processing' then
    perform mux_private.make_due(tracking.id);
  elsif mux_private.is_mux_id(playback_id) is not true or tracking.status = 'error' then
    update public.mux_asset_tracking t
    set status = 'processing', tracked_at = now(), updated_at = now()
    where t.id = tracking.id;
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id;
  return tracking;
end
$$;
comment on function mux_private.app_look_soon is 'Has the worker look at a lesson''s asset in its next scan, beginning to track it if nothing did.';

create or replace function public.publish_lesson(lesson_id uuid default null) returns jsonb
language sql set search_path = public, extensions, pg_temp
return mux_private.app_publish($1);
comment on function public.publish_lesson(uuid) is
  'For the app: publishes a lesson of one''s own by hand, with the real asset id that is known of it, and has the worker fill in or repair its playback id. Answers {playable}: whether the lesson has a real playback id already. 400 without a video, 404 for a lesson of another user, 409 if Mux has said that the video is broken.';

revoke execute on function
  public.check_asset_status(uuid), public.track_upload(uuid, text, text), public.publish_lesson(uuid),
  mux_private.app_asset, mux_private.app_is_of_another, mux_private.app_is_current, mux_private.app_require_video,
  mux_private.app_require_newest, mux_private.app_look_soon, mux_private.app_publish, mux_private.app_lock_lesson,
  mux_private.app_track_upload,
  mux_private.app_check_status
  from public, anon, authenticated, service_role;
grant execute on function
  public.check_asset_status(uuid), public.track_upload(uuid, text, text), public.publish_lesson(uuid),
  mux_private.app_publish, mux_private.app_lock_lesson, mux_private.app_track_upload,
  mux_private.app_check_status
  to authenticated;

insert into mux_private.applied_files (name) values ('010_app') on conflict do nothing;

commit;
