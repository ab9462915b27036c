-- What it does: makes the rate limit that all workers share: worker_acquire_requests reserves the times
--   at which requests may be sent to Mux, worker_slow_down reduces the rate for a while, or lets none be
--   sent for as long as Mux asks.
-- Needs: 010.
-- Locks: none. Applied again: its own table, access exclusive for a moment. (The functions lock the one
--   row of rate_limit until their transaction ends.)
-- Undo: down/110_rate_limit.sql (drops its table)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.rate_limit (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  next_request_at timestamptz not null default '-infinity',
  slowed_at timestamptz not null default '-infinity',
  slowed_to double precision not null default 1 constraint slowed_to_a_share check (slowed_to > 0 and slowed_to <= 1),
  paused_until timestamptz not null default '-infinity'
);
comment on table mux_private.rate_limit is 'When the workers, taken together, may send the next request to Mux. One row.';
comment on column mux_private.rate_limit.only_row is 'Always true.';
comment on column mux_private.rate_limit.next_request_at is 'The first time that is not reserved yet.';
comment on column mux_private.rate_limit.slowed_at is 'When Mux last answered 429.';
comment on column mux_private.rate_limit.slowed_to is 'The share of the allowed rate that the 429 left to all workers. It grows back.';
comment on column mux_private.rate_limit.paused_until is 'When the pause ends that Mux asked for. No worker sends a request before.';
alter table mux_private.rate_limit enable row level security;
insert into mux_private.rate_limit default values on conflict do nothing;

-- A tenth of the rate comes back every five seconds. A time in the future means that the clock was
-- set back.
create or replace function mux_private.rate_share(p_rate mux_private.rate_limit, p_at timestamptz) returns double precision
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case
    when p_rate.slowed_at <= p_at + interval '1 minute' and isfinite(p_rate.slowed_at)
      then least(1, p_rate.slowed_to + greatest(0, extract(epoch from p_at - p_rate.slowed_at)) / 50)
    else 1
  end;
end
$$;
comment on function mux_private.rate_share is 'The share of the allowed rate that workers may use at a time. 1 unless Mux answered 429 lately.';

-- The clock is read after the row is locked, since waiting for the lock takes time too. A time far in
-- the future means that the clock was set back, and is dropped.
create or replace function public.worker_acquire_requests(
  requests integer default null, per_second double precision default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  rate mux_private.rate_limit;
  moment timestamptz;
  gap interval;
  first_at timestamptz;
  paused interval := '0';
begin
  if (requests between 1 and 1000 and per_second > 0 and per_second <= 10000) is not true then
    raise sqlstate 'PT400' using
      message = 'worker_acquire_requests needs requests (1 to 1000) and per_second (up to 10000)';
  end if;
  select p.* into strict rate from mux_private.rate_limit p for no key update;
  moment := clock_timestamp();
  gap := make_interval(secs => 1.03 / (per_second * mux_private.rate_share(rate, moment)));
  if rate.next_request_at > moment + greatest(interval '2 minutes', 20 * gap) then
    rate.next_request_at := moment;
  end if;
  if rate.paused_until between moment and moment + interval '1 hour' then
    paused := rate.paused_until - moment;
  end if;
  first_at := greatest(moment, rate.next_request_at, moment + paused);
  -- No worker waits for a longer pause: the times would only be missing after it.
  update mux_private.rate_limit p
  set next_request_at = first_at + requests * gap
  where p.only_row and paused <= interval '1 s';
  return jsonb_build_object(
    'first_in_seconds', extract(epoch from first_at - moment), 'gap_seconds', extract(epoch from gap),
    'paused_seconds', extract(epoch from paused));
end
$$;
comment on function public.worker_acquire_requests is
  'For the worker: reserves the next times at which requests may be sent to Mux, so that all workers together keep to per_second. Returns first_in_seconds, and gap_seconds between the others. paused_seconds: how much of that is a pause that Mux asked for; where that is more than a second, nothing is reserved.';

create or replace function public.worker_slow_down(pause_seconds double precision default 0) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  rate mux_private.rate_limit;
  moment timestamptz;
  pause interval := make_interval(secs => least(greatest(coalesce(worker_slow_down.pause_seconds, 0), 0), 3600));
begin
  select p.* into strict rate from mux_private.rate_limit p for no key update;
  moment := clock_timestamp();
  if rate.slowed_at not between moment - interval '1 s' and moment + interval '1 minute' then
    rate.slowed_to := greatest(0.1, mux_private.rate_share(rate, moment) / 2);
    rate.slowed_at := moment;
    rate.next_request_at := greatest(rate.next_request_at, moment + interval '1 s');
  end if;
  update mux_private.rate_limit p
  set slowed_to = rate.slowed_to, slowed_at = rate.slowed_at, next_request_at = rate.next_request_at,
      paused_until = greatest(
        moment + pause, case when p.paused_until <= moment + interval '1 hour' then p.paused_until end)
  where p.only_row;
end
$$;
comment on function public.worker_slow_down(double precision) is
  'For the worker: Mux answered 429, or asked for a pause. Halves the rate of all workers, at most once a second; it grows back by itself. pause_seconds: for how long no worker sends a request, an hour at most.';

insert into mux_private.applied_files (name) values ('110_rate_limit') on conflict do nothing;

commit;
