-- What it does: makes publish_lesson, with which the app publishes a lesson by hand. What is wrong is
--   answered with the HTTP status 400, 401, 404 or 409.
-- Needs: 052, 056, 090.
-- Locks: none. (publish_lesson locks lesson and tracking row, in this order, like all others.)
-- Undo: down/092_publish_lesson.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.app_asset(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case
    when mux_private.is_mux_id(p_lesson.asset_id) then p_lesson.asset_id
    when mux_private.is_mux_id(p_tracking.mux_asset_id) then p_tracking.mux_asset_id
    else p_lesson.asset_id
  end;
end
$$;
comment on function mux_private.app_asset is 'The asset with which a lesson would be published by hand, real or not: its own, else that of its tracking row.';

-- Where the history does not know an asset, only the columns of other lessons say whose it is. In a
-- large table they are read only with the indexes of sql/optional.
create or replace function mux_private.app_is_of_another(
  p_asset_id text, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if exists (
    select from mux_private.upload_history h
    where h.how in ('tracked', 'stood there')
      and (h.mux_id_written = mux_private.as_written(p_asset_id) or h.asset_id_written = mux_private.as_written(p_asset_id))
  ) then
    return mux_private.is_of_another(p_tracking, p_lesson.owner, null, p_asset_id);
  end if;
  -- A thousand may be all copies, and the lesson that was copied is not among them.
  return mux_private.lessons_are_searchable() and (
    select count(*) = 1000 or coalesce(bool_or(l.asset_id = p_asset_id and l.owner is distinct from p_lesson.owner), false)
    from mux_private.lessons_holding(array[p_asset_id], 1000) l
  );
end
$$;
comment on function mux_private.app_is_of_another is 'Whether an asset is the video of another instructor''s lesson.';

create or replace function mux_private.app_is_current(
  p_asset_id text, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return p_tracking.id is null or coalesce(p_tracking.mux_asset_id = p_asset_id, false)
    or coalesce((mux_private.entry_of(p_lesson.id, p_asset_id)).id = (mux_private.newest_entry(p_lesson.id)).id, false);
end
$$;
comment on function mux_private.app_is_current is 'Whether an asset is that of the upload that a lesson tracks, or nothing is tracked.';

create or replace function mux_private.app_require_newest(
  p_asset_id text, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns void
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if not mux_private.app_is_current(p_asset_id, p_lesson, p_tracking)
     and (p_tracking.status = 'ready' or (mux_private.entry_of(p_lesson.id, p_asset_id)).id is not null) then
    raise sqlstate 'PT409' using
      message = 'the lesson has a newer video than this one',
      hint = 'To go back to the older video, delete the lesson''s row of mux_asset_tracking, then publish again.';
  end if;
end
$$;
comment on function mux_private.app_require_newest is 'Raises PT409 if an asset with which a lesson is to be published is older than the upload that it tracks.';

create or replace function mux_private.app_require_video(
  p_asset_id text, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns void
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if coalesce(p_asset_id, '') = '' then
    raise sqlstate 'PT400' using message = 'the lesson has no video yet', hint = 'Upload one and track its upload.';
  end if;
  if not mux_private.is_mux_id(p_asset_id) then
    raise sqlstate 'PT400' using
      message = 'the lesson has only a temporary asset id',
      hint = 'Track its upload: the lesson is published when the video is ready.';
  end if;
  if p_tracking.status <> 'processing' and p_tracking.mux_asset_id = p_asset_id
     and p_tracking.error_type in ('asset_errored', 'asset_not_found', 'mux_rejected', 'lesson_mismatch',
                                 'playback_ids_withdrawn', 'asset_deleted') then
    raise sqlstate 'PT409' using
      message = 'the video cannot be played',
      hint = coalesce(nullif(btrim(p_tracking.error_message), ''), 'The video could not be processed. Upload it again.');
  end if;
  if mux_private.app_is_of_another(p_asset_id, p_lesson, p_tracking) then
    raise sqlstate 'PT409' using
      message = 'the video belongs to a lesson of another instructor', hint = 'Upload a video of your own.';
  end if;
  if mux_private.was_deleted(p_asset_id) then
    raise sqlstate 'PT409' using
      message = 'the video cannot be played', hint = 'The video was deleted in Mux. Upload it again.';
  end if;
end
$$;
comment on function mux_private.app_require_video is
  'Raises PT400 if a lesson has no real asset to publish by hand, PT409 if Mux has said that it is broken or it belongs to another user.';

-- What waits is due at once. An asset that the history does not know is the newest: it is tracked
-- in place of an upload that is not ready. What is settled is looked at again where the lesson lacks
-- its playback id, or its own asset failed before.
create or replace function mux_private.app_look_soon(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_asset_id text, p_playback_id text
) returns public.mux_asset_tracking
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_tracking.id is null then
    insert into public.mux_asset_tracking as t (lesson_id, upload_id, mux_asset_id)
    values (p_lesson.id, 'migrated', p_asset_id)
    on conflict (lesson_id) do nothing
    returning t.* into p_tracking;
    if found then
      perform mux_private.make_due(p_tracking.id);
      return p_tracking;
    end if;
    -- The app has just begun to track another.
    select t.* into p_tracking from public.mux_asset_tracking t where t.lesson_id = p_lesson.id for no key update;
    perform mux_private.app_require_newest(p_asset_id, p_lesson, p_tracking);
  end if;
  if not mux_private.app_is_current(p_asset_id, p_lesson, p_tracking) then
    perform mux_private.enter_upload(p_lesson.id, p_asset_id, p_tracking.id, p_asset_id);
    update public.mux_asset_tracking t
    set upload_id = 'migrated', mux_asset_id = p_asset_id, status = 'processing', tracked_at = now(), updated_at = now()
    where t.id = p_tracking.id;
  elsif p_tracking.status = 'error' or (p_tracking.status = 'ready' and mux_private.is_mux_id(p_playback_id) is not true) then
    update public.mux_asset_tracking t
    set status = 'processing', tracked_at = now(), updated_at = now()
    where t.id = p_tracking.id;
  end if;
  perform mux_private.make_due(p_tracking.id);  -- also what would be left to webhooks
  select t.* into p_tracking from public.mux_asset_tracking t where t.lesson_id = p_lesson.id;
  return p_tracking;
end
$$;
comment on function mux_private.app_look_soon is 'Has the worker look at a lesson''s asset in its next scan, beginning to track it if nothing did.';

-- Security definer: it writes the audit, and columns of lesson and tracking row that the user may not
-- write. It checks the owner itself.
create or replace function mux_private.app_publish(p_lesson_id text) returns jsonb
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  lesson mux_private.lesson := mux_private.app_own_lesson('publish_lesson', p_lesson_id);
  tracking public.mux_asset_tracking;
  asset_id text;
  playback_id text;
  found_status text;
  is_published boolean;
  changes boolean;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update;

  asset_id := mux_private.app_asset(lesson, tracking);
  perform mux_private.app_require_video(asset_id, lesson, tracking);
  perform mux_private.app_require_newest(asset_id, lesson, tracking);
  playback_id := case
    when tracking.mux_asset_id = asset_id and mux_private.is_mux_id(tracking.mux_playback_id) then tracking.mux_playback_id
    when lesson.asset_id = asset_id or mux_private.is_mux_id(lesson.playback_id) is not true then lesson.playback_id
  end;  -- never a real one that came with another asset

  -- Where nothing says what is published, only the ids are written.
  is_published := lesson.is_published or mux_private.lesson_options() ->> 'status' is null;
  changes := not is_published or (lesson.asset_id, lesson.playback_id) is distinct from (asset_id, playback_id);
  if changes then
    begin
      found_status := mux_private.write_video(lesson.id, true, asset_id, playback_id);
    exception when triggered_data_change_violation then
      raise sqlstate 'PT409' using message = format('a rule of the app keeps the lesson %s', coalesce(lesson.status, 'as it is'));
    end;
  end if;
  tracking := mux_private.app_look_soon(lesson, tracking, asset_id, playback_id);
  if changes then
    tracking.mux_asset_id := asset_id;
    tracking.mux_playback_id := case when mux_private.is_mux_id(playback_id) then playback_id end;
    perform mux_private.record_event(
      case when is_published then 'attached' else 'published' end,
      tracking, tracking.status, lesson.status, found_status, 'by_hand');
  end if;
  return jsonb_build_object('playable', coalesce(mux_private.is_mux_id(playback_id), false));
end
$$;
comment on function mux_private.app_publish is 'Does what publish_lesson promises, with the owner''s rights.';

create or replace function public.publish_lesson(lesson_id text default null) returns jsonb
language sql set search_path = public, extensions, pg_temp
return mux_private.app_publish($1);
comment on function public.publish_lesson(text) is
  'For the app: publishes a lesson of one''s own by hand, with the real asset id that is known of it, and has the worker fill in or repair its playback id. Answers {playable}: whether the lesson has a real playback id already. 400 without a video, 404 for a lesson of another user, 409 if Mux has said that the video is broken.';

insert into mux_private.applied_files (name) values ('092_publish_lesson') on conflict do nothing;

commit;
