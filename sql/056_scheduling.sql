-- What it does: makes the triggers that keep the schedule: they enter what is processing and remove
--   what is not; and the functions that make a row due, or leave it to webhooks.
-- Needs: 030, 036, 050.
-- Locks: mux_asset_tracking, share row exclusive for a moment (triggers).
-- Undo: down/056_scheduling.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

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
    p_tracking.id, mux_private.owner_of(p_tracking.lesson_id),
    coalesce(p_tracking.tracked_at, p_tracking.updated_at), p_tracking.status <> 'processing', p_is_backlog,
    now() + case when p_is_new and mux_private.events_arrive() then interval '1 minute' else interval '0' end)
  on conflict (tracking_id) do update
  set owner = excluded.owner, tracked_at = excluded.tracked_at, is_recheck = excluded.is_recheck,
      is_backlog = excluded.is_backlog, next_check_at = excluded.next_check_at, check_count = 0,
      last_checked_at = null, missing_since = null, missing_count = 0, progress = null;
end
$$;
comment on function mux_private.schedule_look is 'Has a row looked at, with its clocks restarted.';

-- Security definer: the user who tracks an upload or deletes a row may not write the schedule.
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
comment on function mux_private.keep_schedule() is 'Trigger: enters a row that is processing into the schedule, and removes one that is not.';

create or replace function mux_private.make_due(p_tracking_id uuid) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.schedule s set next_check_at = now() where s.tracking_id = p_tracking_id and s.next_check_at > now();
end
$$;
comment on function mux_private.make_due is 'Has a row that waits looked at next.';

-- Most events come in groups of a few within seconds: only one that puts a row off by a fifth or more
-- is worth a write. What is due stays due: an operator or another event may have made it so, perhaps
-- since this transaction began, so the clock is read now.
create or replace function mux_private.put_off_until(p_tracking public.mux_asset_tracking) returns timestamptz
language plpgsql volatile set search_path = public, extensions, pg_temp as $$
declare
  pause interval := case when mux_private.is_mux_id(p_tracking.mux_asset_id) then interval '5 minutes' else interval '1 minute' end;
begin
  return (
    select now() + pause from mux_private.schedule s
    where s.tracking_id = p_tracking.id and s.next_check_at > clock_timestamp() and s.next_check_at < now() + 0.8 * pause);
end
$$;
comment on function mux_private.put_off_until is
  'Until when a row that waits is left to webhooks after an event about it; null where it stays due as it is.';

create or replace function mux_private.put_off(p_tracking public.mux_asset_tracking) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  put_off_until timestamptz := mux_private.put_off_until(p_tracking);
begin
  update mux_private.schedule s set next_check_at = put_off_until
  where s.tracking_id = p_tracking.id and put_off_until is not null;
end
$$;
comment on function mux_private.put_off is 'Leaves a row that waits to webhooks for a while, after an event about it. Its schedule is locked by the caller.';

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

insert into mux_private.applied_files (name) values ('056_scheduling') on conflict do nothing;

commit;
