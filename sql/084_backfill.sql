-- What it does: makes what the backfill needs: the walk over lessons that wait for a video
--   (worker_legacy_lessons), and how far it is (worker_backfill_begin, worker_backfill_note,
--   worker_backfill_findings).
-- Needs: 080.
-- Locks: the app's table of lessons, share row exclusive for a moment (foreign key). Applied again:
--   only its own tables, access exclusive for a moment.
-- Undo: down/084_backfill.sql (drops both tables with their rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.backfill_runs (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  begun_at timestamptz,
  finished_at timestamptz,
  noted_at timestamptz,
  options jsonb not null default '{}',
  after text,
  counts jsonb not null default '{}'
);
comment on table mux_private.backfill_runs is 'How far the last backfill is, so that the next one continues there. One row.';
comment on column mux_private.backfill_runs.only_row is 'Always true.';
comment on column mux_private.backfill_runs.begun_at is 'When it began.';
comment on column mux_private.backfill_runs.finished_at is 'When it had gone over all lessons; null before.';
comment on column mux_private.backfill_runs.noted_at is 'When it last noted how far it was.';
comment on column mux_private.backfill_runs.options is 'The options of the run; with other options a run starts over.';
comment on column mux_private.backfill_runs.after is 'All lessons up to this id are done.';
comment on column mux_private.backfill_runs.counts is 'How many lessons ended as each kind.';

create table if not exists mux_private.backfill_findings (
  like mux_private.lesson_key,
  found_at timestamptz not null default now(),
  asset_id text,
  playback_id text,
  kind text not null,
  message text,
  known jsonb,
  primary key (lesson_id)
);
comment on table mux_private.backfill_findings is 'Lessons that could not be given a video, and what is known of each.';
comment on column mux_private.backfill_findings.lesson_id is 'The lesson.';
comment on column mux_private.backfill_findings.found_at is 'When Mux was last asked.';
comment on column mux_private.backfill_findings.asset_id is 'The lesson''s asset id at that time: once it has another, it is looked at again.';
comment on column mux_private.backfill_findings.playback_id is 'The lesson''s playback id at that time.';
comment on column mux_private.backfill_findings.kind is 'Why, in one word.';
comment on column mux_private.backfill_findings.message is 'Why, in words.';
comment on column mux_private.backfill_findings.known is 'The ids that were looked for, and what Mux said.';

do $$
begin
  if not exists (select from pg_constraint where conrelid = 'mux_private.backfill_findings'::regclass and contype = 'f') then
    execute format(
      'alter table mux_private.backfill_findings add foreign key (lesson_id) references %s (%I) on delete cascade',
      mux_private.lessons_table(), mux_private.lesson_options() ->> 'key');
  end if;
end
$$;
alter table mux_private.backfill_runs enable row level security;
alter table mux_private.backfill_findings enable row level security;
insert into mux_private.backfill_runs default values on conflict do nothing;

-- By id: a lesson as an argument would be copied whole.
create or replace function mux_private.lesson_json(p_lesson_id mux_private.lesson.id%type, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object(
      'lesson_id', l.id::text,
      'owner', l.owner,
      'status', l.status,
      'is_draft', l.is_draft,
      'is_published', l.is_published,
      'asset_id', l.asset_id,
      'playback_id', l.playback_id,
      'targets', mux_private.targets(l.id, l.asset_id, l.playback_id, p_tracking),
      'row', case when p_tracking.id is not null then jsonb_build_object(
        'id', p_tracking.id, 'upload_id', left(p_tracking.upload_id, 300),
        'temp_asset_id', left(p_tracking.temp_asset_id, 300), 'asset_id', left(p_tracking.mux_asset_id, 300),
        'playback_id', left(p_tracking.mux_playback_id, 300), 'status', p_tracking.status,
        'error_type', p_tracking.error_type, 'error_message', p_tracking.error_message,
        'tracked_at', coalesce(p_tracking.tracked_at, p_tracking.updated_at), 'next_check_at', s.next_check_at,
        'last_checked_at', coalesce(s.last_checked_at, p_tracking.settled_at), 'check_count', s.check_count,
        'age_seconds', extract(epoch from now() - coalesce(p_tracking.tracked_at, p_tracking.updated_at))) end)
    from mux_private.lesson(p_lesson_id) l left join mux_private.schedule s on s.tracking_id = p_tracking.id
    where l.id is not null);
end
$$;
comment on function mux_private.lesson_json is 'A lesson and its tracking row as the worker''s backfill and its commands read them.';

-- By the primary key, and a fixed number of lessons a call, however few of them wait: so no call takes
-- long enough for a statement timeout. By index, as worker_settle does: see there.
create or replace function public.worker_legacy_lessons(
  after text default null, walk integer default 2000, since timestamptz default null
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
    select l.*, l.is_draft or mux_private.is_temporary(l.asset_id) or mux_private.is_temporary(l.playback_id) as waits
    from mux_private.lessons_after(mux_private.lesson_key(worker_legacy_lessons.after), walk) with ordinality l
  )
  select jsonb_build_object(
    'walked', (select count(*) from walked),
    'next', (select w.id::text from walked w where w.ordinality = walk),
    'lessons', coalesce((
      select jsonb_agg(mux_private.lesson_json(w.id, t) order by w.ordinality)
      from walked w
      left join public.mux_asset_tracking t on t.lesson_id = w.id
      left join mux_private.backfill_findings f on f.lesson_id = w.id and f.found_at >= since
        and (f.asset_id, f.playback_id) is not distinct from (w.asset_id, w.playback_id)
      where w.waits and f.lesson_id is null), '[]')
  ) into result;
  return result;
end
$$;
comment on function public.worker_legacy_lessons is
  'For the worker''s backfill: the lessons that are drafts or hold a temporary id, with their tracking rows, among the next ones by id, up to a limit, without those for which nothing was found since a time. next is where to continue, null at the end.';

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
  'For the worker: begins a backfill, or continues one that has not ended and had the same options.';

create or replace function public.worker_backfill_note(
  after text default null, counts jsonb default null, findings jsonb default '[]', finished boolean default false
) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  insert into mux_private.backfill_findings as f (lesson_id, asset_id, playback_id, kind, message, known)
  select l.id, l.asset_id, l.playback_id, n.kind, n.message, n.known
  from jsonb_to_recordset(findings) as n (lesson_id text, kind text, message text, known jsonb)
  cross join lateral mux_private.lesson(mux_private.lesson_key(n.lesson_id)) l
  where l.id is not null
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
  since timestamptz default null, after text default null, at_most integer default 500
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'lesson_id', f.lesson_id::text, 'kind', f.kind, 'message', f.message, 'lesson_asset_id', f.asset_id,
      'lesson_playback_id', f.playback_id, 'known', f.known, 'found_at', f.found_at) order by f.lesson_id), '[]')
    from (
      select * from mux_private.backfill_findings n
      where (since is null or n.found_at >= since)
        and (worker_backfill_findings.after is null or n.lesson_id > mux_private.lesson_key(worker_backfill_findings.after))
      order by n.lesson_id limit at_most
    ) f);
end
$$;
comment on function public.worker_backfill_findings is
  'For the worker: the lessons that could not be given a video since a time, by id, up to a limit a call.';

insert into mux_private.applied_files (name) values ('084_backfill') on conflict do nothing;

commit;
