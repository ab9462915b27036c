-- What it does: makes what the operator's commands ask for: worker_find_lessons, worker_lesson,
--   worker_publish, worker_retry and worker_status.
-- Needs: 013.
-- Locks: none. (worker_publish locks lesson and tracking row, in this order, never waiting.)
-- Undo: down/014_operate.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.set_operator(operator text, why text) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  perform set_config('mux_worker.operator', left(coalesce(operator, ''), 100), true),
          set_config('mux_worker.why', left(coalesce(why, ''), 1000), true);
end
$$;
comment on function mux_private.set_operator is 'Sets the operator and the reason that the audit events of this transaction record.';

-- By index as far as one goes; lessons themselves are read through only where no row has the id.
create or replace function public.worker_find_lessons(id text default null, at_most integer default 6) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  wanted text := worker_find_lessons.id;
  ids uuid[];
begin
  if coalesce(wanted, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_find_lessons needs id';
  end if;
  if wanted ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then
    ids := array(select l.id from public.lessons l where l.id = wanted::uuid);
  end if;
  if cardinality(ids) is distinct from 1 then
    ids := array(
      select t.lesson_id from public.mux_asset_tracking t where t.upload_id = wanted and wanted <> 'migrated'
      union select t.lesson_id from public.mux_asset_tracking t where t.mux_asset_id = wanted
      union select t.lesson_id from public.mux_asset_tracking t where t.temp_asset_id = wanted
      limit at_most);
  end if;
  if cardinality(ids) = 0 then
    ids := array(
      select l.id from public.lessons l
      where l.mux_asset_id in (wanted, 'temp_' || wanted) or l.mux_playback_id in (wanted, 'temp_playback_' || wanted)
      limit at_most);
  end if;
  return (
    select coalesce(jsonb_agg(mux_private.lesson_json(l.id, t) order by l.id), '[]')
    from public.lessons l left join public.mux_asset_tracking t on t.lesson_id = l.id
    where l.id = any(ids)
  );
end
$$;
comment on function public.worker_find_lessons is
  'For the worker''s commands: the lessons with this id, else those whose upload, asset or placeholder has it.';

create or replace function public.worker_lesson(lesson_id uuid default null, events integer default 50) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select mux_private.lesson_json(l.id, t) || jsonb_build_object(
      'title', mux_private.lesson_title(l.id),
      'now', now(),
      'finding', (select to_jsonb(f) from mux_private.backfill_findings f where f.lesson_id = l.id),
      'events', (
        select coalesce(jsonb_agg(to_jsonb(e) order by e.id), '[]')
        from (
          select e.* from public.mux_asset_events e where e.lesson_id = l.id order by e.id desc limit events
        ) e))
    from public.lessons l left join public.mux_asset_tracking t on t.lesson_id = l.id
    where l.id = worker_lesson.lesson_id);
end
$$;
comment on function public.worker_lesson is 'For the worker''s commands: a lesson, its tracking row and the last of its audit.';

-- What worker_lesson called in an earlier version:
-- squawk-ignore ban-drop-function
drop function if exists mux_private.legacy_json;

create or replace function public.worker_publish(
  verdict jsonb default null,
  environment_id text default null,
  operator text default null,
  why text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  if jsonb_typeof(verdict) is distinct from 'object' or coalesce(operator, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_publish needs verdict and operator';
  end if;
  perform mux_private.set_operator(operator, why);
  return public.worker_settle(jsonb_build_array(verdict), worker_publish.environment_id);
end
$$;
comment on function public.worker_publish is
  'For the worker''s command publish: settles one verdict, with the operator and the reason in the audit.';

create or replace function public.worker_retry(
  lesson_ids uuid[] default null,
  error_type text default null,
  after uuid default null,
  at_most integer default 500,
  operator text default null,
  why text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  retried uuid[];
begin
  if (at_most between 1 and 1000) is not true or coalesce(operator, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_retry needs operator and at_most (1 to 1000)';
  end if;
  perform mux_private.set_operator(operator, why);
  with failed as (
    select t.id from public.mux_asset_tracking t
    where t.status = 'error' and (lesson_ids is null or t.lesson_id = any(lesson_ids))
      and (worker_retry.error_type is null or t.error_type = worker_retry.error_type)
      and t.lesson_id > coalesce(worker_retry.after, '00000000-0000-0000-0000-000000000000')
    order by t.lesson_id limit at_most
    for no key update skip locked
  ), again as (
    update public.mux_asset_tracking t
    set status = 'processing', tracked_at = now(), updated_at = now()
    from failed where t.id = failed.id
    returning t.lesson_id
  )
  select array(select a.lesson_id from again a order by a.lesson_id) into retried;
  return to_jsonb(retried);
end
$$;
comment on function public.worker_retry is
  'For the worker''s command retry: failed rows become due, with their clocks restarted; by lesson, or up to a limit of all after a lesson, of one error_type if given. Returns their lessons.';

-- How long a video waited is not known to the second: at most since the last look that found it
-- not ready.
create or replace function public.worker_status() returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return public.worker_summary() || jsonb_build_object(
  'ready', (select count(*) from public.mux_asset_tracking t where t.status = 'ready'),
  'ready_to_published', (
    select jsonb_build_object(
      'count', count(*),
      'p50', percentile_cont(0.5) within group (order by w.seconds),
      'p95', percentile_cont(0.95) within group (order by w.seconds),
      'p99', percentile_cont(0.99) within group (order by w.seconds))
    from (
      select extract(epoch from e.happened_at - (e.observation ->> 'looked_before')::timestamptz)::double precision as seconds
      from public.mux_asset_events e
      where e.happened_at > now() - interval '1 day' and e.event in ('published', 'attached')
        and e.observation ? 'looked_before'
    ) w
  ),
  'failures', (
    select coalesce(jsonb_agg(to_jsonb(f) order by f.last_seconds), '[]')
    from (
      select coalesce(t.error_type, 'unknown') as error_type, count(*) as count,
        extract(epoch from now() - max(coalesce(t.settled_at, t.updated_at))) as last_seconds,
        (array_agg(t.lesson_id order by coalesce(t.settled_at, t.updated_at) desc))[1] as last_lesson_id,
        (array_agg(left(t.error_message, 300) order by coalesce(t.settled_at, t.updated_at) desc))[1] as last_message
      from public.mux_asset_tracking t
      where t.status = 'error'
      group by 1
    ) f
  )
);
comment on function public.worker_status() is
  'For the worker''s command status: worker_summary, the seconds from ready to published of the last day (at most: since the look before), and the failures by type with the latest of each.';

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where (p.pronamespace = 'mux_private'::regnamespace and p.proname = 'set_operator')
       or (p.pronamespace = 'public'::regnamespace
           and p.proname in ('worker_find_lessons', 'worker_lesson', 'worker_publish', 'worker_retry', 'worker_status'))
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', part);
    execute format('grant execute on function %s to service_role', part);
  end loop;
end
$$;

insert into mux_private.applied_files (name) values ('014_operate') on conflict do nothing;

commit;

notify pgrst, 'reload schema';
