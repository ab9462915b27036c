-- What it does: makes what the dashboard asks for: worker_overview and worker_lesson_events.
-- Needs: 102.
-- Locks: none.
-- Undo: down/104_overview.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.events_of_the_day() returns table (happened_at timestamptz, event text)
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  return query
  select e.happened_at, e.event from public.mux_asset_events e
  where e.happened_at > now() - interval '1 day'
  order by e.happened_at desc limit 100000;
end
$$;
comment on function mux_private.events_of_the_day is 'What happened in the last day, the newest hundred thousand of it.';

create or replace function mux_private.overview_row(p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object(
      'lesson_id', l.id::text, 'title', mux_private.lesson_title(l.id), 'lesson_status', l.status,
      'upload_id', left(p_tracking.upload_id, 300), 'asset_id', left(p_tracking.mux_asset_id, 300),
      'error_type', p_tracking.error_type, 'error_message', left(p_tracking.error_message, 1000),
      'tracked_at', coalesce(p_tracking.tracked_at, p_tracking.updated_at), 'next_check_at', s.next_check_at,
      'last_checked_at', coalesce(s.last_checked_at, p_tracking.settled_at), 'settled_at', p_tracking.settled_at,
      'check_count', s.check_count)
    from mux_private.lesson(p_tracking.lesson_id) l left join mux_private.schedule s on s.tracking_id = p_tracking.id);
end
$$;
comment on function mux_private.overview_row is 'A tracking row, with its lesson''s title, as the status page shows it in a list.';

-- The page asks every few seconds. So what has settled is read by index, and no list is longer than its
-- limit, however large the tables are. The schedule is read whole, as by worker_summary. The audit is
-- counted over a day, at most its newest hundred thousand rows.
create or replace function public.worker_overview(at_most integer default 20) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  result jsonb;
begin
  if (at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_overview needs at_most (1 to 100)';
  end if;
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
        'lesson_id', e.lesson_id::text, 'title', mux_private.lesson_title(l.id), 'lesson_status', l.status, 'is_deleted', l.id is null, 'event', e.event,
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
      cross join lateral mux_private.lesson(e.lesson_id) l
      left join public.mux_asset_tracking t on t.lesson_id = e.lesson_id and t.id = e.tracking_id),
    'hours', (
      select coalesce(jsonb_agg(to_jsonb(h) order by h.hours_ago desc), '[]')
      from (
        select floor(extract(epoch from now() - e.happened_at) / 3600)::integer as hours_ago,
          count(*) filter (where e.event in ('published', 'attached')) as published,
          count(*) filter (where e.event = 'failed') as failed
        from mux_private.events_of_the_day() e
        where e.event in ('published', 'attached', 'failed')
        group by 1
      ) h),
    'counted_seconds', (
      select case when count(*) = 100000 then extract(epoch from now() - min(e.happened_at)) end
      from mux_private.events_of_the_day() e));
  return result;
end
$$;
comment on function public.worker_overview is
  'For the worker''s status page: worker_summary, the rows that wait, are stuck or failed last, what was published last and how long it took, and how much was published and failed in each hour of the last day; counted_seconds where that is not the whole day.';

create or replace function public.worker_lesson_events(lesson_id text default null, events integer default 50) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
begin
  return (
    select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('lesson_id', e.lesson_id::text) order by e.id), '[]')
    from (
      select n.* from public.mux_asset_events n
      where n.lesson_id = mux_private.lesson_key(worker_lesson_events.lesson_id) order by n.id desc limit events
    ) e);
end
$$;
comment on function public.worker_lesson_events is 'For the worker''s status page: the latest audit events of a lesson, which may have been deleted.';

insert into mux_private.applied_files (name) values ('104_overview') on conflict do nothing;

commit;
