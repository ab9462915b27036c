-- What it does: makes the functions that settle one verdict against one row: publish, fail or wait.
--   (074 makes those for recheck and mark_deleted.)
-- Needs: 032, 054, 056, 071. (settle_row calls functions of 074.)
-- Locks: none. (The functions lock lesson, tracking row and schedule, in this order, and never wait.)
-- Undo: down/072_settle_row.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.publish(
  p_tracking public.mux_asset_tracking, p_lesson mux_private.lesson, p_looked_before timestamptz, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
  done text := case when p_lesson.is_draft then 'published' else 'attached' end;
  found_status text;
begin
  if (mux_private.is_mux_id(p_fact.asset_id) and mux_private.is_mux_id(p_fact.playback_id)) is not true then
    raise exception 'to publish takes an asset and a playback id' using errcode = 'invalid_parameter_value';
  end if;
  found_status := mux_private.write_video(p_lesson.id, p_lesson.is_draft, p_fact.asset_id, p_fact.playback_id);

  update public.mux_asset_tracking t
  set status = 'ready', mux_asset_id = p_fact.asset_id, mux_playback_id = p_fact.playback_id,
      error_type = null, error_message = null, settled_at = now(), updated_at = now(),
      duration_seconds = coalesce(mux_private.number_of(p_fact.observation -> 'duration_seconds'), t.duration_seconds),
      aspect_ratio = coalesce(left(p_fact.observation ->> 'aspect_ratio', 50), t.aspect_ratio),
      max_resolution = coalesce(left(p_fact.observation ->> 'max_resolution', 50), t.max_resolution)
  where t.id = p_tracking.id
  returning t.* into tracking;
  perform mux_private.note_video(
    tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), tracking.mux_asset_id,
    tracking.mux_playback_id, p_lesson.is_draft or p_lesson.is_published);

  perform mux_private.record_event(
    done, tracking, p_tracking.status, p_lesson.status, found_status, p_fact.reason, null,
    p_fact.observation || jsonb_build_object(
      'looked_before', coalesce(p_looked_before, p_tracking.tracked_at, p_tracking.updated_at)));
  return mux_private.outcome(done, tracking, p_fact.reason);
end
$$;
comment on function mux_private.publish is 'Gives a lesson its video and, where it is a draft, publishes it. Both rows are locked by the caller.';

create or replace function mux_private.fail(
  p_tracking public.mux_asset_tracking, p_reason text, p_message text, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  update public.mux_asset_tracking t
  set status = 'error', error_type = p_reason, error_message = p_message,
      mux_asset_id = coalesce(p_fact.asset_id, t.mux_asset_id), settled_at = now(), updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  perform mux_private.record_event('failed', tracking, p_tracking.status, null, null, p_reason, p_message, p_fact.observation);
  return mux_private.outcome('failed', tracking, p_reason, p_message);
end
$$;
comment on function mux_private.fail is 'Fails an upload, with the reason. The row is locked by the caller.';

-- Only while the row is leased as it was claimed: what has made it due since is newer than the look.
create or replace function mux_private.note_look(p_claim mux_private.claim, p_progress double precision default null) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_claim.pause_seconds is null then
    raise exception 'to wait takes pause_seconds' using errcode = 'invalid_parameter_value';
  end if;
  update mux_private.schedule s
  set check_count = s.check_count + 1, last_checked_at = now(),
      next_check_at = now() + make_interval(secs => p_claim.pause_seconds),
      missing_since = case p_claim.missing when true then coalesce(s.missing_since, now()) when false then null else s.missing_since end,
      missing_count = case p_claim.missing when true then s.missing_count + 1 when false then 0 else s.missing_count end,
      progress = coalesce(p_progress, s.progress)
  where s.tracking_id = p_claim.id and s.next_check_at = p_claim.leased_until;
end
$$;
comment on function mux_private.note_look is 'Notes in the schedule that a look at a claimed row settled nothing, and when to look again.';

-- A look that learns nothing writes the schedule alone. For a row that is not claimed, only the asset
-- id is kept, and an event has it looked at later, since the next news is an event, too. Where an event
-- is about a lesson that names what may be newer, the row is due at once.
create or replace function mux_private.wait(
  p_tracking public.mux_asset_tracking, p_claim mux_private.claim, p_reason text, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking := p_tracking;
  learned boolean := p_tracking.mux_asset_id is distinct from coalesce(p_fact.asset_id, p_tracking.mux_asset_id);
begin
  if learned or (p_claim.id is not null and p_tracking.error_type is not null) then
    update public.mux_asset_tracking t
    set mux_asset_id = coalesce(p_fact.asset_id, t.mux_asset_id),
        error_type = case when p_claim.id is null then t.error_type end,
        error_message = case when p_claim.id is null then t.error_message end,
        updated_at = case when learned then now() else t.updated_at end
    where t.id = p_tracking.id
    returning t.* into tracking;
  end if;
  if p_claim.id is not null then
    perform mux_private.note_look(p_claim, mux_private.number_of(p_fact.observation -> 'progress'));
  elsif p_fact.source = 'webhook' then
    if p_reason = 'names_newer' then
      perform mux_private.make_due(p_tracking.id);
    elsif p_fact.verdict = 'wait' then
      perform mux_private.put_off(tracking);
    end if;
  end if;
  if learned then
    perform mux_private.record_event('waiting', tracking, p_tracking.status, null, null, p_reason, null, p_fact.observation);
  end if;
  return mux_private.outcome('waiting', tracking, p_reason, p_claim.message);
end
$$;
comment on function mux_private.wait is 'Notes a look that settled nothing. The row is locked by the caller, unless there is nothing to write in it.';

create or replace function mux_private.back_off(p_tracking_id uuid, p_pause_seconds double precision) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.schedule s
  set next_check_at = now() + make_interval(secs => p_pause_seconds)
  where s.tracking_id = (
    select o.tracking_id from mux_private.schedule o where o.tracking_id = p_tracking_id for no key update skip locked);
end
$$;
comment on function mux_private.back_off is 'Makes a row due after a pause, since its verdict could not be carried out.';

create or replace function mux_private.settle_row(
  p_fact mux_private.fact, p_tracking_id uuid, p_lesson_id mux_private.lesson.id%type, p_claim jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  fact mux_private.fact := p_fact;
  claim mux_private.claim := mux_private.claim_of(p_claim);
  lesson mux_private.lesson;
  tracking public.mux_asset_tracking;
  look mux_private.schedule;
  verdict text;
  reason text;
  message text;
  obstacle text;
  changes_lesson boolean := coalesce(p_fact.verdict, 'wait') <> 'wait' or coalesce(claim.verdict, 'wait') <> 'wait';
  untouched jsonb := jsonb_build_object('tracking_id', p_tracking_id, 'lesson_id', p_lesson_id::text,
                                        'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id);
  for_log jsonb := '{}';
begin
  if fact.verdict in ('recheck', 'mark_deleted') then
    return untouched || mux_private.settle_row_alone(fact, p_tracking_id);
  end if;

  -- Always lesson first, then tracking row, then its schedule: the app's delete takes them in that
  -- order too. To wait changes no lesson and needs no lock on it, and mostly none on its row.
  if changes_lesson then
    lesson := mux_private.lock_lesson(p_lesson_id, true);
    if lesson.id is null then
      if (mux_private.lesson(p_lesson_id)).id is not null then
        perform mux_private.back_off(p_tracking_id, 5);
        return untouched || mux_private.busy(p_tracking_id, fact.verdict);
      end if;
      return untouched || '{"outcome": "unmatched"}';
    end if;
  end if;
  if not changes_lesson then
    select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id;
  end if;
  if changes_lesson or tracking.error_type is not null
     or tracking.mux_asset_id is distinct from coalesce(fact.asset_id, tracking.mux_asset_id) then
    select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id for no key update skip locked;
  end if;
  if not found then
    perform mux_private.back_off(p_tracking_id, 5);
    return untouched || coalesce(mux_private.busy(p_tracking_id, fact.verdict), '{"outcome": "unmatched"}');
  end if;
  select s.* into look from mux_private.schedule s where s.tracking_id = p_tracking_id for no key update skip locked;
  if not found and exists (select 1 from mux_private.schedule s where s.tracking_id = p_tracking_id) then
    return untouched || mux_private.busy(p_tracking_id, fact.verdict);
  end if;

  if tracking.status = 'ready' and claim.id is not null then
    return mux_private.settle_recheck(tracking, look, lesson, claim, fact);
  end if;
  -- What was claimed may have changed since: then its own verdict no longer stands.
  if tracking.status <> 'processing' or coalesce(tracking.tracked_at, tracking.updated_at) is distinct from claim.tracked_at then
    claim := null;
  end if;
  if not mux_private.tracks(tracking, fact.upload_id, fact.asset_id, claim.id is not null) then
    return untouched || '{"outcome": "unmatched"}';
  elsif claim.id is null and mux_private.is_backing_off(tracking) then
    return mux_private.outcome('waiting', tracking, 'refused');
  end if;
  verdict := case when claim.id is null then fact.verdict else claim.verdict end;
  reason := case when claim.id is null then fact.reason else claim.reason end;
  message := case when claim.id is null then fact.message else claim.message end;
  if (verdict in ('publish', 'fail', 'wait')) is not true then
    raise exception 'no such verdict: %', coalesce(verdict, 'null') using errcode = 'invalid_parameter_value';
  end if;

  -- Whose is it? The instructor can read row and audit, so nothing about another's video is written
  -- there. (To wait has not read the lesson, and mostly learns nothing.)
  if tracking.status <> 'ready'
     and (verdict <> 'wait' or tracking.mux_asset_id is distinct from coalesce(fact.asset_id, tracking.mux_asset_id))
     and mux_private.is_of_another(
       tracking, case when changes_lesson then lesson.owner else mux_private.owner_of(p_lesson_id) end,
       fact.upload_id, fact.asset_id, fact.lesson_references) then
    for_log := jsonb_build_object('asset_id', left(fact.asset_id, 300));
    fact.asset_id := null;
    fact.playback_id := null;
    fact.observation := null;
    if verdict <> 'wait' then
      verdict := 'fail';
      reason := 'lesson_mismatch';
      message := 'The video belongs to a lesson of another instructor. Upload a video of your own.';
    end if;
  end if;

  -- Which upload is the newest, and can it still be played?
  if verdict = 'publish' and tracking.status <> 'ready' then
    obstacle := case
      when mux_private.was_deleted(fact.asset_id) then 'asset_deleted'
      when mux_private.names_newer(tracking, lesson.asset_id, lesson.playback_id, fact.upload_id, fact.asset_id) then 'names_newer'
    end;
    if obstacle is not null then
      verdict := 'wait';
      reason := obstacle;
    end if;
  end if;

  if tracking.status = 'ready' or (tracking.status = 'error' and verdict <> 'publish') then
    return mux_private.outcome('unchanged', tracking, reason);
  end if;
  return case verdict
    when 'publish' then mux_private.publish(tracking, lesson, look.last_checked_at, fact)
    when 'fail' then mux_private.fail(tracking, reason, message, fact)
    else mux_private.wait(tracking, claim, reason, fact)
  end || for_log;
end
$$;
comment on function mux_private.settle_row is 'Settles one verdict against one row, whole; what cannot be locked at once is busy.';

insert into mux_private.applied_files (name) values ('072_settle_row') on conflict do nothing;

commit;
