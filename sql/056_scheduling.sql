-- What it does: makes the triggers that keep the schedule: they enter what is processing and remove
--   what is not.
-- Needs: 030, 036.
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
