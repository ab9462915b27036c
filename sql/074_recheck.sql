-- What it does: makes the functions that have a ready row looked at once more if its playback id seems
--   to be gone, and settle that look: the lesson follows to another id, or is unplayable.
-- Needs: 072.
-- Locks: none. (The functions lock tracking row and schedule, in this order, and never wait.)
-- Undo: down/074_recheck.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A row that is being looked at becomes due again: that look may be older than this fact.
create or replace function mux_private.recheck(p_tracking_id uuid, p_fact mux_private.fact) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
  is_scheduled boolean;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id for no key update skip locked;
  if not found then
    return jsonb_build_object('outcome', 'busy', 'reason', 'recheck', 'tracking_id', p_tracking_id,
                              'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id);
  elsif not mux_private.contradicts(p_fact, tracking) then
    return mux_private.outcome('unchanged', tracking, p_fact.reason);
  end if;
  is_scheduled := exists (select from mux_private.schedule s where s.tracking_id = tracking.id);
  if is_scheduled then
    perform mux_private.make_due(tracking.id);
  else
    perform mux_private.schedule_look(tracking, false);
    perform mux_private.record_event(
      'rechecked', tracking, tracking.status, null, null, 'playback_ids_changed', null, p_fact.observation);
  end if;
  return mux_private.outcome('waiting', tracking, 'recheck');
end
$$;
comment on function mux_private.recheck is 'Has a ready row looked at once more, since a fact contradicts it; busy where it is locked.';

create or replace function mux_private.mark_unplayable(
  p_tracking public.mux_asset_tracking, p_lesson_status text, p_error_type text, p_message text, p_observation jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking := p_tracking;
  is_news boolean := not mux_private.is_unplayable(p_tracking) or p_tracking.error_type <> p_error_type;
begin
  delete from mux_private.schedule s where s.tracking_id = p_tracking.id;
  if not is_news then
    return mux_private.outcome('unchanged', tracking, p_error_type, p_message);
  end if;
  update public.mux_asset_tracking t
  set error_type = p_error_type, error_message = p_message, updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  perform mux_private.record_event(
    'unplayable', tracking, tracking.status, p_lesson_status, p_lesson_status, p_error_type, p_message, p_observation);
  return mux_private.outcome(
    case when mux_private.plays(tracking) then 'unplayable' else 'unchanged' end, tracking, p_error_type, p_message);
end
$$;
comment on function mux_private.mark_unplayable is
  'Keeps in a ready row why its video can no longer be played. Row and lesson stay as they are. The row is locked by the caller.';

create or replace function mux_private.follow_playback_id(
  p_tracking public.mux_asset_tracking, p_lesson mux_private.lesson, p_playback_id text, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking := p_tracking;
  does_play boolean := mux_private.plays(p_tracking);
begin
  if does_play and p_tracking.mux_playback_id <> p_playback_id then
    perform mux_private.write_video(p_lesson.id, false, p_tracking.mux_asset_id, p_playback_id);
  end if;
  update public.mux_asset_tracking t
  set mux_playback_id = p_playback_id, error_type = null, error_message = null, updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  perform mux_private.note_video(
    tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), tracking.mux_asset_id, p_playback_id,
    p_lesson.is_published);
  perform mux_private.record_event(
    'updated', tracking, tracking.status, p_lesson.status, p_lesson.status, 'playback_ids_changed', null, p_fact.observation);
  return mux_private.outcome(case when does_play then 'updated' else 'unchanged' end, tracking, 'playback_ids_changed');
end
$$;
comment on function mux_private.follow_playback_id is
  'Has a ready row, and the lesson that plays its video, follow to another playback id of the asset. Both are locked by the caller.';

-- Only a look that began after the row was made due settles it, so the lease must still be the one
-- that was given. A lesson that holds other ids than its row, or another status, keeps them.
create or replace function mux_private.settle_recheck(
  p_tracking public.mux_asset_tracking, p_look mux_private.schedule, p_lesson mux_private.lesson, p_claim mux_private.claim,
  p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_tracking.mux_asset_id is distinct from p_fact.asset_id or p_look.next_check_at is distinct from p_claim.leased_until then
    return mux_private.outcome('unchanged', p_tracking, p_claim.reason);
  end if;
  case p_claim.verdict
    when 'wait' then
      perform mux_private.note_look(p_claim);
      return mux_private.outcome('waiting', p_tracking, p_claim.reason);
    when 'fail' then
      return mux_private.mark_unplayable(p_tracking, p_lesson.status, p_claim.reason, p_claim.message, p_fact.observation);
    when 'publish' then
      if mux_private.is_mux_id(p_claim.playback_id) is not true then
        raise exception 'to publish takes a playback id' using errcode = 'invalid_parameter_value';
      end if;
      delete from mux_private.schedule s where s.tracking_id = p_tracking.id;
      if mux_private.is_unplayable(p_tracking) or p_tracking.mux_playback_id is distinct from p_claim.playback_id then
        return mux_private.follow_playback_id(p_tracking, p_lesson, p_claim.playback_id, p_fact);
      end if;
      return mux_private.outcome('unchanged', p_tracking, p_claim.reason);
    else
      raise exception 'no such verdict: %', coalesce(p_claim.verdict, 'null') using errcode = 'invalid_parameter_value';
  end case;
end
$$;
comment on function mux_private.settle_recheck is
  'Settles the look at a ready row whose playback id seemed to be gone: updated, unplayable, or unchanged. Both rows are locked by the caller.';

insert into mux_private.applied_files (name) values ('074_recheck') on conflict do nothing;

commit;
