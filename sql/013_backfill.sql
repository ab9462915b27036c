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
comment on column mux_private.backfill_runs.options is 'With which options; one with others begins anew.';
comment on column mux_private.backfill_runs.after is 'All lessons up to this id are done.';
comment on column mux_private.backfill_runs.counts is 'What came of them, by kind.';

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
  after uuid
);
comment on table mux_private.adoption_walk is 'Where the next pass of the adoption goes on. One row.';
comment on column mux_private.adoption_walk.only_row is 'Always true.';
comment on column mux_private.adoption_walk.after is 'The last lesson that was looked at; null to begin anew.';

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

create or replace function mux_private.lesson_title(lesson_id uuid) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select (
      select left(title::text, 200)
      from (select l.* from public.lessons l where l.id = lesson_title.lesson_id) o)
    from (values (null::text)) absent (title));
end
$$;
comment on function mux_private.lesson_title is 'The beginning of a lesson''s title, if lessons have one.';

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
      'row', case when tracking.id is not null then jsonb_build_object(
        'id', tracking.id, 'upload_id', left(tracking.upload_id, 300),
        'temp_asset_id', left(tracking.temp_asset_id, 300), 'asset_id', left(tracking.mux_asset_id, 300),
        'playback_id', left(tracking.mux_playback_id, 300), 'status', tracking.status,
        'error_type', tracking.error_type, 'error_message', tracking.error_message,
        'tracked_at', tracking.tracked_at, 'next_check_at', tracking.next_check_at,
        'last_checked_at', tracking.last_checked_at, 'check_count', tracking.check_count,
        'age_seconds', extract(epoch from now() - tracking.tracked_at)) end)
    from public.lessons l where l.id = lesson_json.lesson_id);
end
$$;
comment on function mux_private.lesson_json is 'A lesson and its tracking row as the worker''s backfill and its commands read them.';

-- By the primary key and so many lessons a call, however few of them wait: no call meets a
-- statement timeout.
create or replace function public.worker_legacy_lessons(
  after uuid default null, walk integer default 2000, since timestamptz default null
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  told jsonb;
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
  ) into told;
  return told;
end
$$;
comment on function public.worker_legacy_lessons is
  'For the worker''s backfill: the lessons that are drafts or hold a temporary id, with their tracking rows, among the next so many by id, but for those that were found hopeless since a time. next is where to go on, null at the end.';

-- Security definer: nobody else may read the list of first trackers.
create or replace function mux_private.first_instructors(ids text[]) returns table (mux_id text, creator_id uuid)
language sql stable security definer set search_path = public, extensions, pg_temp
begin atomic
  select distinct on (f.mux_id) f.mux_id, f.creator_id
  from mux_private.first_trackers f
  where f.mux_id in (select i from unnest(ids) i)
  order by f.mux_id, f.tracked_at, f.kind desc;
end;
comment on function mux_private.first_instructors is 'For each of these ids that somebody has tracked, as an upload or an asset, the instructor who did so first.';

-- One pass over the table for all ids of a chunk; there may be no index on either column. The ids
-- are subqueries, which are hashed: an array in a kept plan would be read through for each lesson.
-- When a lesson was made, its instructor may write, and a placeholder everybody may read: between
-- instructors neither decides.
create or replace function public.worker_rivals(ids text[] default null) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  told jsonb;
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
  into told from oldest o;
  return told;
end
$$;
comment on function public.worker_rivals is
  'For the worker''s backfill: for each id that several lessons hold, as their asset or in a temporary id, the oldest lesson of the instructor who tracked it first, or of the only one who holds it; is_disputed where lessons of several hold it and nobody has tracked it.';

-- Gives back what stands in the ready row. The status once for each upload.
create or replace function mux_private.give_back(
  lesson_status text, tracking public.mux_asset_tracking
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  video text := case when tracking.upload_id = 'migrated' then tracking.mux_asset_id else tracking.upload_id end;
  keep boolean := lesson_status <> 'draft' or tracking.status_given_back_for is not distinct from video;
begin
  if not keep then
    update public.mux_asset_tracking t set status_given_back_for = video where t.id = tracking.id;
  end if;
  return mux_private.publish(tracking, lesson_status, jsonb_build_object(
    'asset_id', tracking.mux_asset_id, 'playback_id', tracking.mux_playback_id,
    'reason', 'given_back', 'keep_status', keep));
end
$$;
comment on function mux_private.give_back is 'Gives a lesson the ids of its ready row again, and its status once for each upload. Both rows are locked by the caller.';

create or replace function mux_private.adopt(item jsonb, lease_seconds double precision) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  lesson public.lessons;
  tracking public.mux_asset_tracking;
  told jsonb := jsonb_build_object('lesson_id', item ->> 'lesson_id');
  upload_id text := coalesce(item ->> 'upload_id', 'migrated');
  asset_id text := item ->> 'asset_id';
  is_same boolean;
begin
  select l.* into lesson from public.lessons l
  where l.id = (item ->> 'lesson_id')::uuid for no key update skip locked;
  if not found then
    return told || jsonb_build_object('outcome', case
      when exists (select 1 from public.lessons l where l.id = (item ->> 'lesson_id')::uuid) then 'busy' else 'gone' end);
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update skip locked;
  if not found and exists (select 1 from public.mux_asset_tracking t where t.lesson_id = lesson.id) then
    return told || '{"outcome": "busy"}';
  end if;
  -- What was decided holds only for the lesson and the row as they were then.
  if (lesson.status::text, left(lesson.mux_asset_id, 300), left(lesson.mux_playback_id, 300), tracking.id,
      left(tracking.upload_id, 300), tracking.tracked_at, tracking.status::text)
     is distinct from (item ->> 'lesson_status', item ->> 'lesson_asset_id', item ->> 'lesson_playback_id',
      (item ->> 'row_id')::uuid, item ->> 'row_upload_id', (item ->> 'row_tracked_at')::timestamptz, item ->> 'row_status') then
    return told || '{"outcome": "changed"}';
  end if;
  if (mux_private.is_mux_id(upload_id) or (upload_id = 'migrated' and mux_private.is_mux_id(asset_id))) is not true then
    raise exception 'to adopt takes the id of an upload or of an asset' using errcode = 'invalid_parameter_value';
  end if;

  is_same := tracking.id is not null and mux_private.tracks(tracking, nullif(upload_id, 'migrated'), asset_id, null);
  if is_same and tracking.status = 'ready' and (item ->> 'anew') is distinct from 'true' then
    return mux_private.give_back(lesson.status::text, tracking) || told || '{"adopted": "given_back"}';
  elsif is_same and tracking.status = 'processing' then
    return told || '{"outcome": "tracked"}';
  end if;
  insert into public.mux_asset_tracking as t (lesson_id, upload_id, temp_asset_id, mux_asset_id, next_check_at)
  values (lesson.id, upload_id, item ->> 'temp_asset_id', asset_id, now() + make_interval(secs => lease_seconds))
  on conflict (lesson_id) do update
  set upload_id = excluded.upload_id, temp_asset_id = coalesce(excluded.temp_asset_id, t.temp_asset_id),
      mux_asset_id = excluded.mux_asset_id, mux_playback_id = null, status = 'processing', tracked_at = now(),
      next_check_at = excluded.next_check_at, updated_at = now()
  where t.id = tracking.id
  returning t.* into tracking;
  if not found then  -- the app has just begun to track it
    return told || '{"outcome": "changed"}';
  end if;
  return told || jsonb_build_object('outcome', 'adopted', 'claim', jsonb_build_object(
    'id', tracking.id, 'lesson_id', lesson.id, 'lesson_status', lesson.status, 'upload_id', tracking.upload_id,
    'asset_id', tracking.mux_asset_id, 'tracked_at', tracking.tracked_at, 'due_at', now(), 'leased_until', tracking.next_check_at,
    'age_seconds', 0, 'check_count', 0, 'missing_seconds', null, 'missing_count', 0));
end
$$;
comment on function mux_private.adopt is 'Begins to track one lesson''s video, or gives its ids back; what cannot be locked at once is busy.';

create or replace function public.worker_adopt(
  adoptions jsonb default null, lease_seconds double precision default 60
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  item jsonb;
  outcomes jsonb[] := '{}';
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  if adoptions is null or jsonb_typeof(adoptions) <> 'array' or jsonb_array_length(adoptions) > 100
     or lease_seconds is null or lease_seconds not between 1 and 3600 then
    raise sqlstate 'PT400' using message = 'worker_adopt needs adoptions, an array of at most 100';
  end if;
  set constraints all immediate;
  -- A row that the app inserts at the same moment cannot be skipped, only waited for: not for long,
  -- and for others of that moment hardly at all.
  perform set_config('lock_timeout', '300ms', true);
  for item in select i.value from jsonb_array_elements(adoptions) with ordinality i order by i.ordinality
  loop
    begin
      outcomes := outcomes || mux_private.adopt(item, lease_seconds);
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
  'For the worker: begins to track the uploads or assets of at most 100 lessons, in the order given, and leases the rows as worker_claim does. Each only while lesson and row are as they were read (else: changed). A row that is ready already gives its lesson the ids back instead.';

create or replace function public.worker_backfill_begin(
  options jsonb default '{}', anew boolean default false
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  run mux_private.backfill_runs;
  goes_on boolean;
begin
  select r.* into strict run from mux_private.backfill_runs r for no key update;
  goes_on := not anew and run.begun_at is not null and run.finished_at is null
    and run.options = worker_backfill_begin.options and run.noted_at > now() - interval '7 days';
  if not goes_on then
    update mux_private.backfill_runs r
    set begun_at = now(), finished_at = null, noted_at = now(), options = worker_backfill_begin.options, after = null, counts = '{}'
    where r.only_row
    returning r.* into run;
  end if;
  return jsonb_build_object('begun_at', run.begun_at, 'after', run.after, 'counts', run.counts, 'goes_on', goes_on);
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
  'For the worker: the lessons that could not be given a video since a time, by id, so many a call.';

-- With the index of sql/optional only lessons with temporary ids are read, else the next so many of
-- all. What Mux did not know an hour ago is asked for again after a day, or with other ids.
create or replace function public.worker_untracked(walk integer default 2000, at_most integer default 50) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  walk_from uuid;
  ids uuid[];
  found_lessons jsonb;
begin
  if (walk between 1 and 10000 and at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_untracked needs walk (1 to 10000) and at_most (1 to 100)';
  end if;
  select coalesce(w.after, '00000000-0000-0000-0000-000000000000') into walk_from
  from mux_private.adoption_walk w for no key update skip locked;
  if not found then return '[]'; end if;

  if to_regclass('public.idx_lessons_temporary_ids') is not null then
    ids := array(
      select l.id from public.lessons l
      where l.id > walk_from and (left(l.mux_asset_id, 5) = 'temp_' or left(l.mux_playback_id, 5) = 'temp_')
      order by l.id limit walk);
  else
    ids := array(select l.id from public.lessons l where l.id > walk_from order by l.id limit walk);
  end if;
  select coalesce(jsonb_agg(mux_private.lesson_json(l.id, t) order by l.id), '[]') into found_lessons
  from (
    select l.id
    from public.lessons l
    left join public.mux_asset_tracking t on t.lesson_id = l.id
    left join mux_private.backfill_findings f on f.lesson_id = l.id
    where l.id = any(ids)
      and (mux_private.is_temporary(left(l.mux_asset_id, 300)) or mux_private.is_temporary(left(l.mux_playback_id, 300)))
      and (f.lesson_id is null or f.found_at < now() - interval '1 day'
           or (f.asset_id, f.playback_id) is distinct from (left(l.mux_asset_id, 300), left(l.mux_playback_id, 300)))
      and (t.id is null or t.status = 'ready' or not exists (
        select 1
        from unnest(array[left(l.mux_asset_id, 300), left(l.mux_playback_id, 300)]) i
        where mux_private.is_temporary(i)
          and regexp_replace(i, '^temp_(playback_)?', '') in (
            regexp_replace(left(t.upload_id, 300), '[^a-zA-Z0-9]', '_', 'g'), regexp_replace(left(t.mux_asset_id, 300), '[^a-zA-Z0-9]', '_', 'g'))))
    order by l.id limit at_most
  ) c
  join public.lessons l on l.id = c.id
  left join public.mux_asset_tracking t on t.lesson_id = c.id;

  update mux_private.adoption_walk w
  set after = case
    when jsonb_array_length(found_lessons) = at_most then (found_lessons -> -1 ->> 'lesson_id')::uuid
    when cardinality(ids) = walk then ids[walk] end
  where w.only_row;
  return found_lessons;
end
$$;
comment on function public.worker_untracked is
  'For the worker: some of the lessons that hold temporary ids and are not tracked with them, a part of the table a call, one call at a time.';

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where (p.pronamespace = 'mux_private'::regnamespace
           and p.proname in ('is_temporary', 'lesson_created_at', 'lesson_title', 'lesson_json', 'first_instructors', 'give_back', 'adopt'))
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
