-- What it does: makes the lists of lessons for the worker's command status and its dashboard, and the
--   count of the failures of each type: worker_list_lessons and worker_failures.
-- Needs: 100, 102.
-- Locks: none.
-- Undo: down/103_lists.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.list_place(p_at timestamptz, p_id uuid) returns text
language plpgsql immutable set search_path = public, extensions, pg_temp as $$
begin
  return concat((extract(epoch from p_at) * 1000000)::bigint, '/', p_id);
end
$$;
comment on function mux_private.list_place is 'A place in a list that is ordered by time: microseconds since 1970, then the row.';

-- In the order of an index, or from the schedule, so that no list is read whole for one of its pages. A row that
-- failed before the worker came has no time, and is last. What was published is read from the audit: an
-- index of all ready rows would be as large as the table.
create or replace function mux_private.list_entries(p_state text, p_after text, p_most integer)
returns table (place text, lesson_id mux_private.lesson.id%type, event_id bigint)
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
#variable_conflict use_column
declare
  is_ascending boolean := p_state in ('stuck', 'waiting');
  half_an_hour_ago timestamptz := now() - interval '30 minutes';
  after_at timestamptz := case when is_ascending then '-infinity' else 'infinity' end;
  after_id uuid := case when is_ascending then '00000000-0000-0000-0000-000000000000' else 'ffffffff-ffff-ffff-ffff-ffffffffffff' end;
begin
  if p_after is not null and not (case p_state
    when 'all' then mux_private.lesson_key(p_after) is not null
    when 'published' then p_after ~ '^\d{1,18}$'
    else p_after ~ '^\d{1,17}/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' end)
  then
    raise sqlstate 'PT400' using message = 'worker_list_lessons needs as after what it returned as next';
  elsif p_after is not null and p_state not in ('published', 'all') then
    after_at := timestamptz 'epoch' + split_part(p_after, '/', 1)::bigint * interval '1 microsecond';
    after_id := split_part(p_after, '/', 2);
  end if;
  case p_state
    when 'failed' then
      return query
      select mux_private.list_place(f.at, f.id), f.lesson_id, null::bigint
      from (
        select coalesce(t.settled_at, 'epoch') as at, t.id, t.lesson_id
        from public.mux_asset_tracking t
        where t.status = 'error' and (coalesce(t.settled_at, 'epoch'), t.id) < (after_at, after_id)
        order by coalesce(t.settled_at, 'epoch') desc, t.id desc limit p_most) f;
    when 'unplayable' then
      return query
      select mux_private.list_place(u.updated_at, u.id), u.lesson_id, null::bigint
      from (
        select t.updated_at, t.id, t.lesson_id from public.mux_asset_tracking t
        where t.status = 'ready' and t.error_type is not null and mux_private.is_unplayable(t)
          and (t.updated_at, t.id) < (after_at, after_id)
        order by t.updated_at desc, t.id desc limit p_most) u;
    when 'stuck', 'waiting' then
      return query
      select mux_private.list_place(s.tracked_at, s.tracking_id), t.lesson_id, null::bigint
      from (
        select w.tracked_at, w.tracking_id from mux_private.schedule w
        where not w.is_recheck and (w.tracked_at < half_an_hour_ago) = (p_state = 'stuck')
          and (w.tracked_at, w.tracking_id) > (after_at, after_id)
        order by w.tracked_at, w.tracking_id limit p_most) s
      left join public.mux_asset_tracking t on t.id = s.tracking_id
      order by s.tracked_at, s.tracking_id;
    when 'published' then
      return query
      select e.id::text, case when e.event in ('published', 'attached') then e.lesson_id end, e.id
      from public.mux_asset_events e
      where e.id < coalesce(p_after::bigint, 9223372036854775807)
      order by e.id desc limit p_most;
    when 'all' then
      return query
      select l.id::text, l.id, null::bigint
      from mux_private.lessons_after(mux_private.lesson_key(p_after), p_most) l;
  end case;
end
$$;
comment on function mux_private.list_entries is
  'The next entries of a list of lessons, in its order; without a lesson where an entry is passed over.';

-- How long a ready video waited is known as an upper limit only: since the look before, which found it
-- not ready.
create or replace function mux_private.list_event(p_event_id bigint) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object('event', jsonb_build_object(
      'event', e.event, 'happened_at', e.happened_at, 'actor', e.actor, 'reason', e.reason, 'playback_id', e.playback_id,
      'ago_seconds', extract(epoch from now() - e.happened_at),
      'waited_seconds', case when coalesce(t.tracked_at, t.updated_at) <= e.happened_at
        then extract(epoch from e.happened_at - coalesce(t.tracked_at, t.updated_at)) end,
      'ready_seconds', case when e.observation ->> 'looked_before' ~ '^\d{4}-'
        then extract(epoch from e.happened_at - (e.observation ->> 'looked_before')::timestamptz) end))
    from public.mux_asset_events e
    left join public.mux_asset_tracking t on t.lesson_id = e.lesson_id and t.id = e.tracking_id
    where e.id = p_event_id);
end
$$;
comment on function mux_private.list_event is 'When and by whom a lesson was published, and how long it took.';

-- A search reads a bounded number of entries, and what was published is a part of the audit: a page may
-- have few lessons, or none, and yet a next.
create or replace function mux_private.list_lessons(
  p_state text, p_search text, p_error_type text, p_after text, p_at_most integer
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
declare
  is_searched boolean := p_search is not null or p_error_type is not null;
  walk integer := case when is_searched then 5000 when p_state = 'published' then 15 * p_at_most else p_at_most + 1 end;
  result jsonb;
begin
  with entries as materialized (
    select e.place, e.lesson_id, e.event_id, e.number
    from mux_private.list_entries(p_state, p_after, walk) with ordinality e (place, lesson_id, event_id, number)
  ), found as materialized (
    select m.id
    from unnest(
      case when p_search is null then array(select e.lesson_id from entries e)
        else mux_private.lessons_matching(array(select distinct e.lesson_id from entries e), p_search) end) m (id)
  ), matching as materialized (
    select e.place, e.lesson_id, e.event_id, e.number
    from entries e
    where e.lesson_id in (select f.id from found f)
      and (p_error_type is null or exists (
        select from public.mux_asset_tracking t
        where t.lesson_id = e.lesson_id and coalesce(t.error_type, 'unknown') = p_error_type))
    order by e.number limit p_at_most + 1
  ), shown as materialized (
    select m.place, m.lesson_id, m.event_id, m.number from matching m order by m.number limit p_at_most
  )
  select jsonb_build_object(
    'now', now(),
    'lessons', (
      select coalesce(jsonb_agg(r.lesson order by s.number), '[]')
      from shown s
      left join public.mux_asset_tracking t on t.lesson_id = s.lesson_id
      cross join lateral (
        select mux_private.lesson_json(s.lesson_id, t)
          || coalesce(mux_private.list_event(s.event_id), '{"event": null}') as lesson) r
      where r.lesson is not null),
    'next', case
      when (select count(*) from matching) > p_at_most then (select s.place from shown s order by s.number desc limit 1)
      when (select count(*) from entries) = walk then (select e.place from entries e order by e.number desc limit 1) end)
  into result;
  return result;
end
$$;
comment on function mux_private.list_lessons is 'A page of a list of lessons: worker_list_lessons with its parameters checked.';

create or replace function public.worker_list_lessons(
  state text default 'all',
  search text default null,
  error_type text default null,
  after text default null,
  at_most integer default 20
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if (state in ('all', 'failed', 'published', 'stuck', 'unplayable', 'waiting') and at_most between 1 and 500) is not true then
    raise sqlstate 'PT400' using message = 'worker_list_lessons needs state (all, failed, published, stuck, unplayable, waiting) and at_most (1 to 500)';
  end if;
  return mux_private.list_lessons(state, nullif(search, ''), nullif(error_type, ''), nullif(after, ''), at_most);
end
$$;
comment on function public.worker_list_lessons is
  'For the worker''s command status and its dashboard: a page of the lessons in a state, with what is known of each; of those that a search finds (a part of the title, the beginning of the instructor''s id, or the lesson''s id), or of one error_type (unknown: those without one). next is what the next page is called with as after; null on the last page. A page of a search, or of what was published, may have few lessons and yet a next. failed and unplayable: the latest first; stuck and waiting: the oldest first; published: what the audit has, the latest first; all: by the lesson''s key.';

create or replace function public.worker_failures() returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  return (
    select coalesce(jsonb_object_agg(f.error_type, f.count), '{}')
    from (
      select coalesce(t.error_type, 'unknown') as error_type, count(*) as count
      from public.mux_asset_tracking t where t.status = 'error' group by 1) f);
end
$$;
comment on function public.worker_failures() is
  'For the worker''s commands and its dashboard: how many lessons have failed with each error_type (unknown: those without one).';

insert into mux_private.applied_files (name) values ('103_lists') on conflict do nothing;

commit;
