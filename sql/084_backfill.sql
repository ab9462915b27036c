-- What it does: makes what a backfill needs: the lessons that wait for a video
--   (worker_backfill_candidates), and the progress and failures of a run.
-- Needs: 082.
-- Locks: none.
-- Undo: down/084_backfill.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- By the primary key, and a fixed number of lessons a call, however few of them wait: so no call takes
-- long enough for a statement timeout. By index, as worker_settle does: see there.
create or replace function public.worker_backfill_candidates(after text default null, walk integer default 2000) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  result jsonb;
begin
  if walk is null or walk not between 1 and 10000 then
    raise sqlstate 'PT400' using message = 'worker_backfill_candidates needs walk (1 to 10000)';
  end if;
  with walked as (
    select l.*
    from mux_private.lessons_after(mux_private.lesson_key(worker_backfill_candidates.after), walk) with ordinality l
  )
  select jsonb_build_object(
    'walked', count(*),
    'next', max(w.id::text) filter (where w.ordinality = walk),
    'lesson_ids', coalesce(jsonb_agg(w.id::text order by w.ordinality) filter (
      where w.is_draft or mux_private.is_temporary(w.asset_id) or mux_private.is_temporary(w.playback_id)), '[]'))
  into result from walked w;
  return result;
end
$$;
comment on function public.worker_backfill_candidates is
  'For the worker''s backfill: which of the next lessons by id, up to a limit, are drafts or hold a temporary id. next is where to continue, null at the end.';

-- A run that was interrupted is continued, also by several processes at the same time.
create or replace function public.worker_backfill_begin() returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  begun_at timestamptz;
begin
  select s.backfill_begun_at into begun_at from mux_private.worker_state s for no key update;
  if begun_at > now() - interval '7 days' then
    return jsonb_build_object('backfill', begun_at, 'is_resumed', true);
  end if;
  update mux_private.worker_state s set backfill_begun_at = now() where s.only_row;
  return jsonb_build_object('backfill', now(), 'is_resumed', false);
end
$$;
comment on function public.worker_backfill_begin() is
  'For the worker: begins a backfill, or continues the one that has not ended. Returns backfill, by which its rows are known: the time at which it began.';

create or replace function public.worker_backfill_end(backfill timestamptz default null) returns void
language sql set search_path = public, extensions, pg_temp
begin atomic
  update mux_private.worker_state s set backfill_begun_at = null where s.backfill_begun_at = $1;
end;
comment on function public.worker_backfill_end is 'For the worker: a backfill has gone over all lessons, and each row that it adopted has had its answer.';

-- An upload that was replaced meanwhile, or whose row or lesson was deleted, is counted as changed. A
-- lesson may have more than one upload of a run. Planned at each call, so that a page is a range of the
-- index.
create or replace function mux_private.backfill_rows(
  p_backfill timestamptz, p_after mux_private.lesson.id%type, p_most integer
) returns table (lesson_id mux_private.lesson.id%type, tracking public.mux_asset_tracking, state text)
language plpgsql stable security definer set search_path = public, extensions, pg_temp set plan_cache_mode = force_custom_plan as $$
#variable_conflict use_column
begin
  return query
  select h.lesson_id, t, case
      when t.id is null then 'changed'
      when t.status = 'error' then coalesce(t.error_type, 'unknown')
      when t.status = 'ready' then coalesce((
        select e.event from public.mux_asset_events e
        where e.lesson_id = h.lesson_id and e.event in ('published', 'attached') order by e.id desc limit 1), 'published')
      when t.error_type = 'refused' then 'refused'
      when s.check_count = 0 then 'unanswered'
      else 'waiting'
    end
  from (
    (select u.lesson_id, u.mux_id from mux_private.upload_history u
     where u.adopted_in = p_backfill and u.lesson_id is not null and (p_after is null or u.lesson_id > p_after)
     order by u.lesson_id fetch first (p_most) rows with ties)
    union all
    select null, u.mux_id from mux_private.upload_history u
    where u.adopted_in = p_backfill and u.lesson_id is null and p_after is null
  ) h
  left join public.mux_asset_tracking t
    on t.lesson_id = h.lesson_id and mux_private.key_of(t.upload_id, t.mux_asset_id) = h.mux_id
  left join mux_private.schedule s on s.tracking_id = t.id;
end
$$;
comment on function mux_private.backfill_rows is
  'What has become of each upload that a backfill adopted, of the next lessons by id; with the first, of the deleted ones.';

create or replace function public.worker_backfill_progress(
  backfill timestamptz default null, after text default null, walk integer default 5000
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
begin
  return (
    with walked as materialized (
      select b.lesson_id, b.state
      from mux_private.backfill_rows(
        worker_backfill_progress.backfill, mux_private.lesson_key(worker_backfill_progress.after), walk) b
    )
    select jsonb_build_object(
      'counts', (select coalesce(jsonb_object_agg(r.state, r.count), '{}') from (select w.state, count(*) from walked w group by w.state) r),
      'next', case when count(w.lesson_id) >= walk then (array_agg(w.lesson_id order by w.lesson_id desc nulls last))[1]::text end)
    from walked w);
end
$$;
comment on function public.worker_backfill_progress is
  'For the worker: how many of the uploads that a backfill adopted are published, attached, waiting, refused, unanswered (not looked at yet), changed, or failed with which error type; of the next lessons by id, up to a limit. next is where to continue, null at the end.';

create or replace function public.worker_backfill_failures(
  backfill timestamptz default null, after text default null, walk integer default 5000
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
begin
  return (
    with walked as materialized (
      select b.lesson_id, b.state, b.tracking
      from mux_private.backfill_rows(
        worker_backfill_failures.backfill, mux_private.lesson_key(worker_backfill_failures.after), walk) b
    )
    select jsonb_build_object(
      'failures', coalesce(jsonb_agg(jsonb_build_object(
        'lesson_id', w.lesson_id::text, 'reason', w.state, 'message', (w.tracking).error_message,
        'upload_id', left((w.tracking).upload_id, 300), 'asset_id', left((w.tracking).mux_asset_id, 300))
        order by w.lesson_id) filter (where (w.tracking).status = 'error' or w.state = 'refused'), '[]'),
      'next', case when count(w.lesson_id) >= walk then (array_agg(w.lesson_id order by w.lesson_id desc nulls last))[1]::text end)
    from walked w);
end
$$;
comment on function public.worker_backfill_failures is
  'For the worker: the uploads that a backfill adopted and that failed, or that the database refuses, among those of the next lessons by id, up to a limit. next is where to continue, null at the end.';

insert into mux_private.applied_files (name) values ('084_backfill') on conflict do nothing;

commit;
