-- What it does: makes the functions that hand due rows to a worker and take them back:
--   worker_claim, worker_release.
-- Needs: 056. (worker_claim calls a function of 110.)
-- Locks: none. (The functions lock rows of the schedule, and never wait for one.)
-- Undo: down/060_claim.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- However many workers there are, one looks: the leader that asks again, or the first to ask after its
-- lease has ended.
create or replace function mux_private.may_lead(p_leader text, p_seconds double precision) returns boolean
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  perform 1 from mux_private.worker_state s
  where s.leader = p_leader or s.leads_until is null or s.leads_until <= now()
  for no key update skip locked;
  if not found then
    return false;
  end if;
  update mux_private.worker_state s
  set leader = p_leader, leads_until = now() + make_interval(secs => p_seconds)
  where s.only_row;
  return true;
end
$$;
comment on function mux_private.may_lead is 'Makes this worker the leader for the given number of seconds, unless another worker is.';

-- The schedule is read whole, on purpose: see its table.
create or replace function mux_private.due_count() returns bigint
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = on as $$
begin
  return (select count(*) from mux_private.schedule s where s.next_check_at <= now());
end
$$;
comment on function mux_private.due_count() is 'How many rows are due.';

-- Live rows come before a backfill's, over all owners. Among the rows of either kind owners take turns
-- where more are due than a batch, so that one owner's thousands do not delay another's. Of one owner,
-- rows that wait come before those that are looked at once more, and rows that Mux knew before missing
-- ones. Four batches are ranked and one of them is locked: a second worker, which ranks the same rows,
-- finds the others free. They are handed out in this order, since a scan asks one by one only for as
-- many as its time allows.
create or replace function mux_private.lease(p_most integer, p_seconds double precision) returns table (
  tracking_id uuid, due_at timestamptz, leased_until timestamptz, check_count integer, missing_since timestamptz,
  missing_count integer, is_backlog boolean
)
language plpgsql rows 200 set search_path = public, extensions, pg_temp set enable_seqscan = on as $$
begin
  return query
  with due as (
    select s.tracking_id, s.is_backlog, s.next_check_at,
      row_number() over (
        partition by s.is_backlog, s.owner order by s.is_recheck, s.missing_count > 0, s.next_check_at) as turn
    from mux_private.schedule s
    where s.next_check_at <= now()
  ), ranked as materialized (
    select d.tracking_id, row_number() over (order by d.is_backlog, d.turn, d.next_check_at) as place
    from due d where d.turn <= 4 * p_most
    order by d.is_backlog, d.turn, d.next_check_at limit 4 * p_most
  ), free as materialized (
    select s.tracking_id, s.next_check_at, r.place
    from ranked r join mux_private.schedule s on s.tracking_id = r.tracking_id
    where s.next_check_at <= now()
    order by r.place limit p_most
    for no key update of s skip locked
  ), leased as (
    update mux_private.schedule s
    set next_check_at = now() + make_interval(secs => p_seconds)
    from free f
    where s.tracking_id = f.tracking_id
    returning s.tracking_id, f.next_check_at as due_at, s.next_check_at, s.check_count, s.missing_since,
      s.missing_count, s.is_backlog, f.place
  )
  select l.tracking_id, l.due_at, l.next_check_at, l.check_count, l.missing_since, l.missing_count, l.is_backlog
  from leased l order by l.place;
end
$$;
comment on function mux_private.lease is
  'Leases at most p_most due rows by moving their next_check_at into the future; returns them in the order of their turns.';

-- By index, whatever size the planner believes a table to have, now or when this connection began.
-- Without jit: before Postgres 18 a disabled scan has so high a cost that it would be compiled.
create or replace function public.worker_claim(
  batch_size integer default null,
  lease_seconds double precision default null,
  leader text default null,
  lead_seconds double precision default 15,
  requests_per_second double precision default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  claimed jsonb;
  slot jsonb;
  who_leads text := 'none';
  due bigint := mux_private.due_count();
begin
  if batch_size is null or batch_size not between 1 and 1000
     or lease_seconds is null or lease_seconds not between 1 and 3600 or lead_seconds is null then
    raise sqlstate 'PT400' using
      message = 'worker_claim needs batch_size (1 to 1000) and lease_seconds (1 to 3600)';
  end if;

  if leader is not null and due > 0 then
    if not mux_private.may_lead(leader, lead_seconds) then
      return jsonb_build_object(
        'rows', '[]'::jsonb, 'slot', null, 'environment_id', null, 'leader', 'others',
        'events_arrive', mux_private.events_arrive(), 'more_are_due', false);
    end if;
    who_leads := 'ours';
  end if;

  if due > 0 then
    select jsonb_agg(jsonb_build_object(
      'id', t.id,
      'lesson_id', t.lesson_id::text,
      'lesson_status', l.status,
      'status', t.status,
      'playback_id', case when t.status = 'ready' then left(t.mux_playback_id, 300) end,
      'upload_id', left(t.upload_id, 300),
      'asset_id', case when t.mux_asset_id !~ '^temp_' then left(t.mux_asset_id, 300) end,
      'tracked_at', coalesce(t.tracked_at, t.updated_at),
      'leased_until', s.leased_until,
      'due_at', s.due_at,
      'age_seconds', extract(epoch from now() - coalesce(t.tracked_at, t.updated_at)),
      'check_count', s.check_count,
      'missing_seconds', extract(epoch from now() - s.missing_since),
      'missing_count', s.missing_count,
      'is_backlog', s.is_backlog
    ) order by s.turn) into claimed
    from mux_private.lease(batch_size, lease_seconds) with ordinality s (
      tracking_id, due_at, leased_until, check_count, missing_since, missing_count, is_backlog, turn)
    join public.mux_asset_tracking t on t.id = s.tracking_id
    cross join lateral mux_private.lesson(t.lesson_id) l;
  end if;
  if claimed is not null and requests_per_second is not null then
    slot := public.worker_acquire_requests(1, requests_per_second);
  end if;

  return jsonb_build_object(
    'rows', coalesce(claimed, '[]'),
    'slot', slot,
    'environment_id', (select environment_id from mux_private.worker_state),
    'leader', who_leads,
    'events_arrive', mux_private.events_arrive(),
    'more_are_due', due > batch_size and mux_private.due_count() > 0
  );
end
$$;
comment on function public.worker_claim is
  'For the worker: leases at most batch_size due rows by moving their next_check_at into the future; if the worker dies, they fall due again. Live rows come before a backfill''s (is_backlog), and owners take turns, also in the order of the rows that are returned. Ages are in seconds. With a leader''s name only the leader gets rows (leader: ours), and the other workers get none (leader: others); where nothing is due there is none (leader: none). With requests_per_second, and where there are rows, the next request to Mux is reserved as by worker_acquire_requests (slot). events_arrive: whether webhooks arrive; then rows that wait are left to them for a while. more_are_due: whether due rows are left.';

-- A row keeps its place among those that are due. Otherwise the rows that a scan has no time for would
-- come after those that it has just looked at, each time.
create or replace function public.worker_release(
  claimed jsonb default null, leader text default null
) returns integer
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  released integer;
begin
  if claimed is null or jsonb_typeof(claimed) <> 'array' then
    raise sqlstate 'PT400' using message = 'worker_release needs claimed, an array of {id, leased_until, due_at}';
  end if;
  with mine as (
    select s.tracking_id, least(now(), coalesce(c.due_at, now())) as due_at
    from jsonb_to_recordset(claimed) as c (id uuid, leased_until timestamptz, due_at timestamptz)
    join mux_private.schedule s on s.tracking_id = c.id and s.next_check_at = c.leased_until
    for no key update of s skip locked
  )
  update mux_private.schedule s set next_check_at = mine.due_at from mine where s.tracking_id = mine.tracking_id;
  get diagnostics released = row_count;
  update mux_private.worker_state s set leads_until = now()
  where s.leader = worker_release.leader and s.leads_until > now();
  return released;
end
$$;
comment on function public.worker_release is
  'For the worker: hands back rows it claimed and did not settle, so that they are due at once, in their earlier place: since due_at, if that is given and past, else since now. A row with another lease than the given one is left alone. Returns how many were handed back. leader: the worker that stops, so that the next one leads at once.';

insert into mux_private.applied_files (name) values ('060_claim') on conflict do nothing;

commit;
