-- What it does: makes what the worker's status page asks for: worker_overview, worker_lesson_events and
--   worker_make_due.
-- Needs: 015.
-- Locks: none. (worker_make_due locks one tracking row, never waiting for it.)
-- Undo: down/016_status_page.sql

begin;
set local lock_timeout = '5s';

-- Ids grow with time, so a moment is found among them as a name is in a telephone book. The index
-- of happened_at is a brin one: of what it has not summed up yet, it would read all.
create or replace function mux_private.first_event_since(since timestamptz, at_most bigint) returns bigint
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  low bigint;
  high bigint;
  middle bigint;
  found_at timestamptz;
begin
  select min(e.id), max(e.id) + 1 into low, high from public.mux_asset_events e;
  low := greatest(low, high - at_most);
  while low < high loop
    middle := low + (high - low) / 2;
    select e.happened_at into found_at from public.mux_asset_events e where e.id >= middle order by e.id limit 1;
    if found_at >= since then
      high := middle;
    else
      low := middle + 1;
    end if;
  end loop;
  return low;
end
$$;
comment on function mux_private.first_event_since is
  'The id from which on the audit is younger than a moment, among the newest ids, up to a limit.';

-- In plpgsql, as whatever reads lessons: a body of SQL keeps the app from changing its columns' types.
create or replace function mux_private.overview_row(tracking public.mux_asset_tracking) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object(
      'lesson_id', l.id, 'title', mux_private.lesson_title(l.id), 'lesson_status', l.status::text,
      'upload_id', left(tracking.upload_id, 300), 'asset_id', left(tracking.mux_asset_id, 300),
      'error_type', tracking.error_type, 'error_message', left(tracking.error_message, 1000),
      'tracked_at', coalesce(tracking.tracked_at, tracking.updated_at), 'next_check_at', s.next_check_at,
      'last_checked_at', coalesce(s.last_checked_at, tracking.settled_at), 'settled_at', tracking.settled_at,
      'check_count', s.check_count)
    from public.lessons l left join mux_private.schedule s on s.tracking_id = tracking.id
    where l.id = tracking.lesson_id);
end
$$;
comment on function mux_private.overview_row is 'A tracking row, with its lesson''s title, as the status page shows it in a list.';

-- However much has settled, all of it is by index and none of it longer than its limits: the page asks
-- every few seconds. The schedule is read whole, as by worker_summary. The audit is counted
-- over a day, at most its newest hundred thousand rows.
create or replace function public.worker_overview(at_most integer default 20) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  first_id bigint;
  result jsonb;
begin
  if (at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_overview needs at_most (1 to 100)';
  end if;
  first_id := mux_private.first_event_since(now() - interval '1 day', 100000);
  result := public.worker_summary() || jsonb_build_object(
    'now', now(),
    'events_seconds', (select extract(epoch from now() - s.events_at) from mux_private.worker_state s));
  result := result || jsonb_build_object(
    'waiting', (
      select coalesce(jsonb_agg(mux_private.overview_row(t) order by s.next_check_at, t.id), '[]')
      from (
        select w.tracking_id, w.next_check_at from mux_private.schedule w
        where not w.is_recheck order by w.next_check_at limit at_most
      ) s join public.mux_asset_tracking t on t.id = s.tracking_id),
    'stuck_rows', (
      select coalesce(jsonb_agg(mux_private.overview_row(t) order by s.tracked_at, t.id), '[]')
      from (
        select w.tracking_id, w.tracked_at from mux_private.schedule w
        where not w.is_recheck and w.tracked_at < now() - interval '30 minutes'
        order by w.tracked_at limit at_most
      ) s join public.mux_asset_tracking t on t.id = s.tracking_id),
    -- The app's own table may have held failed rows whose time of failure is unknown.
    'failed_rows', (
      select coalesce(jsonb_agg(mux_private.overview_row(t) order by t.settled_at desc nulls last, t.id), '[]')
      from (
        (select * from public.mux_asset_tracking f
         where f.status = 'error' and f.settled_at is not null order by f.settled_at desc limit at_most)
        union all
        (select * from public.mux_asset_tracking f
         where f.status = 'error' and f.settled_at is null order by f.settled_at limit at_most)
        limit at_most
      ) t));
  result := result || jsonb_build_object(
    'published', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'lesson_id', e.lesson_id, 'title', mux_private.lesson_title(l.id), 'lesson_status', l.status::text, 'event', e.event,
        'happened_at', e.happened_at, 'actor', e.actor, 'reason', e.reason,
        'upload_id', e.upload_id, 'asset_id', e.asset_id, 'playback_id', e.playback_id,
        'waited_seconds', case when coalesce(t.tracked_at, t.updated_at) <= e.happened_at
          then extract(epoch from e.happened_at - coalesce(t.tracked_at, t.updated_at)) end,
        'ready_seconds', case when e.observation ->> 'looked_before' ~ '^\d{4}-'
          then extract(epoch from e.happened_at - (e.observation ->> 'looked_before')::timestamptz) end
      ) order by e.id desc), '[]')
      from (
        select * from (select * from public.mux_asset_events n order by n.id desc limit 2000) newest
        where newest.event in ('published', 'attached')
        order by newest.id desc limit at_most
      ) e
      left join public.lessons l on l.id = e.lesson_id
      left join public.mux_asset_tracking t on t.lesson_id = e.lesson_id and t.id = e.tracking_id),
    'hours', (
      select coalesce(jsonb_agg(to_jsonb(h) order by h.hours_ago desc), '[]')
      from (
        select floor(extract(epoch from now() - e.happened_at) / 3600)::integer as hours_ago,
          count(*) filter (where e.event in ('published', 'attached')) as published,
          count(*) filter (where e.event = 'failed') as failed
        from public.mux_asset_events e
        where e.id >= first_id and e.happened_at > now() - interval '1 day' and e.event in ('published', 'attached', 'failed')
        group by 1
      ) h),
    'counted_seconds', (
      select case when b.happened_at > now() - interval '1 day' then extract(epoch from now() - b.happened_at) end
      from public.mux_asset_events b
      where b.id < first_id order by b.id desc limit 1));
  return result;
end
$$;
comment on function public.worker_overview is
  'For the worker''s status page: worker_summary, the rows that wait, are stuck or failed last, what was published last and how long it took, and how much was published and failed in each hour of the last day; counted_seconds where that is not the whole day.';

create or replace function public.worker_lesson_events(lesson_id uuid default null, events integer default 50) returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return (
  select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]')
  from (
    select e.* from public.mux_asset_events e where e.lesson_id = $1 order by e.id desc limit $2
  ) e
);
comment on function public.worker_lesson_events is 'For the worker''s status page: the latest audit events of a lesson, which may have been deleted.';

create or replace function public.worker_make_due(
  lesson_id uuid default null, operator text default null, why text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  tracking public.mux_asset_tracking;
  found_status text;
begin
  if lesson_id is null or coalesce(operator, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_make_due needs lesson_id and operator';
  end if;
  perform mux_private.set_operator(operator, why);
  select t.* into tracking from public.mux_asset_tracking t
  where t.lesson_id = worker_make_due.lesson_id and t.status = 'processing'
  for no key update skip locked;
  if found then
    perform mux_private.make_due(tracking.id);
    perform mux_private.record_event('made_due', tracking, tracking.status, null, null, 'by_hand');
    return jsonb_build_object('outcome', 'made_due', 'status', 'processing');
  end if;
  select t.status::text into found_status
  from public.mux_asset_tracking t where t.lesson_id = worker_make_due.lesson_id;
  return jsonb_build_object(
    'outcome', case when found_status = 'processing' then 'busy' else 'unchanged' end, 'status', found_status);
end
$$;
comment on function public.worker_make_due is
  'For the worker''s status page: a lesson that is processing is looked at next, with the operator and the reason in the audit. Says made_due; busy while another transaction has the row locked; unchanged where it is not processing, with its status.';

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where (p.pronamespace = 'mux_private'::regnamespace and p.proname in ('first_event_since', 'overview_row'))
       or (p.pronamespace = 'public'::regnamespace and p.proname in ('worker_overview', 'worker_lesson_events', 'worker_make_due'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', part);
    execute format('grant execute on function %s to service_role', part);
  end loop;
end
$$;

insert into mux_private.applied_files (name) values ('016_status_page') on conflict do nothing;

commit;

notify pgrst, 'reload schema';
