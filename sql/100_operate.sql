-- What it does: makes what the operator's commands, and the dashboard, call: worker_find_lessons,
--   worker_lesson, worker_publish, worker_retry and worker_make_due.
-- Needs: 071, 076.
-- Locks: none. (worker_publish locks as worker_settle does; the others lock tracking rows, and never
--   wait.)
-- Undo: down/100_operate.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.set_operator(p_operator text, p_why text) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  perform set_config('mux_worker.operator', left(coalesce(p_operator, ''), 100), true),
          set_config('mux_worker.why', left(coalesce(p_why, ''), 1000), true);
end
$$;
comment on function mux_private.set_operator is 'Sets the operator and the reason that the audit events of this transaction record.';

create or replace function mux_private.lesson_state(p_tracking public.mux_asset_tracking, p_is_published boolean) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return case
    when p_tracking.id is null then 'untracked'
    when p_tracking.status = 'error' then 'failed'
    when p_tracking.status = 'processing' then
      case when coalesce(p_tracking.tracked_at, p_tracking.updated_at) < now() - interval '30 minutes' then 'stuck' else 'waiting' end
    when mux_private.is_unplayable(p_tracking) then 'unplayable'
    when p_is_published then 'published'
    else 'ready' end;
end
$$;
comment on function mux_private.lesson_state is
  'What a lesson is listed as: untracked, waiting, stuck (waiting for over half an hour), failed, unplayable, published, or ready (it has its video, and is not published).';

-- By id: a lesson as an argument would be copied whole. When the state began is known but for a row
-- that failed before the worker came.
create or replace function mux_private.lesson_json(p_lesson_id mux_private.lesson.id%type, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  begun_at timestamptz := coalesce(p_tracking.tracked_at, p_tracking.updated_at);
  since timestamptz := case
    when p_tracking.status = 'processing' then begun_at
    when mux_private.is_unplayable(p_tracking) then p_tracking.updated_at
    else p_tracking.settled_at end;
begin
  return (
    select jsonb_build_object(
      'lesson_id', l.id::text,
      'title', mux_private.lesson_title(l.id),
      'owner', l.owner,
      'state', mux_private.lesson_state(p_tracking, l.is_published),
      'since', since,
      'since_seconds', extract(epoch from now() - since),
      'status', l.status,
      'is_published', l.is_published,
      'asset_id', l.asset_id,
      'playback_id', l.playback_id,
      'row', case when p_tracking.id is not null then jsonb_build_object(
        'id', p_tracking.id, 'upload_id', left(p_tracking.upload_id, 300),
        'temp_asset_id', left(p_tracking.temp_asset_id, 300), 'asset_id', left(p_tracking.mux_asset_id, 300),
        'playback_id', left(p_tracking.mux_playback_id, 300), 'status', p_tracking.status,
        'error_type', p_tracking.error_type, 'error_message', left(p_tracking.error_message, 2000),
        'tracked_at', begun_at, 'settled_at', p_tracking.settled_at, 'next_check_at', s.next_check_at,
        'last_checked_at', coalesce(s.last_checked_at, p_tracking.settled_at), 'check_count', s.check_count,
        'is_missing', s.missing_since is not null, 'progress', s.progress,
        'age_seconds', extract(epoch from now() - begun_at)) end)
    from mux_private.lesson(p_lesson_id) l left join mux_private.schedule s on s.tracking_id = p_tracking.id
    where l.id is not null);
end
$$;
comment on function mux_private.lesson_json is 'A lesson, its state and its tracking row, as the worker''s commands and pages read them.';

-- By index. What lessons hold without tracking it is searched for where that is quick.
create or replace function public.worker_find_lessons(id text default null, at_most integer default 6) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  wanted text := worker_find_lessons.id;
  ids mux_private.lesson_keys.lesson_ids%type := array(select l.id from mux_private.lesson(mux_private.lesson_key(worker_find_lessons.id)) l where l.id is not null);
begin
  if coalesce(wanted, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_find_lessons needs id';
  end if;
  if cardinality(ids) = 0 then
    ids := array(
      select t.lesson_id from public.mux_asset_tracking t where t.upload_id = wanted and wanted <> 'migrated'
      union select t.lesson_id from public.mux_asset_tracking t where t.mux_asset_id = wanted
      union select t.lesson_id from public.mux_asset_tracking t where t.temp_asset_id = wanted
      limit at_most);
  end if;
  if cardinality(ids) = 0 and mux_private.lessons_are_searchable() then
    ids := array(
      select l.id from mux_private.lessons_holding(array[wanted, 'temp_' || wanted, 'temp_playback_' || wanted], at_most) l);
  end if;
  return (
    select coalesce(jsonb_agg(mux_private.lesson_json(l.id, t) order by l.id), '[]')
    from mux_private.lessons(ids) l left join public.mux_asset_tracking t on t.lesson_id = l.id
  );
end
$$;
comment on function public.worker_find_lessons is
  'For the worker''s commands: the lessons with this id, else those whose upload, asset or placeholder has it. What a lesson only names is not found in a large table without the indexes of sql/optional.';

create or replace function public.worker_lesson(lesson_id text default null, events integer default 50) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return (
    select mux_private.lesson_json(l.id, t) || jsonb_build_object(
      'now', now(),
      'environment_id', (select s.environment_id from mux_private.worker_state s),
      'events', (
        select coalesce(jsonb_agg(to_jsonb(e) || jsonb_build_object('lesson_id', e.lesson_id::text) order by e.id), '[]')
        from (
          select e.* from public.mux_asset_events e where e.lesson_id = l.id order by e.id desc limit events
        ) e))
    from mux_private.lesson(mux_private.lesson_key(worker_lesson.lesson_id)) l
    left join public.mux_asset_tracking t on t.lesson_id = l.id
    where l.id is not null);
end
$$;
comment on function public.worker_lesson is 'For the worker''s commands and its dashboard: a lesson, its tracking row, the Mux environment, and the last of its audit.';

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
  lesson_ids text[] default null,
  error_type text default null,
  after text default null,
  at_most integer default 500,
  operator text default null,
  why text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  wanted mux_private.lesson_keys.lesson_ids%type := array(select mux_private.lesson_key(i) from unnest(lesson_ids) i);
  retried mux_private.lesson_keys.lesson_ids%type;
begin
  if (at_most between 1 and 1000) is not true or coalesce(operator, '') = '' then
    raise sqlstate 'PT400' using message = 'worker_retry needs operator and at_most (1 to 1000)';
  end if;
  perform mux_private.set_operator(operator, why);
  with failed as (
    select t.id from public.mux_asset_tracking t
    where t.status = 'error' and (lesson_ids is null or t.lesson_id = any (wanted))
      and (worker_retry.error_type is null or coalesce(t.error_type, 'unknown') = worker_retry.error_type)
      and (worker_retry.after is null or t.lesson_id > mux_private.lesson_key(worker_retry.after))
    order by t.lesson_id limit at_most
    for no key update skip locked
  ), again as (
    update public.mux_asset_tracking t
    set status = 'processing', tracked_at = now(), updated_at = now()
    from failed where t.id = failed.id
    returning t.lesson_id
  )
  select array(select a.lesson_id from again a order by a.lesson_id) into retried;
  return to_jsonb(retried::text[]);
end
$$;
comment on function public.worker_retry is
  'For the worker''s command retry: failed rows become due, with their clocks restarted; by lesson, or up to a limit of all after a lesson, of one error_type if given (unknown: those without one). Returns their lessons.';

create or replace function public.worker_make_due(
  lesson_id text default null, operator text default null, why text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
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
  where t.lesson_id = mux_private.lesson_key(worker_make_due.lesson_id) and t.status = 'processing'
  for no key update skip locked;
  if found then
    perform mux_private.make_due(tracking.id);
    perform mux_private.record_event('made_due', tracking, tracking.status, null, null, 'by_hand');
    return jsonb_build_object('outcome', 'made_due', 'status', 'processing');
  end if;
  select t.status::text into found_status
  from public.mux_asset_tracking t where t.lesson_id = mux_private.lesson_key(worker_make_due.lesson_id);
  return jsonb_build_object(
    'outcome', case when found_status = 'processing' then 'busy' else 'unchanged' end, 'status', found_status);
end
$$;
comment on function public.worker_make_due is
  'For the worker''s status page: a lesson that is processing is looked at next, with the operator and the reason in the audit. Answers made_due; busy while another transaction has the row locked; unchanged where it is not processing, with its status.';

insert into mux_private.applied_files (name) values ('100_operate') on conflict do nothing;

commit;
