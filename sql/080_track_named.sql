-- What it does: makes the parts of adopting a lesson: what it names, tracking that, restoring what the
--   app overwrote, and worker_rivals, which finds the other lessons that hold the same ids.
-- Needs: 052, 054, 071.
-- Locks: none. (The functions lock lesson, tracking row and schedule, in this order.)
-- Undo: down/080_track_named.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- What the lesson names, where its history does not know it; then what is tracked.
create or replace function mux_private.targets(
  p_lesson_id mux_private.lesson.id%type, p_asset_id text, p_playback_id text, p_tracking public.mux_asset_tracking
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  named text := mux_private.named_by(p_asset_id, p_playback_id);
  newest mux_private.upload_history := mux_private.newest_entry(p_lesson_id);
  targets jsonb := '[]';
begin
  if named is not null and (
       p_tracking.id is null and newest.id is null
       or mux_private.names_newer(p_tracking, p_asset_id, p_playback_id, null, null)) then
    targets := jsonb_build_array(jsonb_build_object(
      'id', named, 'kind', case when named = p_asset_id then 'asset' else 'either' end,
      'found_in', case when named = p_asset_id then 'lesson' else 'temporary id' end));
  end if;
  if mux_private.is_mux_id(p_tracking.upload_id) then
    return targets || jsonb_build_object('id', p_tracking.upload_id, 'kind', 'either', 'found_in', 'tracking row');
  elsif p_tracking.id is not null then
    named := coalesce(mux_private.named_id(p_tracking.upload_id), mux_private.named_id(p_tracking.temp_asset_id));
    return targets
      || case when named is null then '[]' else jsonb_build_array(jsonb_build_object('id', named, 'kind', 'either', 'found_in', 'tracking row')) end
      || case when mux_private.is_mux_id(p_tracking.mux_asset_id) then jsonb_build_array(jsonb_build_object(
           'id', p_tracking.mux_asset_id, 'kind', 'asset', 'found_in', 'tracking row')) else '[]' end;
  elsif newest.id is not null then
    return targets || jsonb_build_object('id', newest.mux_id, 'kind', 'either', 'found_in', 'upload history');
  end if;
  return targets;
end
$$;
comment on function mux_private.targets is 'The ids that Mux is asked for on behalf of a lesson, the one that counts first: {id, kind, found_in}.';

-- A lesson plays what it can: a form that was left open may save a placeholder, or an older video,
-- over its ids. Its status comes back once for each upload: an instructor who unpublishes it after
-- that means it. Null where there is nothing to restore. The caller has locked both rows.
create or replace function mux_private.restore(p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  is_ready boolean := coalesce(p_tracking.status = 'ready' and p_tracking.error_type is null, false)
    and mux_private.is_mux_id(p_tracking.mux_playback_id) and not mux_private.was_deleted(p_tracking.mux_asset_id);
  video mux_private.upload_history := case
    when is_ready then mux_private.entry_of(p_lesson.id, mux_private.key_of(p_tracking.upload_id, p_tracking.mux_asset_id))
    else mux_private.newest_playable(p_lesson.id) end;
  plays boolean := mux_private.is_mux_id(p_lesson.asset_id) and mux_private.is_mux_id(p_lesson.playback_id)
    and not mux_private.was_deleted(p_lesson.asset_id);
  publishes boolean := false;
  found_status text;
begin
  if is_ready then
    video.asset_id := p_tracking.mux_asset_id;
    video.playback_id := p_tracking.mux_playback_id;
  end if;
  if video.playback_id is null or (p_lesson.asset_id, p_lesson.playback_id) is not distinct from (video.asset_id, video.playback_id)
     or (plays and not is_ready)
     or mux_private.is_of_another(p_tracking, p_lesson.owner, null, video.asset_id) then
    return null;
  end if;
  if p_lesson.is_draft and (is_ready or video.was_published) and video.restored_at is null then
    publishes := true;
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

create or replace function mux_private.lease_adopted(p_tracking_id uuid, p_lease_seconds double precision) returns timestamptz
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  leased_until timestamptz;
begin
  update mux_private.schedule s
  set next_check_at = now() + make_interval(secs => coalesce(p_lease_seconds, 0))
  where s.tracking_id = p_tracking_id
  returning s.next_check_at into leased_until;
  return leased_until;
end
$$;
comment on function mux_private.lease_adopted is 'Leases an adopted row for a number of seconds, or makes it due at once. Returns until when.';

create or replace function mux_private.begin_to_track(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_upload_id text, p_asset_id text
) returns public.mux_asset_tracking
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  perform mux_private.enter_upload(
    p_lesson.id, mux_private.key_of(p_upload_id, p_asset_id), p_tracking.id, case when p_upload_id = 'migrated' then p_asset_id end);
  insert into public.mux_asset_tracking as t (lesson_id, upload_id, temp_asset_id, mux_asset_id)
  values (p_lesson.id, p_upload_id, case when left(p_lesson.asset_id, 5) = 'temp_' then p_lesson.asset_id end, p_asset_id)
  on conflict (lesson_id) do update
  set upload_id = excluded.upload_id, temp_asset_id = coalesce(excluded.temp_asset_id, t.temp_asset_id),
      mux_asset_id = excluded.mux_asset_id, mux_playback_id = null, status = 'processing', tracked_at = now(),
      updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  return tracking;
end
$$;
comment on function mux_private.begin_to_track is 'Begins to track an upload or asset for a lesson, as its newest. Returns no row if the app has just begun to track another.';

-- One pass over the table for all ids of a chunk, or by the indexes of sql/optional. Other users can
-- read and copy a placeholder, so it does not decide between instructors.
-- A backfill asks for ten thousand ids. A generic plan would compare each lesson with each of them.
create or replace function public.worker_rivals(ids text[] default null) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
declare
  texts text[] := array(select v.text from unnest(ids) i cross join lateral (values (i), ('temp_' || i), ('temp_playback_' || i)) v (text));
  result jsonb;
begin
  with holders as (
    select h.id, h.owner, case
        when h.asset_id = any (texts) then regexp_replace(h.asset_id, '^temp_', '')
        else regexp_replace(h.playback_id, '^temp_playback_', '') end as mux_id
    from mux_private.lessons_holding(texts, null) h
    where h.asset_id = any (texts) and left(h.asset_id, 14) <> 'temp_playback_' or left(h.playback_id, 14) = 'temp_playback_'
  ), counted as (
    select h.mux_id, count(*) as lessons, (array_agg(h.owner))[1] as owner, count(distinct coalesce(h.owner, '')) as owners
    from holders h
    group by h.mux_id
  ), owned as (
    select c.mux_id, case when f.mux_id is null then c.owner else f.owner end as owner,
      f.mux_id is null and c.owners > 1 as is_disputed
    from counted c
    left join mux_private.first_instructors(ids) f on f.mux_id = c.mux_id
    where c.lessons > 1
  ), first_lesson as (
    select distinct on (h.mux_id) h.mux_id, o.is_disputed, h.id, h.owner is not distinct from o.owner as is_theirs, o.owner
    from owned o join holders h on h.mux_id = o.mux_id
    order by h.mux_id, h.owner is distinct from o.owner, h.id
  )
  select coalesce(jsonb_object_agg(f.mux_id, jsonb_build_object(
    'lesson_id', case when f.is_theirs and not f.is_disputed then f.id::text end,
    'owner', case when not f.is_disputed then f.owner end,
    'is_disputed', f.is_disputed)), '{}')
  into result from first_lesson f;
  return result;
end
$$;
comment on function public.worker_rivals is
  'For the worker''s backfill: for each id that several lessons hold, as their asset or in a temporary id, the first lesson by key of the instructor who tracked it first, or of the only one who holds it; is_disputed where lessons of several hold it and none of them has tracked it.';

insert into mux_private.applied_files (name) values ('080_track_named') on conflict do nothing;

commit;
