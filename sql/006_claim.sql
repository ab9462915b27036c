-- What it does: makes the functions that hand due rows to a worker and take them back:
--   worker_claim, worker_release.
-- Needs: 002.
-- Locks: none. (The functions lock the rows they hand out, never waiting for one.)
-- Undo: down/006_claim.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.worker_state (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  environment_id text,
  environment_seen_at timestamptz
);
alter table mux_private.worker_state
  add column if not exists sweeper text,
  add column if not exists sweeps_until timestamptz,
  add column if not exists events_at timestamptz;
comment on table mux_private.worker_state is 'What all workers of this database must agree on. One row.';
comment on column mux_private.worker_state.only_row is 'Always true.';
comment on column mux_private.worker_state.environment_id is 'The Mux environment in which our ids were last found.';
comment on column mux_private.worker_state.environment_seen_at is 'When that environment was first found to hold them.';
comment on column mux_private.worker_state.sweeper is 'The worker that walks Mux''s lists for all.';
comment on column mux_private.worker_state.sweeps_until is 'Until when that is left to it, unless it says so again.';
comment on column mux_private.worker_state.events_at is 'When a webhook of our Mux environment, or about a row of ours, last reported an upload or asset, accurate to some seconds.';
alter table mux_private.worker_state enable row level security;
drop policy if exists "Service role has full access" on mux_private.worker_state;
create policy "Service role has full access" on mux_private.worker_state
  for all to service_role using (true) with check (true);
revoke all on mux_private.worker_state from public, anon, authenticated, service_role;
grant select, update on mux_private.worker_state to service_role;
insert into mux_private.worker_state default values on conflict do nothing;

-- One worker at a time walks Mux's lists, and what it finds there it settles for all. Who asks
-- again, or first after the time is up, is the one.
create or replace function mux_private.may_sweep(sweeper text, seconds double precision) returns boolean
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  perform 1 from mux_private.worker_state s
  where s.sweeper = may_sweep.sweeper or s.sweeps_until is null or s.sweeps_until <= now()
  for no key update skip locked;
  if not found then
    return false;
  end if;
  update mux_private.worker_state s
  set sweeper = may_sweep.sweeper, sweeps_until = now() + make_interval(secs => seconds)
  where s.only_row;
  return true;
end
$$;
comment on function mux_private.may_sweep is 'Makes this worker the one that sweeps, for the given number of seconds, unless another worker is.';

-- While Mux's webhooks arrive, an upload that has just begun is left to them: no scan reads it in
-- its first minute, unless something has made it due since. When they stop, that ends by itself.
create or replace function mux_private.events_arrive() returns boolean
language sql stable set search_path = public, extensions, pg_temp
return coalesce((select s.events_at > now() - interval '10 minutes' from mux_private.worker_state s), false);
comment on function mux_private.events_arrive() is 'Whether Mux''s webhooks have reported an upload or asset in the last ten minutes.';

create or replace function mux_private.is_left_to_events(tracking public.mux_asset_tracking) returns boolean
language sql stable set search_path = public, extensions, pg_temp
return ($1).check_count = 0 and ($1).next_check_at <= ($1).tracked_at
  and ($1).tracked_at > now() - interval '1 minute';
comment on function mux_private.is_left_to_events is 'Whether a due row is so new that a webhook is likely to settle it before anybody has to ask Mux.';

-- By index whatever the planner thinks of a table's size, now or when this connection began. Without
-- jit, which before 18 would compile what is switched off, and take longer than all else.
create or replace function public.worker_claim(
  batch_size integer default null,
  lease_seconds double precision default null,
  sweeper text default null,
  sweep_above integer default 0,
  sweep_seconds double precision default 15,
  sweep_size integer default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  claimed jsonb;
  sweep text := 'none';
  most integer := batch_size;
  events_arrive boolean := mux_private.events_arrive();
begin
  if batch_size is null or batch_size not between 1 and 1000
     or lease_seconds is null or lease_seconds not between 1 and 3600
     or sweep_above is null or sweep_seconds is null or sweep_size not between 1 and 1000 then
    raise sqlstate 'PT400' using
      message = 'worker_claim needs batch_size (1 to 1000) and lease_seconds (1 to 3600)';
  end if;

  if sweeper is not null and (
    select count(*) > sweep_above
    from (
      select from public.mux_asset_tracking t
      where t.status = 'processing' and t.next_check_at <= now()
        and not (events_arrive and mux_private.is_left_to_events(t))
      limit sweep_above + 1
    ) due
  ) then
    if not mux_private.may_sweep(sweeper, sweep_seconds) then
      return jsonb_build_object(
        'rows', '[]'::jsonb, 'environment_id', null, 'sweep', 'others', 'events_arrive', events_arrive,
        'more_are_due', false);
    end if;
    sweep := 'ours';
    most := coalesce(sweep_size, batch_size);
  end if;

  -- Those that are to be looked at once more have a tenth of a batch, one at least.
  with recheck as (
    select t.id, t.recheck_at as due_at
    from public.mux_asset_tracking t
    where t.recheck_at <= now() and t.status = 'ready'
    order by t.recheck_at
    limit greatest(most / 10, 1)
    for update skip locked
  ), due as (
    select t.id, t.next_check_at as due_at
    from public.mux_asset_tracking t
    where t.status = 'processing' and t.next_check_at <= now()
      and not (events_arrive and mux_private.is_left_to_events(t))
    order by t.next_check_at
    limit most - (select count(*) from recheck)
    for update skip locked
  ), leased_recheck as (
    update public.mux_asset_tracking t
    set recheck_at = now() + make_interval(secs => lease_seconds)
    from recheck
    where t.id = recheck.id
    returning t.*, recheck.due_at, t.recheck_at as leased_until
  ), leased_due as (
    update public.mux_asset_tracking t
    set next_check_at = now() + make_interval(secs => lease_seconds)
    from due
    where t.id = due.id
    returning t.*, due.due_at, t.next_check_at as leased_until
  ), leased as (
    select * from leased_recheck union all select * from leased_due
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', t.id,
    'lesson_id', t.lesson_id,
    'lesson_status', l.status,
    'status', t.status,
    'playback_id', case when t.status = 'ready' then left(t.mux_playback_id, 300) end,
    'upload_id', left(t.upload_id, 300),
    'asset_id', case when t.mux_asset_id !~ '^temp_' then left(t.mux_asset_id, 300) end,
    'tracked_at', t.tracked_at,
    'leased_until', t.leased_until,
    'due_at', t.due_at,
    'age_seconds', extract(epoch from now() - t.tracked_at),
    'check_count', t.check_count,
    'missing_seconds', extract(epoch from now() - t.missing_since),
    'missing_count', t.missing_count
  ) order by t.due_at), '[]') into claimed
  from leased t join public.lessons l on l.id = t.lesson_id;

  return jsonb_build_object(
    'rows', claimed,
    'environment_id', (select environment_id from mux_private.worker_state),
    'sweep', sweep,
    'events_arrive', events_arrive,
    'more_are_due', jsonb_array_length(claimed) = most and exists (
      select 1 from public.mux_asset_tracking t
      where t.status = 'processing' and t.next_check_at <= now()
        and not (events_arrive and mux_private.is_left_to_events(t)))
  );
end
$$;
comment on function public.worker_claim is
  'For the worker: leases at most batch_size due rows, the longest due first, by moving their next_check_at (of a ready row that is to be looked at once more: its recheck_at) into the future; a worker that dies just lets them fall due again. Ages are in seconds. Where more than sweep_above rows are due, they are for the one sweeper (sweep: ours), sweep_size at most, and nobody else is given any (sweep: others). events_arrive: whether webhooks do, which leaves them the uploads of the last minute. more_are_due: whether due rows are left for whoever asks again.';

-- A row keeps its place among those that are due, or whatever a scan did not come to would stand
-- behind what it has just looked at, again and again. It is never due before its upload began, nor
-- in that moment: what was claimed once is not left to webhooks (see is_left_to_events).
create or replace function public.worker_release(
  claimed jsonb default null, sweeper text default null
) returns integer
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  released integer;
  released_too integer;
begin
  if claimed is null or jsonb_typeof(claimed) <> 'array' then
    raise sqlstate 'PT400' using message = 'worker_release needs claimed, an array of {id, leased_until, due_at}';
  end if;
  with mine as (
    select t.id, least(now(), greatest(coalesce(c.due_at, now()), t.tracked_at + interval '1 microsecond')) as due_at
    from jsonb_to_recordset(claimed) as c (id uuid, leased_until timestamptz, due_at timestamptz)
    join public.mux_asset_tracking t on t.id = c.id and t.next_check_at = c.leased_until
    where t.status = 'processing'
    for update of t skip locked
  )
  update public.mux_asset_tracking t set next_check_at = mine.due_at from mine where t.id = mine.id;
  get diagnostics released = row_count;
  with mine as (
    select t.id, least(now(), coalesce(c.due_at, now())) as due_at
    from jsonb_to_recordset(claimed) as c (id uuid, leased_until timestamptz, due_at timestamptz)
    join public.mux_asset_tracking t on t.id = c.id and t.recheck_at = c.leased_until
    where t.status = 'ready'
    for update of t skip locked
  )
  update public.mux_asset_tracking t set recheck_at = mine.due_at from mine where t.id = mine.id;
  get diagnostics released_too = row_count;
  update mux_private.worker_state s set sweeps_until = now()
  where s.sweeper = worker_release.sweeper and s.sweeps_until > now();
  return released + released_too;
end
$$;
comment on function public.worker_release is
  'For the worker: hands back rows it claimed and did not settle, so that they are due at once, in the place they had: since due_at, if that is given and past, else since now. A row whose lease is no longer the one given is left alone. Returns how many were handed back. sweeper: who sweeps no more.';

revoke execute on function mux_private.may_sweep from public, anon, authenticated;
grant execute on function mux_private.may_sweep to service_role;
revoke execute on function mux_private.events_arrive() from public, anon, authenticated;
revoke execute on function mux_private.is_left_to_events from public, anon, authenticated;
grant execute on function mux_private.events_arrive() to service_role;
grant execute on function mux_private.is_left_to_events to service_role;
revoke execute on function public.worker_claim from public, anon, authenticated;
revoke execute on function public.worker_release from public, anon, authenticated;
grant execute on function public.worker_claim to service_role;
grant execute on function public.worker_release to service_role;

insert into mux_private.applied_files (name) values ('006_claim') on conflict do nothing;

commit;
