-- What it does: makes what the backfill, and the adoption that runs beside it, need: the walk over
--   lessons that wait for a video and may not be tracked (worker_legacy_lessons, worker_untracked),
--   who else claims their ids (worker_rivals), the one function that begins to track a lesson or
--   gives back what the app overwrote (worker_adopt), and how far a backfill is
--   (worker_backfill_begin, worker_backfill_note, worker_backfill_findings).
-- Needs: 007.
-- Locks: none.
-- Undo: down/013_backfill.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.backfill_runs (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  begun_at timestamptz,
  finished_at timestamptz,
  noted_at timestamptz,
  options jsonb not null default '{}',
  after uuid,
  counts jsonb not null default '{}'
);
comment on table mux_private.backfill_runs is 'How far the last backfill is, so that the next one goes on there. One row.';
comment on column mux_private.backfill_runs.only_row is 'Always true.';
comment on column mux_private.backfill_runs.begun_at is 'When it began.';
comment on column mux_private.backfill_runs.finished_at is 'When it had gone over all lessons; null before.';
comment on column mux_private.backfill_runs.noted_at is 'When it said last how far it was.';
comment on column mux_private.backfill_runs.options is 'The options of the run; with other options a run starts over.';
comment on column mux_private.backfill_runs.after is 'All lessons up to this id are done.';
comment on column mux_private.backfill_runs.counts is 'How many lessons ended as each kind.';

create table if not exists mux_private.backfill_findings (
  lesson_id uuid primary key references public.lessons (id) on delete cascade,
  found_at timestamptz not null default now(),
  asset_id text,
  playback_id text,
  kind text not null,
  message text,
  known jsonb
);
comment on table mux_private.backfill_findings is 'Lessons that could not be given a video, and what is known of each.';
comment on column mux_private.backfill_findings.lesson_id is 'The lesson.';
comment on column mux_private.backfill_findings.found_at is 'When Mux was last asked.';
comment on column mux_private.backfill_findings.asset_id is 'lessons.mux_asset_id at that time: with others it is worth another look.';
comment on column mux_private.backfill_findings.playback_id is 'lessons.mux_playback_id at that time.';
comment on column mux_private.backfill_findings.kind is 'Why, in one word.';
comment on column mux_private.backfill_findings.message is 'Why, in words.';
comment on column mux_private.backfill_findings.known is 'The ids that were looked for, and what Mux said.';

create table if not exists mux_private.adoption_walk (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  after uuid,
  rows_after uuid,
  stays bigint not null default 0
);
comment on table mux_private.adoption_walk is 'Where the next pass of the adoption goes on. One row.';
comment on column mux_private.adoption_walk.only_row is 'Always true.';
comment on column mux_private.adoption_walk.after is 'The last lesson that was searched for temporary ids; null at the beginning.';
comment on column mux_private.adoption_walk.rows_after is 'The last lesson whose real ids were compared with its tracking row; null at the beginning.';
comment on column mux_private.adoption_walk.stays is 'How many passes in a row looked at the lessons after it.';

do $$
declare
  private_table regclass;
begin
  foreach private_table in array array['mux_private.backfill_runs', 'mux_private.backfill_findings', 'mux_private.adoption_walk']::regclass[]
  loop
    execute format('alter table %s enable row level security', private_table);
    execute format('drop policy if exists "Service role has full access" on %s', private_table);
    execute format('create policy "Service role has full access" on %s for all to service_role using (true) with check (true)', private_table);
    execute format('revoke all on %s from public, anon, authenticated, service_role', private_table);
  end loop;
end
$$;
grant select, update on mux_private.backfill_runs to service_role;
grant select, insert, update, delete on mux_private.backfill_findings to service_role;
grant select, update on mux_private.adoption_walk to service_role;
insert into mux_private.backfill_runs default values on conflict do nothing;
insert into mux_private.adoption_walk default values on conflict do nothing;

create or replace function mux_private.is_temporary(id text) returns boolean
language sql immutable set search_path = ''
return left(coalesce(id, ''), 5) = 'temp_';
comment on function mux_private.is_temporary is 'Whether an id is one of the app''s placeholders.';

-- The app's table may have no such columns, and what an instructor writes into a row may be large:
-- where a lesson has none, the name is found further out, and no other column is looked at.
create or replace function mux_private.lesson_created_at(lesson_id uuid) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select (
      select to_jsonb(created_at) #>> '{}'
      from (select l.* from public.lessons l where l.id = lesson_created_at.lesson_id) o)
    from (values (null::timestamptz)) absent (created_at));
end
$$;
comment on function mux_private.lesson_created_at is 'When a lesson was made, if the app keeps that.';

-- What the lesson names, where its history does not know it; then what is tracked.
create or replace function mux_private.targets(
  p_lesson_id uuid, p_asset_id text, p_playback_id text, p_tracking public.mux_asset_tracking
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

-- By id: a lesson as an argument would be copied whole.
create or replace function mux_private.lesson_json(lesson_id uuid, tracking public.mux_asset_tracking) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select jsonb_build_object(
      'lesson_id', l.id,
      'creator_id', l.creator_id,
      'created_at', mux_private.lesson_created_at(l.id),
      'status', l.status::text,
      'asset_id', left(l.mux_asset_id, 300),
      'playback_id', left(l.mux_playback_id, 300),
      'targets', mux_private.targets(l.id, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300), tracking),
      'row', case when tracking.id is not null then jsonb_build_object(
        'id', tracking.id, 'upload_id', left(tracking.upload_id, 300),
        'temp_asset_id', left(tracking.temp_asset_id, 300), 'asset_id', left(tracking.mux_asset_id, 300),
        'playback_id', left(tracking.mux_playback_id, 300), 'status', tracking.status,
        'error_type', tracking.error_type, 'error_message', tracking.error_message,
        'tracked_at', coalesce(tracking.tracked_at, tracking.updated_at), 'next_check_at', s.next_check_at,
        'last_checked_at', coalesce(s.last_checked_at, tracking.settled_at), 'check_count', s.check_count,
        'age_seconds', extract(epoch from now() - coalesce(tracking.tracked_at, tracking.updated_at))) end)
    from public.lessons l left join mux_private.schedule s on s.tracking_id = tracking.id
    where l.id = lesson_json.lesson_id);
end
$$;
comment on function mux_private.lesson_json is 'A lesson and its tracking row as the worker''s backfill and its commands read them.';

-- By the primary key and a fixed number of lessons a call, however few of them wait: no call meets a
-- statement timeout. By index, as worker_settle does: see there.
create or replace function public.worker_legacy_lessons(
  after uuid default null, walk integer default 2000, since timestamptz default null
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  result jsonb;
begin
  if walk is null or walk not between 1 and 10000 then
    raise sqlstate 'PT400' using message = 'worker_legacy_lessons needs walk (1 to 10000)';
  end if;
  with walked as (
    select l.id, l.status::text = 'draft' or mux_private.is_temporary(left(l.mux_asset_id, 300))
      or mux_private.is_temporary(left(l.mux_playback_id, 300)) as waits
    from public.lessons l
    where l.id > coalesce(worker_legacy_lessons.after, '00000000-0000-0000-0000-000000000000')
    order by l.id limit walk
  )
  select jsonb_build_object(
    'walked', (select count(*) from walked),
    'next', (select w.id from walked w order by w.id offset walk - 1),
    'lessons', coalesce((
      select jsonb_agg(mux_private.lesson_json(l.id, t) order by l.id)
      from walked w join public.lessons l on l.id = w.id
      left join public.mux_asset_tracking t on t.lesson_id = l.id
      left join mux_private.backfill_findings f on f.lesson_id = l.id and f.found_at >= since
        and (f.asset_id, f.playback_id) is not distinct from (left(l.mux_asset_id, 300), left(l.mux_playback_id, 300))
      where w.waits and f.lesson_id is null), '[]')
  ) into result;
  return result;
end
$$;
comment on function public.worker_legacy_lessons is
  'For the worker''s backfill: the lessons that are drafts or hold a temporary id, with their tracking rows, among the next ones by id, up to a limit, but for those that were found hopeless since a time. next is where to go on, null at the end.';

-- Security definer: no other role may read the history.
create or replace function mux_private.first_instructors(ids text[]) returns table (mux_id text, creator_id uuid)
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select i, f.owner
  from unnest(ids) i
  cross join lateral (
    select h.owner from (
      (select u.id, u.owner from mux_private.upload_history u
       where u.mux_id_written = mux_private.as_written(i) and u.how <> 'passed over' order by u.id limit 1)
      union all
      (select a.id, a.owner from mux_private.upload_history a
       where a.asset_id_written = mux_private.as_written(i) and a.how <> 'passed over' order by a.id limit 1)
    ) h order by h.id limit 1
  ) f;
end
$$;
comment on function mux_private.first_instructors is 'For each of these ids that the upload history knows, as an upload or an asset, the instructor whose it is.';

-- One pass over the table for all ids of a chunk; there may be no index on either column. The ids
-- are subqueries, which are hashed: an array in a kept plan would be read through for each lesson.
-- When a lesson was made, its instructor may write, and a placeholder everybody may read: between
-- instructors neither decides.
create or replace function public.worker_rivals(ids text[] default null) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  result jsonb;
begin
  with held as (
    select l.id, l.creator_id, left(l.mux_asset_id, 300) as mux_asset_id, left(l.mux_playback_id, 300) as mux_playback_id
    from public.lessons l
    where left(l.mux_asset_id, 300) in (select i from unnest(ids) i union all select 'temp_' || i from unnest(ids) i)
       or left(l.mux_playback_id, 300) in (select 'temp_playback_' || i from unnest(ids) i)
  ), holders as (
    select case
        when h.mux_asset_id in (select i from unnest(ids) i) then h.mux_asset_id
        when h.mux_asset_id in (select 'temp_' || i from unnest(ids) i) then substr(h.mux_asset_id, 6)
        else substr(h.mux_playback_id, 15)
      end as mux_id, h.id, h.creator_id, mux_private.lesson_created_at(h.id) as created_at
    from held h
  ), counted as (
    select h.mux_id, count(*) as lessons, (array_agg(h.creator_id))[1] as creator_id,
      count(distinct coalesce(h.creator_id, '00000000-0000-0000-0000-000000000000')) as instructors
    from holders h
    group by h.mux_id
  ), owned as (
    select c.mux_id, case when f.mux_id is null then c.creator_id else f.creator_id end as creator_id,
      f.mux_id is null and c.instructors > 1 as is_disputed
    from counted c
    left join mux_private.first_instructors(ids) f on f.mux_id = c.mux_id
    where c.lessons > 1
  ), oldest as (
    select distinct on (h.mux_id) h.mux_id, o.is_disputed, h.id, h.creator_id is not distinct from o.creator_id as is_hers, o.creator_id
    from owned o join holders h on h.mux_id = o.mux_id
    order by h.mux_id, h.creator_id is distinct from o.creator_id, h.created_at::timestamptz nulls last, h.id
  )
  select coalesce(jsonb_object_agg(o.mux_id, jsonb_build_object(
    'lesson_id', case when o.is_hers and not o.is_disputed then o.id end,
    'creator_id', case when not o.is_disputed then o.creator_id end,
    'is_disputed', o.is_disputed)), '{}')
  into result from oldest o;
  return result;
end
$$;
comment on function public.worker_rivals is
  'For the worker''s backfill: for each id that several lessons hold, as their asset or in a temporary id, the oldest lesson of the instructor who tracked it first, or of the only one who holds it; is_disputed where lessons of several hold it and nobody has tracked it.';

create or replace function mux_private.newest_playable(p_lesson_id uuid) returns mux_private.upload_history
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  entry mux_private.upload_history;
begin
  select h.* into entry from mux_private.upload_history h
  where h.lesson_id = p_lesson_id and mux_private.is_mux_id(h.asset_id) and mux_private.is_mux_id(h.playback_id)
    and not h.is_deleted
  order by h.place desc limit 1;
  return entry;
end
$$;
comment on function mux_private.newest_playable is 'The newest video of a lesson that it has played and that was not deleted.';

create or replace function mux_private.note_restored(p_entry_id bigint) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set restored_at = now() where h.id = p_entry_id;
end
$$;
comment on function mux_private.note_restored is 'Keeps that a lesson was published again with a video that it had.';

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
  wanted_status text := p_lesson.status;
  found_status text;
begin
  if is_ready then
    video.asset_id := p_tracking.mux_asset_id;
    video.playback_id := p_tracking.mux_playback_id;
  end if;
  if video.playback_id is null or (p_lesson.asset_id, p_lesson.playback_id) is not distinct from (video.asset_id, video.playback_id)
     or (plays and not is_ready)
     or mux_private.is_of_another(p_tracking, p_lesson.owner::uuid, null, video.asset_id) then
    return null;
  end if;
  if wanted_status = 'draft' and (is_ready or video.was_published) and video.restored_at is null then
    wanted_status := 'published';
    perform mux_private.note_restored(video.id);
  end if;
  found_status := mux_private.write_video(p_lesson.id, wanted_status is distinct from p_lesson.status, video.asset_id, video.playback_id);
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
comment on function mux_private.lease_adopted is 'Leases an adopted row for so many seconds, or has it due at once. Returns until when.';

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

-- What the lesson names, which upload of it is the newest, and whose that is, decides what follows.
-- An id that the history does not know was written since, so it is the newest; where the lesson has
-- a history, or names an asset, Mux is asked first what the id is.
create or replace function mux_private.adopt(p_item jsonb, p_rivals jsonb, p_lease_seconds double precision) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  lesson mux_private.lesson;
  tracking public.mux_asset_tracking;
  answer jsonb := jsonb_build_object('lesson_id', p_item ->> 'lesson_id');
  by_hand boolean := coalesce(p_item ->> 'by_hand' = 'true', false);
  upload_id text := case when mux_private.is_mux_id(p_item ->> 'upload_id') then p_item ->> 'upload_id' end;
  asset_id text := case when mux_private.is_mux_id(p_item ->> 'asset_id') then p_item ->> 'asset_id' end;
  named text;
  is_real boolean;
  is_current boolean;
  entry mux_private.upload_history;
  newest mux_private.upload_history;
  restored jsonb;
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  select l.id, l.creator_id, l.status::text, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300) into lesson from public.lessons l
  where l.id = (p_item ->> 'lesson_id')::uuid for no key update skip locked;
  if not found then
    return answer || jsonb_build_object('outcome', case
      when exists (select 1 from public.lessons l where l.id = (p_item ->> 'lesson_id')::uuid) then 'busy' else 'gone' end);
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update skip locked;
  if not found and exists (select 1 from public.mux_asset_tracking t where t.lesson_id = lesson.id) then
    return answer || '{"outcome": "busy"}';
  end if;

  named := coalesce(
    mux_private.named_by(lesson.asset_id, lesson.playback_id),
    case when mux_private.is_mux_id(tracking.upload_id) is not true and tracking.upload_id <> 'migrated'
      then coalesce(mux_private.named_id(tracking.upload_id), mux_private.named_id(tracking.temp_asset_id)) end);
  if p_item ->> 'trusted' = 'true' then
    named := coalesce(upload_id, asset_id);
  elsif p_item ? 'id' and mux_private.as_written(p_item ->> 'id') is distinct from mux_private.as_written(named) then
    upload_id := null;  -- Mux was asked for what the lesson or its row named before
    asset_id := null;
  end if;
  is_real := coalesce(named = lesson.asset_id, false);
  if mux_private.as_written(named) in (select mux_private.as_written(m) from jsonb_array_elements_text(coalesce(p_item -> 'missing', '[]')) m)
     and (is_real or tracking.id is not null or (mux_private.newest_entry(lesson.id)).id is not null) then
    perform mux_private.pass_over(lesson.id, named);
  end if;
  if upload_id is not null and asset_id is not null then
    perform mux_private.learn(jsonb_build_array(jsonb_build_object('upload_id', upload_id, 'asset_id', asset_id)));
  end if;
  newest := mux_private.newest_entry(lesson.id);
  entry := mux_private.entry_of(lesson.id, named);
  if entry.id is null then
    entry := mux_private.entry_of(lesson.id, upload_id);
  end if;
  is_current := tracking.id is not null and coalesce(
    mux_private.as_written(named) in (mux_private.as_written(tracking.upload_id), mux_private.as_written(tracking.mux_asset_id))
    or lesson.asset_id = tracking.temp_asset_id or entry.id = newest.id, false);

  if named is null and (tracking.id is null or not by_hand) then
    return answer || '{"outcome": "left_alone", "reason": "names_nothing"}';
  end if;
  if named is not null and entry.id is null and not is_current then
    if tracking.id is null and lesson.status = 'draft' and is_real and mux_private.is_mux_id(lesson.playback_id) and not by_hand then
      return answer || '{"outcome": "left_alone", "reason": "has_video"}';
    elsif upload_id is null and asset_id is null and (is_real or newest.id is not null) and p_item ->> 'disputed' is distinct from 'true' then
      return answer || jsonb_build_object('outcome', 'ask', 'id', named, 'kind', case when is_real then 'asset' else 'either' end);
    elsif p_item ->> 'disputed' = 'true' or mux_private.is_of_another(tracking, lesson.owner::uuid, coalesce(upload_id, named), coalesce(asset_id, named))
          or (p_rivals ? named and (p_rivals -> named ->> 'is_disputed' = 'true'
                                    or p_rivals -> named ->> 'creator_id' is distinct from lesson.owner)) then
      if newest.id is not null then
        perform mux_private.pass_over(lesson.id, named);
        perform mux_private.make_due(tracking.id);
      end if;
      return answer || jsonb_build_object(
        'outcome', 'disputed', 'reason', 'lesson_mismatch', 'restored', mux_private.restore(lesson, tracking));
    end if;
    tracking := mux_private.begin_to_track(
      lesson, tracking, coalesce(upload_id, case when asset_id is null then named else 'migrated' end), asset_id);
  elsif not is_current and by_hand and is_real then
    return answer || '{"outcome": "older"}';
  elsif tracking.id is null and newest.id is null then
    return answer || '{"outcome": "left_alone", "reason": "not_found"}';
  elsif tracking.id is null then
    tracking := mux_private.begin_to_track(
      lesson, tracking, case when newest.mux_id = newest.asset_id then 'migrated' else newest.mux_id end, newest.asset_id);
  elsif by_hand and is_real and tracking.status = 'ready' and lesson.asset_id is distinct from tracking.mux_asset_id then
    return answer || '{"outcome": "older"}';
  elsif by_hand then
    update public.mux_asset_tracking t
    set status = 'processing', updated_at = now(),
        tracked_at = case when t.status = 'processing' then t.tracked_at else now() end
    where t.id = tracking.id
    returning t.* into tracking;
  else
    restored := mux_private.restore(lesson, tracking);
    if restored is null and p_item ? 'id' then
      perform mux_private.make_due(tracking.id);
    end if;
    return coalesce(restored, jsonb_build_object(
      'outcome', case when tracking.status = 'processing' then 'tracked' else 'unchanged' end)) || answer;
  end if;

  if tracking.id is null then  -- the app has just begun to track it
    return answer || '{"outcome": "changed"}';
  end if;
  if not by_hand then
    begin
      restored := mux_private.restore(lesson, tracking);
    exception  -- the older video is no reason to leave the newest one untracked
      when serialization_failure or deadlock_detected or lock_not_available then raise;
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        restored := answer || jsonb_build_object(
          'outcome', 'refused', 'sqlstate', code, 'message', left(problem, 500),
          'raised_by', mux_private.raised_by(context, constraint_name, table_name));
    end;
  end if;
  return answer || jsonb_build_object(
    'outcome', 'adopted', 'upload_id', tracking.upload_id, 'asset_id', tracking.mux_asset_id, 'restored', restored,
    'claim', jsonb_build_object(
      'id', tracking.id, 'lesson_id', lesson.id, 'lesson_status', lesson.status, 'upload_id', tracking.upload_id,
      'asset_id', tracking.mux_asset_id, 'tracked_at', tracking.tracked_at, 'due_at', now(),
      'leased_until', mux_private.lease_adopted(tracking.id, p_lease_seconds),
      'age_seconds', extract(epoch from now() - tracking.tracked_at), 'check_count', 0, 'missing_seconds', null, 'missing_count', 0));
end
$$;
comment on function mux_private.adopt is 'Begins to track what one lesson names, if that is the newest, or gives it back what it can play; what cannot be locked at once is busy.';

-- By index, as worker_settle does: see there.
create or replace function public.worker_adopt(
  adoptions jsonb default null, lease_seconds double precision default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  item jsonb;
  outcomes jsonb[] := '{}';
  named text[];
  rivals jsonb := '{}';
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  if adoptions is null or jsonb_typeof(adoptions) <> 'array' or jsonb_array_length(adoptions) > 100
     or lease_seconds not between 1 and 3600 then
    raise sqlstate 'PT400' using message = 'worker_adopt needs adoptions, an array of at most 100';
  end if;
  set constraints all immediate;
  -- A backfill has compared the lessons of a whole chunk.
  named := array(
    select mux_private.named_by(left(l.mux_asset_id, 300), left(l.mux_playback_id, 300))
    from jsonb_array_elements(adoptions) i join public.lessons l on l.id = (i ->> 'lesson_id')::uuid
    where not i ? 'compared' or i ->> 'by_hand' = 'true');
  if cardinality(named) > 0 then
    rivals := public.worker_rivals(named);
  end if;
  -- A row that the app inserts at the same moment cannot be skipped, only waited for: not for long,
  -- and for others of that moment hardly at all.
  perform set_config('lock_timeout', '300ms', true);
  for item in select i.value from jsonb_array_elements(adoptions) with ordinality i order by i.ordinality
  loop
    begin
      outcomes := outcomes || mux_private.adopt(item, rivals, lease_seconds);
    exception
      when serialization_failure or deadlock_detected then raise;
      when lock_not_available then
        outcomes := outcomes || jsonb_build_object('outcome', 'busy', 'lesson_id', item ->> 'lesson_id');
        perform set_config('lock_timeout', '20ms', true);
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        outcomes := outcomes || jsonb_build_object(
          'outcome', 'refused', 'lesson_id', item ->> 'lesson_id', 'sqlstate', code, 'message', left(problem, 500),
          'raised_by', mux_private.raised_by(context, constraint_name, table_name));
    end;
  end loop;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_adopt is
  'For the worker: begins to track what at most 100 lessons name, in the order given, or gives them back what they can play. Item: {lesson_id}, and where Mux was asked {id: what the lesson named, upload_id, asset_id: what that is, missing: the ids that Mux does not know}; compared: the lessons that hold the same id were compared before, and disputed: what came of that; trusted: an asset names the lesson; by_hand: an operator wants it published. Outcomes: adopted (with a claim, leased for lease_seconds, else due at once), restored, ask (Mux, for id), tracked, unchanged, older, disputed, left_alone (with a reason), busy, changed, gone, refused.';

create or replace function public.worker_backfill_begin(
  options jsonb default '{}', from_start boolean default false
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  run mux_private.backfill_runs;
  resumed boolean;
begin
  select r.* into strict run from mux_private.backfill_runs r for no key update;
  resumed := not from_start and run.begun_at is not null and run.finished_at is null
    and run.options = worker_backfill_begin.options and run.noted_at > now() - interval '7 days';
  if not resumed then
    update mux_private.backfill_runs r
    set begun_at = now(), finished_at = null, noted_at = now(), options = worker_backfill_begin.options, after = null, counts = '{}'
    where r.only_row
    returning r.* into run;
  end if;
  return jsonb_build_object('begun_at', run.begun_at, 'after', run.after, 'counts', run.counts, 'resumed', resumed);
end
$$;
comment on function public.worker_backfill_begin is
  'For the worker: begins a backfill, or goes on with one that did not come to its end and had the same options.';

create or replace function public.worker_backfill_note(
  after uuid default null, counts jsonb default null, findings jsonb default '[]', finished boolean default false
) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  insert into mux_private.backfill_findings as f (lesson_id, asset_id, playback_id, kind, message, known)
  select l.id, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300), n.kind, n.message, n.known
  from jsonb_to_recordset(findings) as n (lesson_id uuid, kind text, message text, known jsonb)
  join public.lessons l on l.id = n.lesson_id
  on conflict (lesson_id) do update
  set found_at = now(), asset_id = excluded.asset_id, playback_id = excluded.playback_id, kind = excluded.kind,
      message = excluded.message, known = excluded.known;
  if counts is not null then
    update mux_private.backfill_runs r
    set after = coalesce(worker_backfill_note.after, r.after), counts = worker_backfill_note.counts, noted_at = now(),
        finished_at = case when finished then now() end
    where r.only_row;
  end if;
end
$$;
comment on function public.worker_backfill_note is
  'For the worker: keeps how far a backfill is, and which lessons could not be given a video.';

create or replace function public.worker_backfill_findings(
  since timestamptz default null, after uuid default null, at_most integer default 500
) returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return (
  select coalesce(jsonb_agg(jsonb_build_object(
    'lesson_id', f.lesson_id, 'kind', f.kind, 'message', f.message, 'lesson_asset_id', f.asset_id,
    'lesson_playback_id', f.playback_id, 'known', f.known, 'found_at', f.found_at) order by f.lesson_id), '[]')
  from (
    select * from mux_private.backfill_findings f
    where ($1 is null or f.found_at >= $1) and f.lesson_id > coalesce($2, '00000000-0000-0000-0000-000000000000')
    order by f.lesson_id limit $3
  ) f
);
comment on function public.worker_backfill_findings is
  'For the worker: the lessons that could not be given a video since a time, by id, up to a limit a call.';

-- One instructor may name a thousand uploads that Mux does not know. So of each part of the table
-- every instructor has a lesson looked at in turn. The walk stays at a part while that has more than
-- a pass can look at, but not longer than all of it would take.
--
-- With the index of sql/optional only lessons with temporary ids are read, else the next lessons of
-- all. Real ids are compared by the tracking row: a form that was left open saves those of an older
-- video, and an app may write a newer one.
create or replace function mux_private.wants_adoption(p_lesson_id uuid, p_asset_id text, p_playback_id text) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = p_lesson_id;
  return tracking.id is null or tracking.status = 'ready'
    or mux_private.names_newer(tracking, p_asset_id, p_playback_id, null, null)
    or ((mux_private.is_mux_id(p_asset_id) and mux_private.is_mux_id(p_playback_id)) is not true
        and (mux_private.newest_playable(p_lesson_id)).id is not null);
end
$$;
comment on function mux_private.wants_adoption is 'Whether what a lesson''s columns name may have to be adopted, or its video restored.';

-- After a restore of the app's tables alone, say.
create or replace function mux_private.mend_schedule(p_lesson_ids uuid[]) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  insert into mux_private.schedule (tracking_id, owner, tracked_at)
  select t.id, l.creator_id::text, coalesce(t.tracked_at, t.updated_at)
  from public.mux_asset_tracking t join public.lessons l on l.id = t.lesson_id
  where t.lesson_id = any (p_lesson_ids) and t.status = 'processing'
    and not exists (select from mux_private.schedule s where s.tracking_id = t.id)
  on conflict do nothing;
  delete from mux_private.schedule s
  where s.tracking_id = any (array(
    select o.tracking_id from mux_private.schedule o
    where not exists (
      select from public.mux_asset_tracking t
      where t.id = o.tracking_id and (t.status = 'processing' or (t.status = 'ready' and o.is_recheck)))
    order by o.next_check_at limit 1000 for no key update skip locked));
end
$$;
comment on function mux_private.mend_schedule is 'Enters rows that wait and are not in the schedule, of these lessons, and drops rows of the schedule that are of nothing.';

create or replace function public.worker_untracked(walk integer default 2000, at_most integer default 50) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  position mux_private.adoption_walk;
  ids uuid[];
  rows_ids uuid[];
  candidates uuid[];
  row_candidates uuid[];
  nothing constant uuid := '00000000-0000-0000-0000-000000000000';
begin
  if (walk between 1 and 10000 and at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_untracked needs walk (1 to 10000) and at_most (1 to 100)';
  end if;
  select w.* into position from mux_private.adoption_walk w for no key update skip locked;
  if not found then return '[]'; end if;

  if to_regclass('public.idx_lessons_temporary_ids') is not null then
    ids := array(
      select l.id from public.lessons l
      where l.id > coalesce(position.after, nothing) and (left(l.mux_asset_id, 5) = 'temp_' or left(l.mux_playback_id, 5) = 'temp_')
      order by l.id limit walk);
  else
    ids := array(select l.id from public.lessons l where l.id > coalesce(position.after, nothing) order by l.id limit walk);
  end if;
  candidates := array(
    select l.id from public.lessons l
    where l.id = any(ids) and (left(l.mux_asset_id, 5) = 'temp_' or left(l.mux_playback_id, 5) = 'temp_')
      and mux_private.named_by(left(l.mux_asset_id, 300), left(l.mux_playback_id, 300)) is not null
      and mux_private.wants_adoption(l.id, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300))
    order by row_number() over (partition by l.creator_id order by l.id), l.id limit at_most);
  rows_ids := array(
    select t.lesson_id from public.mux_asset_tracking t
    where t.lesson_id > coalesce(position.rows_after, nothing) order by t.lesson_id limit walk);
  perform mux_private.mend_schedule(rows_ids);
  row_candidates := array(
    select l.id from public.mux_asset_tracking t join public.lessons l on l.id = t.lesson_id
    where t.lesson_id = any(rows_ids) and left(l.mux_asset_id, 5) <> 'temp_' and l.mux_asset_id <> ''
      and (l.mux_asset_id, l.mux_playback_id) is distinct from (t.mux_asset_id, t.mux_playback_id)
      and mux_private.wants_adoption(l.id, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300))
    order by l.id limit at_most);

  update mux_private.adoption_walk w
  set after = case
        when cardinality(candidates) = at_most and w.stays < walk / at_most then w.after
        when cardinality(ids) = walk then ids[walk] end,
      stays = case when cardinality(candidates) = at_most and w.stays < walk / at_most then w.stays + 1 else 0 end,
      rows_after = case
        when cardinality(row_candidates) = at_most then row_candidates[at_most] when cardinality(rows_ids) = walk then rows_ids[walk] end
  where w.only_row;
  return to_jsonb(array(select distinct c from unnest(candidates || row_candidates) c order by c));
end
$$;
comment on function public.worker_untracked is
  'For the worker: some of the lessons whose columns may name what is not tracked, or which do not play what they could; a part of the table a call, one call at a time.';

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where (p.pronamespace = 'mux_private'::regnamespace
           and p.proname in ('is_temporary', 'lesson_created_at', 'lesson_json', 'first_instructors', 'targets', 'newest_playable', 'note_restored', 'restore',
                            'begin_to_track', 'lease_adopted', 'adopt', 'wants_adoption', 'mend_schedule'))
       or (p.pronamespace = 'public'::regnamespace
           and p.proname in ('worker_legacy_lessons', 'worker_rivals', 'worker_adopt', 'worker_untracked',
                             'worker_backfill_begin', 'worker_backfill_note', 'worker_backfill_findings'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', part);
    execute format('grant execute on function %s to service_role', part);
  end loop;
end
$$;

insert into mux_private.applied_files (name) values ('013_backfill') on conflict do nothing;

commit;

notify pgrst, 'reload schema';
