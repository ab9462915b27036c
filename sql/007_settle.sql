-- What it does: makes worker_settle, the one function that changes lessons, its parts, and
--   worker_record_refusal, for a verdict that cannot be settled within the statement timeout.
-- Needs: 004, 005, 006.
-- Locks: none. (The functions lock lesson and tracking row, in this order, never waiting.)
-- Undo: down/007_settle.sql

begin;
set local lock_timeout = '5s';

-- A row with a real upload id tracks that upload, and its asset only where the fact names no upload.
-- An app may have stored an asset's id there: Mux's ids are random, so it is compared with both. A
-- 'migrated' row tracks its asset. A fact without ids is about the claimed rows alone. What cannot be
-- an id, such as an empty text, is the id of nothing.
create or replace function mux_private.tracks(
  tracking public.mux_asset_tracking, upload_id text, asset_id text, is_claimed boolean
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_variable
declare
  upload text := case when mux_private.is_mux_id(upload_id) then upload_id end;
  asset text := case when mux_private.is_mux_id(asset_id) then asset_id end;
begin
  return case
    when upload_id is null and asset_id is null then is_claimed
    when tracking.upload_id = 'migrated' then coalesce(tracking.mux_asset_id = asset, false)
    when upload is not null then tracking.upload_id = upload or coalesce(tracking.upload_id = asset, false)
    else coalesce(asset in (tracking.mux_asset_id, tracking.upload_id), false)
  end;
end
$$;
comment on function mux_private.tracks is 'Whether a fact about this upload and asset is about this tracking row.';

-- What the app wrote into the lesson since its upload began to be tracked is newer: then the adoption
-- finds out first what it is.
create or replace function mux_private.names_newer(
  p_tracking public.mux_asset_tracking, p_lesson_asset_id text, p_lesson_playback_id text, p_upload_id text, p_asset_id text
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  named text := mux_private.as_written(mux_private.named_by(p_lesson_asset_id, p_lesson_playback_id));
begin
  return named is not null
    and named not in (coalesce(mux_private.as_written(p_tracking.upload_id), ''), coalesce(mux_private.as_written(p_tracking.mux_asset_id), ''),
                      coalesce(mux_private.as_written(p_upload_id), ''), coalesce(mux_private.as_written(p_asset_id), ''))
    and p_lesson_asset_id is distinct from p_tracking.temp_asset_id
    and (mux_private.entry_of(p_tracking.lesson_id, named)).id is null;
end
$$;
comment on function mux_private.names_newer is 'Whether a lesson''s columns name an upload or asset that its history does not know.';

create or replace function mux_private.outcome(
  name text, tracking public.mux_asset_tracking, reason text default null, message text default null
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return jsonb_build_object(
    'outcome', name, 'tracking_id', tracking.id, 'lesson_id', tracking.lesson_id, 'upload_id', left(tracking.upload_id, 300),
    'asset_id', left(tracking.mux_asset_id, 300), 'playback_id', tracking.mux_playback_id, 'reason', reason, 'message', message,
    'age_seconds', extract(epoch from now() - coalesce(tracking.tracked_at, tracking.updated_at)));
end
$$;
comment on function mux_private.outcome is 'What settling did to one row, for the worker''s log.';

-- A row as it was claimed, and what follows for it alone.
do $$
begin
  if to_regtype('mux_private.claim') is null then
    create type mux_private.claim as (
      id uuid, tracked_at timestamptz, leased_until timestamptz, verdict text, reason text, message text, playback_id text,
      missing boolean, pause_seconds double precision);
  end if;
end
$$;
comment on type mux_private.claim is 'A row as it was claimed, with the verdict for it.';

create or replace function mux_private.pause_of(p_claim jsonb) returns double precision
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case
    when (p_claim ->> 'pause_seconds') ~ '^\d{1,6}(\.\d+)?$' then (p_claim ->> 'pause_seconds')::double precision
  end;
end
$$;
comment on function mux_private.pause_of is 'The seconds after which a claimed row shall be due again, null if they make no sense.';

create or replace function mux_private.claim_of(p_claim jsonb) returns mux_private.claim
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if p_claim is null then
    return null;
  end if;
  return row(
    p_claim ->> 'id', p_claim ->> 'tracked_at', p_claim ->> 'leased_until', p_claim ->> 'verdict', p_claim ->> 'reason',
    p_claim ->> 'message', p_claim ->> 'playback_id', p_claim ->> 'missing', mux_private.pause_of(p_claim))::mux_private.claim;
end
$$;
comment on function mux_private.claim_of is 'The claim in an item of worker_settle. Raises for one that has not its form.';

create or replace function mux_private.number_of(p_value jsonb) returns double precision
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case when jsonb_typeof(p_value) = 'number' then (p_value #>> '{}')::double precision end;
end
$$;
comment on function mux_private.number_of is 'The number in a value; null where it is none.';

create or replace function mux_private.publish(
  p_tracking public.mux_asset_tracking, p_lesson_status text, p_looked_before timestamptz, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
  done text := case when p_lesson_status = 'draft' then 'published' else 'attached' end;
  wanted_status text := case when p_lesson_status = 'draft' then 'published' else p_lesson_status end;
begin
  perform mux_private.write_video(p_tracking.lesson_id, done = 'published', p_fact.asset_id, p_fact.playback_id);

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
    tracking.mux_playback_id, wanted_status = 'published');

  perform mux_private.record_event(
    done, tracking, p_tracking.status, p_lesson_status, wanted_status, p_fact.reason, null,
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
comment on function mux_private.fail is 'Gives an upload up, with the reason. The row is locked by the caller.';

-- Only while the row is leased as it was claimed: what made it due meanwhile is newer than the look.
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
comment on function mux_private.note_look is 'Notes in the schedule that a claimed row was looked at in vain, and when to look again.';

create or replace function mux_private.make_due(p_tracking_id uuid) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.schedule s set next_check_at = now() where s.tracking_id = p_tracking_id and s.next_check_at > now();
end
$$;
comment on function mux_private.make_due is 'Has a row that waits looked at next.';

-- A look that learns nothing writes the schedule alone. A fact that came by only leaves the asset id.
-- Where an event meets a lesson that names what may be newer, the next scan has that adopted.
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
  elsif p_reason = 'names_newer' and p_fact.source = 'webhook' then
    perform mux_private.make_due(p_tracking.id);
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

create or replace function mux_private.is_backing_off(p_tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return p_tracking.status = 'processing' and coalesce(p_tracking.error_type = 'refused', false) and exists (
    select from mux_private.schedule s where s.tracking_id = p_tracking.id and s.next_check_at > now());
end
$$;
comment on function mux_private.is_backing_off is 'Whether the database refused the last verdict about a row, and its pause is not over.';

create or replace function mux_private.is_unplayable(tracking public.mux_asset_tracking) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return tracking.status = 'ready' and coalesce(tracking.error_type in ('playback_ids_withdrawn', 'asset_deleted'), false);
end
$$;
comment on function mux_private.is_unplayable is 'Whether a row is ready and its video can no longer be played.';

create or replace function mux_private.plays(tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return exists (
    select from public.lessons l
    where l.id = tracking.lesson_id and l.mux_asset_id = tracking.mux_asset_id and l.mux_playback_id = tracking.mux_playback_id);
end
$$;
comment on function mux_private.plays is 'Whether a lesson still holds the ids of its tracking row.';

-- Events come late and out of order, so what contradicts a row proves nothing: it only has the row
-- looked at once more. A page comes again; an event that comes while Mux is asked comes only once.
create or replace function mux_private.contradicts(p_fact mux_private.fact, p_tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  next_check_at timestamptz;
begin
  if (p_tracking.status = 'ready' and p_tracking.mux_asset_id = p_fact.asset_id and p_fact.subject = 'asset'
      and p_fact.status = 'ready') is not true then
    return false;
  end if;
  select s.next_check_at into next_check_at from mux_private.schedule s where s.tracking_id = p_tracking.id;
  if next_check_at <= now() or (next_check_at is not null and p_fact.source = 'sweep') then
    return false;
  elsif mux_private.is_unplayable(p_tracking) then
    return p_fact.playback_id is not null and not mux_private.was_deleted(p_tracking.mux_asset_id);
  end if;
  return not coalesce(
      p_fact.observation -> 'playback_ids' @> jsonb_build_array(jsonb_build_object('id', p_tracking.mux_playback_id)), false)
    and mux_private.plays(p_tracking);
end
$$;
comment on function mux_private.contradicts is
  'Whether a fact says that a ready row''s asset no longer lists the playback id that its lesson plays, or that an unplayable one can be played again.';

-- A row that is being looked at is due again: the answer may be older than this fact.
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
  p_tracking public.mux_asset_tracking, p_lesson_status text, p_playback_id text, p_fact mux_private.fact
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking := p_tracking;
  does_play boolean := mux_private.plays(p_tracking);
  found_id text;
begin
  if does_play and p_tracking.mux_playback_id <> p_playback_id then
    update public.lessons l set mux_playback_id = p_playback_id, updated_at = now()
    where l.id = p_tracking.lesson_id
    returning l.mux_playback_id into found_id;
    if found_id is distinct from p_playback_id then
      raise exception 'lesson should play as % now and plays as %', p_playback_id, coalesce(found_id, 'nothing')
        using errcode = 'triggered_data_change_violation';
    end if;
  end if;
  update public.mux_asset_tracking t
  set mux_playback_id = p_playback_id, error_type = null, error_message = null, updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  perform mux_private.note_video(
    tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), tracking.mux_asset_id, p_playback_id,
    p_lesson_status = 'published');
  perform mux_private.record_event(
    'updated', tracking, tracking.status, p_lesson_status, p_lesson_status, 'playback_ids_changed', null, p_fact.observation);
  return mux_private.outcome(case when does_play then 'updated' else 'unchanged' end, tracking, 'playback_ids_changed');
end
$$;
comment on function mux_private.follow_playback_id is
  'Has a ready row, and the lesson that plays its video, follow to another playback id of the asset. Both are locked by the caller.';

-- Only a look that began after the row was made due settles it, so the lease must still be the one
-- that was given. A lesson that holds other ids than its row, or another status, keeps them.
create or replace function mux_private.settle_recheck(
  p_tracking public.mux_asset_tracking, p_look mux_private.schedule, p_lesson_status text, p_claim mux_private.claim,
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
      return mux_private.mark_unplayable(p_tracking, p_lesson_status, p_claim.reason, p_claim.message, p_fact.observation);
    when 'publish' then
      if mux_private.is_mux_id(p_claim.playback_id) is not true then
        raise exception 'to publish takes a playback id' using errcode = 'invalid_parameter_value';
      end if;
      delete from mux_private.schedule s where s.tracking_id = p_tracking.id;
      if mux_private.is_unplayable(p_tracking) or p_tracking.mux_playback_id is distinct from p_claim.playback_id then
        return mux_private.follow_playback_id(p_tracking, p_lesson_status, p_claim.playback_id, p_fact);
      end if;
      return mux_private.outcome('unchanged', p_tracking, p_claim.reason);
    else
      raise exception 'no such verdict: %', coalesce(p_claim.verdict, 'null') using errcode = 'invalid_parameter_value';
  end case;
end
$$;
comment on function mux_private.settle_recheck is
  'Settles the look at a ready row whose playback id seemed to be gone: updated, unplayable, or unchanged. Both rows are locked by the caller.';

-- A failed row is not scanned: an event that meets its lock has to come again.
create or replace function mux_private.busy(p_tracking_id uuid) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_strip_nulls(jsonb_build_object(
      'outcome', 'busy', 'reason', case t.status when 'error' then 'not_scanned' end))
    from public.mux_asset_tracking t where t.id = p_tracking_id);
end
$$;
comment on function mux_private.busy is 'The outcome for a row that is locked, or whose lesson is; null where there is no such row.';

create or replace function mux_private.settle_row(
  p_fact mux_private.fact, p_tracking_id uuid, p_lesson_id uuid, p_claim jsonb
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
  changes_lesson boolean := p_fact.verdict <> 'wait' or coalesce(claim.verdict, 'wait') <> 'wait';
  untouched jsonb := jsonb_build_object('tracking_id', p_tracking_id, 'lesson_id', p_lesson_id,
                                        'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id);
  for_log jsonb := '{}';
begin
  if fact.verdict = 'recheck' then
    return mux_private.recheck(p_tracking_id, fact);
  end if;

  -- Always lesson first, then tracking row, then its schedule: the app's delete takes them in that
  -- order too. To wait changes no lesson and needs no lock on it, and mostly none on its row.
  if changes_lesson then
    select l.id, l.creator_id, l.status::text, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300) into lesson
    from public.lessons l where l.id = p_lesson_id for no key update skip locked;
    if not found then
      if exists (select 1 from public.lessons l where l.id = p_lesson_id) then
        perform mux_private.back_off(p_tracking_id, 5);
        return untouched || mux_private.busy(p_tracking_id);
      end if;
      return untouched || '{"outcome": "unmatched"}';
    end if;
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id;
  if changes_lesson or tracking.error_type is not null
     or tracking.mux_asset_id is distinct from coalesce(fact.asset_id, tracking.mux_asset_id) then
    select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id for no key update skip locked;
  end if;
  if not found then
    return untouched || coalesce(mux_private.busy(p_tracking_id), '{"outcome": "unmatched"}');
  end if;
  select s.* into look from mux_private.schedule s where s.tracking_id = p_tracking_id for no key update skip locked;
  if not found and exists (select 1 from mux_private.schedule s where s.tracking_id = p_tracking_id) then
    return untouched || mux_private.busy(p_tracking_id);
  end if;

  if tracking.status = 'ready' and claim.id is not null then
    return mux_private.settle_recheck(tracking, look, lesson.status, claim, fact);
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

  -- Whose is it? Row and audit are the instructor's to read, so nothing is written there of the
  -- video of another. (Waiting has not read the lesson, and most of it learns nothing.)
  if tracking.status <> 'ready'
     and (verdict <> 'wait' or tracking.mux_asset_id is distinct from coalesce(fact.asset_id, tracking.mux_asset_id))
     and mux_private.is_of_another(
       tracking, case when changes_lesson then lesson.owner else (select l.creator_id from public.lessons l where l.id = p_lesson_id) end,
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
    when 'publish' then mux_private.publish(tracking, lesson.status, look.last_checked_at, fact)
    when 'fail' then mux_private.fail(tracking, reason, message, fact)
    else mux_private.wait(tracking, claim, reason, fact)
  end || for_log;
end
$$;
comment on function mux_private.settle_row is 'Settles one verdict against one row, whole; what cannot be locked at once is busy.';

-- A context names the functions that were at work, the innermost first.
create or replace function mux_private.raised_by(context text, constraint_name text, table_name text) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_variable
declare
  functions text[] := array(
    select coalesce(f.named[1], f.named[2])
    from regexp_matches(
      context, '^(?:PL/pgSQL function (?:public\.)?([^()\n]*\([^()\n]*\))|SQL function "([^"\n]*)")', 'gn'
    ) with ordinality f (named, place)
    where coalesce(f.named[1], f.named[2]) !~ '^(mux_private\.|worker_)'
    order by f.place);
  triggers text := (
    select string_agg(format('trigger %s on %s', t.tgname, t.tgrelid::regclass), ' or ' order by t.tgrelid, t.tgname)
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid in ('public.lessons'::regclass, 'public.mux_asset_tracking'::regclass) and not t.tgisinternal
      and quote_ident(p.proname) || '()' in (select regexp_replace(f, '^.*\.', '') from unnest(functions) f));
begin
  return nullif(left(concat_ws(', ',
    'constraint ' || nullif(constraint_name, '') || ' on ' || table_name, 'function ' || functions[1], triggers), 300), '');
end
$$;
comment on function mux_private.raised_by is
  'What of the app raised an error: the constraint, the innermost function that is none of ours, and its trigger. Null where it was nothing of the app''s.';

-- A row that takes no update at all, or is locked, at least backs off: that is written elsewhere.
create or replace function mux_private.record_refusal(
  p_fact mux_private.fact, p_tracking_id uuid, p_lesson_id uuid, p_pause_seconds double precision, p_code text, p_problem text,
  p_raised_by text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
  refusal text := left(format('%s: %s', p_code, p_problem), 500) || coalesce(' (raised by ' || p_raised_by || ')', '');
  was_refused boolean;
begin
  begin
    select t.* into tracking from public.mux_asset_tracking t
    where t.id = p_tracking_id and t.status = 'processing' for no key update skip locked;
    was_refused := coalesce(tracking.error_type = 'refused', false);
    if found and (not was_refused or tracking.error_message is distinct from refusal) then
      update public.mux_asset_tracking t set error_type = 'refused', error_message = refusal
      where t.id = p_tracking_id
      returning t.* into tracking;
      if not was_refused then
        perform mux_private.record_event('refused', tracking, tracking.status, null, null, 'refused', refusal);
      end if;
    end if;
  exception
    when serialization_failure or deadlock_detected or lock_not_available then raise;
    when assert_failure or others then
      raise log 'the refusal of tracking row % could not be recorded: % %', p_tracking_id, sqlstate, sqlerrm;
  end;
  update mux_private.schedule s
  set next_check_at = now() + make_interval(secs => p_pause_seconds), check_count = s.check_count + 1, last_checked_at = now()
  where s.tracking_id = (
    select o.tracking_id from mux_private.schedule o where o.tracking_id = p_tracking_id for no key update skip locked);
  return jsonb_build_object(
    'outcome', 'refused', 'tracking_id', p_tracking_id, 'lesson_id', p_lesson_id,
    'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id,
    'sqlstate', p_code, 'message', left(p_problem, 500), 'raised_by', p_raised_by);
end
$$;
comment on function mux_private.record_refusal is 'Makes a row back off whose verdict the database refused, records why, and returns the outcome refused.';

create or replace function mux_private.with_verdict(p_fact mux_private.fact, p_verdict text) returns mux_private.fact
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  p_fact.verdict := p_verdict;
  return p_fact;
end
$$;
comment on function mux_private.with_verdict is 'A fact with another verdict.';

-- Read without a lock: most of what a page of Mux's list says concerns no row, or one that has
-- settled, knows it already or backs off, and such a row is not even locked, since a lock is a write.
-- A user may track one upload for all of their lessons: of unclaimed rows a fact takes a hundred,
-- and the others are settled when they fall due. Of several facts about one row the one that says
-- most is settled: what was written in this transaction cannot be written again without waiting for
-- a lesson that is being deleted.
create or replace function mux_private.rows_about(p_verdicts jsonb)
returns table (fact mux_private.fact, tracking_id uuid, lesson_id uuid, claim jsonb, nothing_to_do jsonb)
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select w.fact, w.id, w.lesson_id, w.claim,
    case
      when w.id is null then jsonb_build_object('outcome', 'unmatched', 'upload_id', (w.fact).upload_id, 'asset_id', (w.fact).asset_id)
      when w.place_of_row > 1 then mux_private.outcome('unchanged', w.tracking, (w.fact).reason)
      when w.claim is not null or (w.fact).verdict = 'recheck' then null
      when (w.tracking).status = 'ready' or ((w.tracking).status = 'error' and (w.fact).verdict <> 'publish')
        then mux_private.outcome('unchanged', w.tracking, (w.fact).reason)
      when mux_private.is_backing_off(w.tracking) then mux_private.outcome('waiting', w.tracking, 'refused')
      when (w.fact).verdict = 'wait' and (w.tracking).mux_asset_id is not distinct from coalesce((w.fact).asset_id, (w.tracking).mux_asset_id)
        then mux_private.outcome('waiting', w.tracking, (w.fact).reason)
    end
  from (
    select t.id, t.lesson_id, t.claim, t.tracking,
      case when t.contradicted then mux_private.with_verdict(f.fact, 'recheck') else f.fact end as fact,
      case when t.id is not null then row_number() over (
        partition by t.id
        order by not t.contradicted, case coalesce(t.claim ->> 'verdict', (f.fact).verdict) when 'publish' then 1 when 'fail' then 2 else 3 end,
          t.claim is null, f.place)
      end as place_of_row,
      f.place
    from (
      select i.ordinality as place, mux_private.fact_of(i.value, i.ordinality) as fact,
        case when jsonb_typeof(i.value -> 'claimed') = 'array' then i.value -> 'claimed' else '[]' end as claimed
      from jsonb_array_elements(p_verdicts) with ordinality i
      offset 0  -- so that each item is read once
    ) f
    left join lateral (
      select t.id, t.lesson_id, t.tracking, r.claim,
        case when (t.tracking).status = 'ready' and r.claim is null then mux_private.contradicts(f.fact, t.tracking) else false end as contradicted
      from (
        select distinct on (a.id) a.id, a.claim
        from (
          select case when c ->> 'id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then (c ->> 'id')::uuid end as id, c as claim
          from jsonb_array_elements(f.claimed) c
          union all
          (select o.id, null
           from public.mux_asset_tracking o
           where o.upload_id in (nullif((f.fact).upload_id, 'migrated'), (f.fact).asset_id) and mux_private.is_mux_id(o.upload_id)
           order by o.status = 'ready', o.lesson_id limit 100)
          union all
          (select o.id, null
           from public.mux_asset_tracking o
           where o.mux_asset_id = (f.fact).asset_id and mux_private.is_mux_id((f.fact).asset_id)
             and ((f.fact).upload_id is null or o.upload_id = 'migrated')
           order by o.status = 'ready', o.lesson_id limit 100)
        ) a
        order by a.id, a.claim is null
      ) r
      cross join lateral (
        select o.id, o.lesson_id, o as tracking
        from public.mux_asset_tracking o where o.id = r.id limit 1
      ) t
      where r.claim is null or mux_private.tracks(t.tracking, (f.fact).upload_id, (f.fact).asset_id, true)
    ) t on true
  ) w
  order by w.place, w.lesson_id;
end
$$;
comment on function mux_private.rows_about is
  'For each fact the claimed rows that it is about and at most 100 others, in the order of lesson id, with their claims; nothing_to_do is the outcome where none has to be changed. For a ready row that it contradicts, the verdict is recheck.';

-- Of all errors, "others" leaves out assert_failure (and query_canceled, on purpose).
-- A connection keeps its plans: made while the tables were small, they would read through them for
-- every row when they have grown, until Postgres analyzes them. So all that is called here goes by
-- index. (Before 18, Postgres takes what is switched off for very dear, and compiles it: for a tenth
-- of a second, to read the one row of worker_state.)
create or replace function public.worker_settle(
  verdicts jsonb default null, environment_id text default null, sweeper text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  found record;
  outcomes jsonb[] := '{}';
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  if verdicts is null or jsonb_typeof(verdicts) <> 'array' or jsonb_array_length(verdicts) > 100 then
    raise sqlstate 'PT400' using message = 'worker_settle needs verdicts, an array of at most 100';
  end if;
  -- What the app put off until commit would fail there for all; now it fails for its own row.
  set constraints all immediate;
  for found in select * from mux_private.rows_about(verdicts)
  loop
    if found.nothing_to_do is not null then
      outcomes := outcomes || found.nothing_to_do;
      continue;
    end if;
    begin
      outcomes := outcomes || mux_private.settle_row(found.fact, found.tracking_id, found.lesson_id, found.claim);
    exception
      -- Not for locked rows, which settle_row skips as busy: for locks that the app's triggers take.
      when serialization_failure or deadlock_detected or lock_not_available then raise;
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        outcomes := outcomes || mux_private.record_refusal(
          found.fact, found.tracking_id, found.lesson_id, coalesce(mux_private.pause_of(found.claim), 60), code, problem,
          mux_private.raised_by(context, constraint_name, table_name));
    end;
  end loop;
  -- At the end, since what this locks a settle of another worker may write next: it waits for the
  -- commit alone, and the two never for each other.
  perform mux_private.learn(verdicts);
  -- Whoever is at it says the same, or the next to come does.
  update mux_private.worker_state s
  set environment_id = coalesce(worker_settle.environment_id, s.environment_id),
      environment_seen_at = case
        when worker_settle.environment_id is not null and worker_settle.environment_id is distinct from s.environment_id
        then now() else s.environment_seen_at end,
      sweeps_until = case
        when s.sweeper = worker_settle.sweeper then greatest(s.sweeps_until, now() + interval '15 s')
        else s.sweeps_until end
  from (
    select w.only_row from mux_private.worker_state w
    where (worker_settle.environment_id is not null and w.environment_id is distinct from worker_settle.environment_id)
       or (w.sweeper = worker_settle.sweeper and w.sweeps_until < now() + interval '10 s')
    for no key update skip locked
  ) free
  where s.only_row = free.only_row;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_settle is
  'For the worker: settles at most 100 verdicts, each against the claimed rows and at most 100 others that track its upload, and says what each did. Settling twice changes nothing the second time. environment_id: the Mux environment in which one of these ids was found. sweeper: who is sweeping, and goes on.';

-- A call that exceeds the statement timeout is rolled back whole and leaves no trace. This function
-- records it in a call of its own, and makes the rows back off in proportion to what such a call costs.
create or replace function public.worker_record_refusal(
  verdict jsonb default null, code text default null, problem text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  found record;
  outcomes jsonb[] := '{}';
begin
  if (jsonb_typeof(verdict) = 'object' and code is not null and problem is not null) is not true then
    raise sqlstate 'PT400' using message = 'worker_record_refusal needs verdict, an item of worker_settle, code and problem';
  end if;
  for found in select * from mux_private.rows_about(jsonb_build_array(verdict))
  loop
    if found.nothing_to_do is not null then
      outcomes := outcomes || found.nothing_to_do;
      continue;
    end if;
    outcomes := outcomes || mux_private.record_refusal(
      found.fact, found.tracking_id, found.lesson_id, greatest(mux_private.pause_of(found.claim), 300), code, problem);
  end loop;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_record_refusal is
  'For the worker: records that the database refused to settle a verdict in time. Every row that the verdict is about backs off for at least five minutes. code, problem: the SQLSTATE and the reason. Returns the outcomes as worker_settle does.';

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'mux_private'::regnamespace
      and p.proname in ('claim_of', 'number_of', 'note_look', 'make_due', 'is_backing_off', 'is_unplayable', 'plays', 'contradicts', 'recheck', 'mark_unplayable',
                        'follow_playback_id', 'settle_recheck', 'busy', 'tracks', 'rows_about', 'with_verdict',
                        'names_newer', 'outcome', 'pause_of', 'publish', 'fail', 'wait',
                        'back_off', 'raised_by', 'record_refusal', 'settle_row')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', part);
    execute format('grant execute on function %s to service_role', part);
  end loop;
end
$$;
revoke execute on function public.worker_settle from public, anon, authenticated;
grant execute on function public.worker_settle to service_role;
revoke execute on function public.worker_record_refusal from public, anon, authenticated;
grant execute on function public.worker_record_refusal to service_role;

insert into mux_private.applied_files (name) values ('007_settle') on conflict do nothing;

commit;
