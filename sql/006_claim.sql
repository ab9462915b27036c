-- What it does: keeps the schedule, which says when to look at which row, and makes the functions
--   that hand due rows to a worker and take them back: worker_claim, worker_release.
-- Needs: 004.
-- Locks: mux_asset_tracking, share row exclusive for a moment (triggers). After that, in a
--   transaction of its own, what is processing is entered, which no request waits for. (The functions
--   lock rows of the schedule, never waiting for one.)
-- Undo: down/006_claim.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- What looking needs, apart from the app's table: polling writes here alone. Primary key only, and
-- half of each page free: then every update finds room beside its row, and no index changes with it
-- (HOT). The claim reads the table whole, which holds only what waits. No foreign key: written twice
-- in a transaction it would be checked again, and wait for a lesson that is being deleted, while that
-- delete waits for the row.
create table if not exists mux_private.schedule (
  tracking_id uuid primary key,
  owner text,
  tracked_at timestamptz not null default now(),
  is_recheck boolean not null default false,
  is_backlog boolean not null default false,
  next_check_at timestamptz not null default now(),
  -- Counts of looks at one upload, a few thousand at most:
  -- squawk-ignore prefer-bigint-over-int
  check_count integer not null default 0,
  last_checked_at timestamptz,
  missing_since timestamptz,
  -- squawk-ignore prefer-bigint-over-int
  missing_count integer not null default 0,
  progress double precision,
  constraint looks_are_counted_from_zero check (check_count >= 0 and missing_count >= 0),
  constraint what_is_missing_was_looked_for check ((missing_since is null) = (missing_count = 0))
) with (fillfactor = 50);
comment on table mux_private.schedule is 'When to look at each tracking row that is processing, and at a ready one that is to be looked at once more. Triggers on mux_asset_tracking make and remove its rows.';
comment on column mux_private.schedule.tracking_id is 'The row of mux_asset_tracking.';
comment on column mux_private.schedule.owner is 'Whose turn it is: the lesson''s instructor when the row was made.';
comment on column mux_private.schedule.tracked_at is 'When the upload began to be tracked, so that what waits is counted without reading the app''s table.';
comment on column mux_private.schedule.is_recheck is 'Whether the row is ready, and is to be looked at once more because Mux seems to list its playback id no longer.';
comment on column mux_private.schedule.is_backlog is 'Whether a backfill entered the row: live ones come first.';
comment on column mux_private.schedule.next_check_at is 'When the row falls due; while a worker has it, when its lease ends.';
comment on column mux_private.schedule.check_count is 'How often Mux was asked about this upload.';
comment on column mux_private.schedule.last_checked_at is 'When Mux was last asked about it.';
comment on column mux_private.schedule.missing_since is 'Since when Mux has not known it, or has had no usable playback id for it.';
comment on column mux_private.schedule.missing_count is 'How many looks in a row found it missing.';
comment on column mux_private.schedule.progress is 'How far Mux is with encoding it, in per cent, as Mux said last; null where it said nothing.';
alter table mux_private.schedule enable row level security;
drop policy if exists "Service role has full access" on mux_private.schedule;
create policy "Service role has full access" on mux_private.schedule
  for all to service_role using (true) with check (true);
revoke all on mux_private.schedule from public, anon, authenticated, service_role;
grant select, insert, update, delete on mux_private.schedule to service_role;

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

create or replace function mux_private.events_arrive() returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return coalesce((select s.events_at > now() - interval '10 minutes' from mux_private.worker_state s), false);
end
$$;
comment on function mux_private.events_arrive() is 'Whether Mux''s webhooks have reported an upload or asset in the last ten minutes.';

-- While Mux's webhooks arrive, an upload that has just begun is left to them: it falls due after its
-- first minute, unless something makes it due before. Another look at the same upload is due at once.
create or replace function mux_private.schedule_look(
  p_tracking public.mux_asset_tracking, p_is_new boolean, p_is_backlog boolean default false
) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  insert into mux_private.schedule as s (tracking_id, owner, tracked_at, is_recheck, is_backlog, next_check_at)
  values (
    p_tracking.id, (select l.creator_id::text from public.lessons l where l.id = p_tracking.lesson_id),
    coalesce(p_tracking.tracked_at, p_tracking.updated_at), p_tracking.status <> 'processing', p_is_backlog,
    now() + case when p_is_new and mux_private.events_arrive() then interval '1 minute' else interval '0' end)
  on conflict (tracking_id) do update
  set owner = excluded.owner, tracked_at = excluded.tracked_at, is_recheck = excluded.is_recheck,
      is_backlog = excluded.is_backlog, next_check_at = excluded.next_check_at, check_count = 0,
      last_checked_at = null, missing_since = null, missing_count = 0, progress = null;
end
$$;
comment on function mux_private.schedule_look is 'Has a row looked at, with its clocks restarted.';

-- Security definer: whoever tracks an upload or deletes a row may not write the schedule.
create or replace function mux_private.keep_schedule() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  if tg_op = 'DELETE' then
    delete from mux_private.schedule s where s.tracking_id = old.id;
  elsif new.status <> 'processing' then
    delete from mux_private.schedule s where s.tracking_id = new.id;
  elsif tg_op = 'INSERT' then
    perform mux_private.schedule_look(new, true);
  else
    perform mux_private.schedule_look(new, new.upload_id is distinct from old.upload_id);
  end if;
  return null;
end
$$;
comment on function mux_private.keep_schedule() is 'Trigger: the schedule holds what is processing, and forgets what is not.';

create or replace trigger schedule_new_upload
  after insert on public.mux_asset_tracking for each row
  when (new.status = 'processing')
  execute function mux_private.keep_schedule();

create or replace trigger schedule_changed_upload
  after update on public.mux_asset_tracking for each row
  when (new.status is distinct from old.status or new.tracked_at is distinct from old.tracked_at)
  execute function mux_private.keep_schedule();

create or replace trigger unschedule_upload
  after delete on public.mux_asset_tracking for each row
  execute function mux_private.keep_schedule();

-- The schedule is read whole, on purpose: see its table.
create or replace function mux_private.due_count() returns bigint
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = on as $$
begin
  return (select count(*) from mux_private.schedule s where s.next_check_at <= now());
end
$$;
comment on function mux_private.due_count() is 'How many rows are due.';

-- Where more rows are due than a batch, owners take turns: one owner's thousands, or a backfill's,
-- do not keep another's waiting. Of one owner, what waits comes before what is looked at once more,
-- rows that were found before missing ones, and live ones before a backfill's. Four batches are ranked and one of them is locked, or a
-- second worker that ranks the same would find all of them locked.
create or replace function mux_private.lease(p_most integer, p_seconds double precision) returns table (
  tracking_id uuid, due_at timestamptz, leased_until timestamptz, check_count integer, missing_since timestamptz,
  missing_count integer
)
language plpgsql rows 200 set search_path = public, extensions, pg_temp set enable_seqscan = on as $$
begin
  return query
  with due as (
    select s.tracking_id, s.next_check_at,
      row_number() over (
        partition by s.owner order by s.is_backlog, s.is_recheck, s.missing_count > 0, s.next_check_at) as turn
    from mux_private.schedule s
    where s.next_check_at <= now()
  ), ranked as materialized (
    select d.tracking_id, row_number() over (order by d.turn, d.next_check_at) as place
    from due d where d.turn <= 4 * p_most
    order by d.turn, d.next_check_at limit 4 * p_most
  ), free as materialized (
    select s.tracking_id, s.next_check_at, r.place
    from ranked r join mux_private.schedule s on s.tracking_id = r.tracking_id
    where s.next_check_at <= now()
    order by r.place limit p_most
    for no key update of s skip locked
  )
  update mux_private.schedule s
  set next_check_at = now() + make_interval(secs => p_seconds)
  from free f
  where s.tracking_id = f.tracking_id
  returning s.tracking_id, f.next_check_at, s.next_check_at, s.check_count, s.missing_since, s.missing_count;
end
$$;
comment on function mux_private.lease is 'Leases at most so many due rows by moving their next_check_at into the future.';

-- By index, whatever the planner thinks of a table's size, now or when this connection began. Without
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
  due bigint := mux_private.due_count();
begin
  if batch_size is null or batch_size not between 1 and 1000
     or lease_seconds is null or lease_seconds not between 1 and 3600
     or sweep_above is null or sweep_seconds is null or sweep_size not between 1 and 1000 then
    raise sqlstate 'PT400' using
      message = 'worker_claim needs batch_size (1 to 1000) and lease_seconds (1 to 3600)';
  end if;

  if sweeper is not null and due > sweep_above then
    if not mux_private.may_sweep(sweeper, sweep_seconds) then
      return jsonb_build_object(
        'rows', '[]'::jsonb, 'environment_id', null, 'sweep', 'others', 'events_arrive', mux_private.events_arrive(),
        'more_are_due', false);
    end if;
    sweep := 'ours';
    most := coalesce(sweep_size, batch_size);
  end if;

  if due > 0 then
    select jsonb_agg(jsonb_build_object(
      'id', t.id,
      'lesson_id', t.lesson_id,
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
      'missing_count', s.missing_count
    ) order by s.due_at) into claimed
    from mux_private.lease(most, lease_seconds) s
    join public.mux_asset_tracking t on t.id = s.tracking_id
    join public.lessons l on l.id = t.lesson_id;
  end if;

  return jsonb_build_object(
    'rows', coalesce(claimed, '[]'),
    'environment_id', (select environment_id from mux_private.worker_state),
    'sweep', sweep,
    'events_arrive', mux_private.events_arrive(),
    'more_are_due', due > most and mux_private.due_count() > 0
  );
end
$$;
comment on function public.worker_claim is
  'For the worker: leases at most batch_size due rows by moving their next_check_at into the future; a worker that dies just lets them fall due again. Where more are due, owners take turns. Ages are in seconds. Where more than sweep_above rows are due, they are for the one sweeper (sweep: ours), sweep_size at most, and nobody else is given any (sweep: others). events_arrive: whether webhooks do, which are then left the first minute of an upload. more_are_due: whether due rows are left for whoever asks again.';

-- A row keeps its place among those that are due, or whatever a scan did not come to would stand
-- behind what it has just looked at, again and again.
create or replace function public.worker_release(
  claimed jsonb default null, sweeper text default null
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
  update mux_private.worker_state s set sweeps_until = now()
  where s.sweeper = worker_release.sweeper and s.sweeps_until > now();
  return released;
end
$$;
comment on function public.worker_release is
  'For the worker: hands back rows it claimed and did not settle, so that they are due at once, in the place they had: since due_at, if that is given and past, else since now. A row whose lease is no longer the one given is left alone. Returns how many were handed back. sweeper: who sweeps no more.';

revoke execute on function mux_private.may_sweep from public, anon, authenticated;
grant execute on function mux_private.may_sweep to service_role;
revoke execute on function mux_private.events_arrive() from public, anon, authenticated;
grant execute on function mux_private.events_arrive() to service_role;
revoke execute on function mux_private.schedule_look from public, anon, authenticated;
grant execute on function mux_private.schedule_look to service_role;
revoke execute on function mux_private.keep_schedule() from public, anon, authenticated;
revoke execute on function mux_private.due_count() from public, anon, authenticated;
grant execute on function mux_private.due_count() to service_role;
revoke execute on function mux_private.lease from public, anon, authenticated;
grant execute on function mux_private.lease to service_role;
revoke execute on function public.worker_claim from public, anon, authenticated;
revoke execute on function public.worker_release from public, anon, authenticated;
grant execute on function public.worker_claim to service_role;
grant execute on function public.worker_release to service_role;

commit;

-- Rows from before this file: what is new, the triggers enter. Each pass of the adoption enters what
-- is missing, so that this can be interrupted.
begin;
set local lock_timeout = '5s';

insert into mux_private.schedule (tracking_id, owner, tracked_at)
select t.id, l.creator_id::text, coalesce(t.tracked_at, t.updated_at)
from public.mux_asset_tracking t join public.lessons l on l.id = t.lesson_id
where t.status = 'processing'
on conflict do nothing;
analyze mux_private.schedule;

insert into mux_private.applied_files (name) values ('006_claim') on conflict do nothing;

commit;
