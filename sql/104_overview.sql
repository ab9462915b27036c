-- What it does: makes what the dashboard and the command status ask for: worker_overview and
--   worker_lesson_events.
-- Needs: 103.
-- Locks: none.
-- Undo: down/104_overview.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.events_of_the_day() returns table (happened_at timestamptz, event text, lesson_id text, ready_seconds double precision)
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  return query
  select e.happened_at, e.event, e.lesson_id::text,
    case when e.event in ('published', 'attached') and e.observation ->> 'looked_before' ~ '^\d{4}-'
      then extract(epoch from e.happened_at - (e.observation ->> 'looked_before')::timestamptz)::double precision end
  from public.mux_asset_events e
  where e.happened_at > now() - interval '1 day'
  order by e.happened_at desc limit 100000;
end
$$;
comment on function mux_private.events_of_the_day is 'What happened in the last day, the newest hundred thousand of it; of what was published, how long its video had been ready (at most: since the look before).';

create or replace function mux_private.day() returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    with events as materialized (
      select e.*, floor(extract(epoch from now() - e.happened_at) / 3600)::integer as hours_ago,
        e.event in ('published', 'attached') as is_published
      from mux_private.events_of_the_day() e
    )
    select jsonb_build_object(
      'published', count(*) filter (where e.is_published),
      'failed', count(distinct e.lesson_id) filter (where e.event = 'failed'),
      'ready_to_published', (
        select jsonb_object_agg(w.name, jsonb_build_object('count', w.count, 'p50', w.times[1], 'p95', w.times[2], 'p99', w.times[3]))
        from (
          select p.name, count(r.ready_seconds) as count,
            percentile_cont(array[0.5, 0.95, 0.99]) within group (order by r.ready_seconds) as times
          from (values ('hour', 0), ('day', 23)) p (name, hours) left join events r on r.hours_ago <= p.hours
          group by p.name) w),
      'hours', (
        select coalesce(jsonb_agg(to_jsonb(h) order by h.hours_ago desc), '[]')
        from (
          select o.hours_ago, count(*) filter (where o.is_published) as published,
            count(distinct o.lesson_id) filter (where o.event = 'failed') as failed
          from events o where o.is_published or o.event = 'failed'
          group by o.hours_ago) h),
      'counted_seconds', case when count(*) = 100000 then extract(epoch from now() - min(e.happened_at)) end)
    from events e);
end
$$;
comment on function mux_private.day is 'The last day by the audit: how much was published, how many lessons failed, in each hour and in all; how long ready videos waited; since when, where that is not the whole day.';

-- The page asks every few seconds. So what has settled is read by index, and no list is longer than its
-- limit, however large the tables are. The schedule is read whole, as by worker_summary. The audit is
-- counted over a day, at most its newest hundred thousand rows.
create or replace function public.worker_overview(at_most integer default 20) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  if (at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_overview needs at_most (1 to 100)';
  end if;
  return jsonb_build_object(
    'now', now(),
    'counts', public.worker_summary(),
    'events_seconds', (select extract(epoch from now() - s.events_at) from mux_private.worker_state s),
    'day', mux_private.day(),
    'lists', (
      select jsonb_object_agg(l.state, mux_private.list_lessons(l.state, null, null, null, at_most))
      from unnest(array['unplayable', 'failed', 'stuck', 'waiting', 'published']) l (state)));
end
$$;
comment on function public.worker_overview is
  'For the worker''s command status and its dashboard: the counts of worker_summary, the last day, and the first page of each list of worker_list_lessons.';

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
