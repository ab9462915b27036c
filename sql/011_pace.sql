-- What it does: makes what all workers agree on before they ask Mux: worker_take_turns hands out the
--   moments at which a request may be sent, worker_slow_down spaces them further for a while.
-- Needs: 001.
-- Locks: none. (The functions lock one row of their own for a moment.)
-- Undo: down/011_pace.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.mux_pace (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  next_turn_at timestamptz not null default '-infinity',
  next_bulk_turn_at timestamptz not null default '-infinity',
  live_at timestamptz not null default '-infinity',
  slowed_at timestamptz not null default '-infinity',
  slowed_to double precision not null default 1 constraint slowed_to_a_share check (slowed_to > 0 and slowed_to <= 1)
);
comment on table mux_private.mux_pace is 'When all workers together may ask Mux next. One row.';
comment on column mux_private.mux_pace.only_row is 'Always true.';
comment on column mux_private.mux_pace.next_turn_at is 'The first moment that nobody has been given yet.';
comment on column mux_private.mux_pace.next_bulk_turn_at is 'The first moment for bulk work, which leaves others the larger part.';
comment on column mux_private.mux_pace.live_at is 'When live work was given a turn last.';
comment on column mux_private.mux_pace.slowed_at is 'When Mux last asked for fewer requests.';
comment on column mux_private.mux_pace.slowed_to is 'The share of the allowed rate to which that slowed all workers; it grows back.';
alter table mux_private.mux_pace enable row level security;
drop policy if exists "Service role has full access" on mux_private.mux_pace;
create policy "Service role has full access" on mux_private.mux_pace
  for all to service_role using (true) with check (true);
revoke all on mux_private.mux_pace from public, anon, authenticated, service_role;
grant select, update on mux_private.mux_pace to service_role;
insert into mux_private.mux_pace default values on conflict do nothing;

-- A tenth of the rate comes back every five seconds. What lies in the future comes of a clock that
-- was set back.
create or replace function mux_private.pace_share(pace mux_private.mux_pace, at timestamptz) returns double precision
language sql immutable set search_path = ''
return case
  when ($1).slowed_at <= $2 + interval '1 minute' and isfinite(($1).slowed_at) then least(1, ($1).slowed_to + greatest(0, extract(epoch from $2 - ($1).slowed_at)) / 50)
  else 1
end;
comment on function mux_private.pace_share is 'The share of the allowed rate at which workers go at a moment, 1 unless Mux asked for less.';

-- The clock is read after the row is locked, since waiting for it takes time too. A turn far in the
-- future can only come of a clock that was set back, and is forgotten.
create or replace function public.worker_take_turns(
  turns integer default null, per_second double precision default null, bulk boolean default false
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  pace mux_private.mux_pace;
  moment timestamptz;
  gap interval;
  first_at timestamptz;
begin
  if (turns between 1 and 1000 and per_second > 0 and per_second <= 10000) is not true or bulk is null then
    raise sqlstate 'PT400' using
      message = 'worker_take_turns needs turns (1 to 1000) and per_second (up to 10000)';
  end if;
  select p.* into strict pace from mux_private.mux_pace p for no key update;
  moment := clock_timestamp();
  gap := make_interval(secs => 1.03 / (per_second * mux_private.pace_share(pace, moment)));
  if pace.next_turn_at > moment + greatest(interval '2 minutes', 20 * gap) then
    pace.next_turn_at := moment;
    pace.next_bulk_turn_at := moment;
  end if;
  first_at := greatest(moment, pace.next_turn_at);
  if bulk then
    first_at := greatest(first_at, pace.next_bulk_turn_at);
  end if;
  update mux_private.mux_pace p
  set next_turn_at = first_at + turns * gap,
      next_bulk_turn_at = case
        when not bulk then pace.next_bulk_turn_at
        when pace.live_at between moment - interval '10 s' and first_at then first_at + turns * gap * 4
        else first_at + turns * gap end,
      live_at = case when bulk then pace.live_at else first_at end
  where p.only_row;
  return jsonb_build_object(
    'first_in_seconds', extract(epoch from first_at - moment), 'gap_seconds', extract(epoch from gap));
end
$$;
comment on function public.worker_take_turns is
  'For the worker: hands out the next moments at which Mux may be asked, so that all workers together keep to per_second: the first in so many seconds, the others a gap apart. Bulk work is given every fourth at most while live work goes on.';

create or replace function public.worker_slow_down() returns void
language sql set search_path = public, extensions, pg_temp
begin atomic
  update mux_private.mux_pace p
  set slowed_to = greatest(0.1, mux_private.pace_share(p, clock_timestamp()) / 2),
      slowed_at = clock_timestamp(),
      next_turn_at = greatest(p.next_turn_at, clock_timestamp() + interval '1 s')
  where p.slowed_at not between clock_timestamp() - interval '1 s' and clock_timestamp() + interval '1 minute';
end;
comment on function public.worker_slow_down() is
  'For the worker: Mux asked for fewer requests. Halves the pace of all workers, once a second at most; it comes back by itself.';

revoke execute on function mux_private.pace_share from public, anon, authenticated;
revoke execute on function public.worker_take_turns from public, anon, authenticated;
revoke execute on function public.worker_slow_down from public, anon, authenticated;
grant execute on function mux_private.pace_share to service_role;
grant execute on function public.worker_take_turns to service_role;
grant execute on function public.worker_slow_down to service_role;

insert into mux_private.applied_files (name) values ('011_pace') on conflict do nothing;

commit;
