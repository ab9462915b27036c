-- What it does: makes the functions that settle recheck, which has a row looked at once more, and
--   mark_deleted, for a video that was deleted; and those that settle that look at a ready row: the
--   lesson follows to another playback id, or is unplayable.
-- Needs: 072.
-- Locks: none. (The functions lock tracking row and schedule, in this order, and never wait.)
-- Undo: down/074_recheck.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A row that is being looked at becomes due again: that look may be older than this fact.
create or replace function mux_private.recheck(p_fact mux_private.fact, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_tracking.status = 'processing' then
    perform mux_private.make_due(p_tracking.id);
    return mux_private.outcome('waiting', p_tracking, p_fact.reason);
  elsif not mux_private.contradicts(p_fact, p_tracking) then
    return mux_private.outcome('unchanged', p_tracking, p_fact.reason);
  elsif exists (select from mux_private.schedule s where s.tracking_id = p_tracking.id) then
    perform mux_private.make_due(p_tracking.id);
  else
    perform mux_private.schedule_look(p_tracking, false);
    perform mux_private.record_event(
      'rechecked', p_tracking, p_tracking.status, null, null, 'playback_ids_changed', null, p_fact.observation);
  end if;
  return mux_private.outcome('waiting', p_tracking, 'recheck');
end
$$;
comment on function mux_private.recheck is
  'Has a row looked at next that is processing, or that is ready and contradicted by a fact. The row is locked by the caller.';

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
  if p_error_type = 'playback_ids_withdrawn' then
    perform mux_private.note_withdrawn(tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id));
  end if;
  perform mux_private.record_event(
    'unplayable', tracking, tracking.status, p_lesson_status, p_lesson_status, p_error_type, p_message, p_observation);
  return mux_private.outcome(
    case when mux_private.plays(tracking) then 'unplayable' else 'unchanged' end, tracking, p_error_type, p_message);
end
$$;
comment on function mux_private.mark_unplayable is
  'Keeps in a ready row why its video can no longer be played. Row and lesson stay as they are. The row is locked by the caller.';

-- What is not ready is looked at next, and the audit keeps it once. Nothing about another instructor's
-- video is written there.
create or replace function mux_private.settle_deletion(p_fact mux_private.fact, p_tracking public.mux_asset_tracking) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking := p_tracking;
  lesson mux_private.lesson := mux_private.lesson(p_tracking.lesson_id);
begin
  if tracking.mux_asset_id is distinct from p_fact.asset_id and (tracking.status = 'ready' or tracking.mux_asset_id is not null) then
    return '{"outcome": "unmatched"}';
  elsif tracking.status = 'ready' then
    return mux_private.mark_unplayable(tracking, lesson.status, p_fact.reason, p_fact.message, p_fact.observation);
  end if;
  tracking.mux_asset_id := p_fact.asset_id;
  if not mux_private.is_of_another(tracking, lesson.owner, p_fact.upload_id, p_fact.asset_id, p_fact.lesson_references)
     and not exists (
       select from public.mux_asset_events e
       where e.lesson_id = tracking.lesson_id and e.event = 'unplayable' and e.reason = p_fact.reason and e.asset_id = p_fact.asset_id)
  then
    perform mux_private.record_event(
      'unplayable', tracking, tracking.status, lesson.status, lesson.status, p_fact.reason, p_fact.message, p_fact.observation);
  end if;
  perform mux_private.make_due(tracking.id);
  return mux_private.outcome(case tracking.status when 'processing' then 'waiting' else 'unchanged' end, tracking, p_fact.reason);
end
$$;
comment on function mux_private.settle_deletion is
  'Settles against one row that its asset was deleted: a lesson that plays it is unplayable at once. The row is locked by the caller.';

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

-- No lesson is written, so none is locked.
create or replace function mux_private.settle_row_alone(p_fact mux_private.fact, p_tracking_id uuid) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id for no key update skip locked;
  if found then
    perform from mux_private.schedule s where s.tracking_id = p_tracking_id for no key update skip locked;
    if not found and exists (select from mux_private.schedule s where s.tracking_id = p_tracking_id) then
      tracking := null;
    end if;
  end if;
  if tracking.id is null then
    perform mux_private.back_off(p_tracking_id, 5);
    return coalesce(mux_private.busy(p_tracking_id, p_fact.verdict), '{"outcome": "unmatched"}');
  elsif not mux_private.tracks(tracking, p_fact.upload_id, p_fact.asset_id, false) then
    return '{"outcome": "unmatched"}';
  end if;
  return case p_fact.verdict
    when 'recheck' then mux_private.recheck(p_fact, tracking)
    else mux_private.settle_deletion(p_fact, tracking)
  end;
end
$$;
comment on function mux_private.settle_row_alone is
  'Settles recheck or mark_deleted against one row, without its lesson; what cannot be locked at once is busy.';

insert into mux_private.applied_files (name) values ('074_recheck') on conflict do nothing;

commit;
