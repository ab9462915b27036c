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
  tracking public.mux_asset_tracking, upload_id text, asset_id text, claim jsonb
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_variable
declare
  upload text := case when mux_private.is_mux_id(upload_id) then upload_id end;
  asset text := case when mux_private.is_mux_id(asset_id) then asset_id end;
begin
  return case
    when upload_id is null and asset_id is null then claim is not null
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
language sql stable set search_path = public, extensions, pg_temp
return jsonb_build_object(
  'outcome', $1, 'tracking_id', ($2).id, 'lesson_id', ($2).lesson_id, 'upload_id', left(($2).upload_id, 300),
  'asset_id', left(($2).mux_asset_id, 300), 'playback_id', ($2).mux_playback_id, 'reason', $3, 'message', $4,
  'age_seconds', extract(epoch from now() - ($2).tracked_at)
);
comment on function mux_private.outcome is 'What settling did to one row, for the worker''s log.';

create or replace function mux_private.pause_of(claim jsonb) returns double precision
language sql immutable set search_path = ''
return case
  when ($1 ->> 'pause_seconds') ~ '^\d{1,6}(\.\d+)?$' then ($1 ->> 'pause_seconds')::double precision
end;
comment on function mux_private.pause_of is 'The seconds after which a claimed row shall be due again, null if they make no sense.';

create or replace function mux_private.publish(
  tracking public.mux_asset_tracking, lesson_status text, item jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  was public.mux_asset_tracking := tracking;
  done text := case when lesson_status = 'draft' then 'published' else 'attached' end;
  wanted_status text := case when lesson_status = 'draft' then 'published' else lesson_status end;
begin
  perform mux_private.write_video(was.lesson_id, done = 'published', item ->> 'asset_id', item ->> 'playback_id');

  update public.mux_asset_tracking t
  set status = 'ready', mux_asset_id = item ->> 'asset_id', mux_playback_id = item ->> 'playback_id',
      error_type = null, error_message = null, missing_since = null, missing_count = 0,
      check_count = t.check_count + 1, last_checked_at = now(), settled_at = now(), updated_at = now()
  where t.id = was.id
  returning t.* into tracking;
  perform mux_private.note_video(
    tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), tracking.mux_asset_id,
    tracking.mux_playback_id, wanted_status = 'published');

  perform mux_private.record_event(
    done, tracking, was.status, lesson_status, wanted_status,
    item ->> 'reason', null,
    nullif(item -> 'observation', 'null') || jsonb_build_object('looked_before', coalesce(was.last_checked_at, was.tracked_at))
  );
  return mux_private.outcome(done, tracking, item ->> 'reason');
end
$$;
comment on function mux_private.publish is 'Gives a lesson its video and, where it is a draft, publishes it. Both rows are locked by the caller.';

create or replace function mux_private.fail(
  tracking public.mux_asset_tracking, reason text, message text, item jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  was public.mux_asset_tracking := tracking;
begin
  update public.mux_asset_tracking t
  set status = 'error', error_type = reason, error_message = message,
      mux_asset_id = coalesce(item ->> 'asset_id', t.mux_asset_id),
      check_count = t.check_count + 1, last_checked_at = now(), settled_at = now(), updated_at = now()
  where t.id = was.id
  returning t.* into tracking;
  perform mux_private.record_event('failed', tracking, was.status, null, null, reason, message, item -> 'observation');
  return mux_private.outcome('failed', tracking, reason, message);
end
$$;
comment on function mux_private.fail is 'Gives an upload up, with the reason. The row is locked by the caller.';

-- When a transaction writes a row for the second time, Postgres checks its foreign key again and
-- waits for a lesson that is being deleted, while that delete waits for the row. The ids of the rows
-- that this transaction wrote are in a setting, which a rolled back subtransaction restores. The row's
-- timestamps are no substitute, since a trigger of the app may set them.
create or replace function mux_private.can_write_without_waiting(tracking public.mux_asset_tracking) returns boolean
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  written text := coalesce(current_setting('mux_private.written', true), '');
begin
  if strpos(written, tracking.id::text) = 0 then
    perform set_config('mux_private.written', concat(written, tracking.id, ' '), true);
    return true;
  end if;
  perform 1 from public.lessons l where l.id = tracking.lesson_id for key share skip locked;
  return found;
end
$$;
comment on function mux_private.can_write_without_waiting is 'Whether a locked tracking row can be written without waiting, also if this transaction wrote it before.';

-- A look that a claim asked for moves the row on; a fact that came by only leaves the asset id. Where
-- an event meets a lesson that names what may be newer, the next scan has that adopted.
create or replace function mux_private.wait(
  tracking public.mux_asset_tracking, claim jsonb, item jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  was public.mux_asset_tracking := tracking;
  reason text := coalesce(claim ->> 'reason', item ->> 'reason');
  missing boolean := (claim ->> 'missing')::boolean;
  pause_seconds double precision := mux_private.pause_of(claim);
  learned boolean := was.mux_asset_id is distinct from coalesce(item ->> 'asset_id', was.mux_asset_id);
  is_for_adoption boolean := coalesce(reason = 'names_newer' and item #>> '{observation,source}' = 'webhook', false);
begin
  if claim is not null and pause_seconds is null then
    raise exception 'to wait takes pause_seconds' using errcode = 'invalid_parameter_value';
  elsif claim is not null then
    update public.mux_asset_tracking t
    set mux_asset_id = coalesce(item ->> 'asset_id', t.mux_asset_id),
        check_count = t.check_count + 1, last_checked_at = now(),
        next_check_at = now() + make_interval(secs => pause_seconds),
        missing_since = case missing when true then coalesce(t.missing_since, now()) when false then null else t.missing_since end,
        missing_count = case missing when true then t.missing_count + 1 when false then 0 else t.missing_count end,
        error_type = null, error_message = null,
        updated_at = case when learned then now() else t.updated_at end
    where t.id = was.id
    returning t.* into tracking;
  elsif learned then
    update public.mux_asset_tracking t
    set mux_asset_id = item ->> 'asset_id', updated_at = now(),
        next_check_at = case when is_for_adoption then now() else t.next_check_at end
    where t.id = was.id
    returning t.* into tracking;
  elsif is_for_adoption then
    update public.mux_asset_tracking t set next_check_at = now() where t.id = was.id
    returning t.* into tracking;
  end if;
  if learned then
    perform mux_private.record_event('waiting', tracking, was.status, null, null, reason, null, item -> 'observation');
  end if;
  return mux_private.outcome('waiting', tracking, reason, claim ->> 'message');
end
$$;
comment on function mux_private.wait is 'Notes a look that settled nothing. The row is locked by the caller.';

-- The verdict could not be carried out, so only the schedule changes, and the reason if it was refused.
create or replace function mux_private.back_off(
  tracking_id uuid, pause_seconds double precision, refusal text default null
) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  tracking public.mux_asset_tracking;
  was_refused boolean;
begin
  select t.* into tracking from public.mux_asset_tracking t
  where t.id = tracking_id and (t.status = 'processing' or (t.status = 'ready' and t.recheck_at is not null))
  for no key update skip locked;
  if not found or not mux_private.can_write_without_waiting(tracking) then return; end if;
  if tracking.status = 'ready' then
    update public.mux_asset_tracking t
    set recheck_at = now() + make_interval(secs => pause_seconds) where t.id = tracking.id;
    return;
  end if;
  was_refused := coalesce(tracking.error_type = 'refused', false);
  update public.mux_asset_tracking t
  set next_check_at = now() + make_interval(secs => pause_seconds),
      check_count = t.check_count + case when refusal is null then 0 else 1 end,
      last_checked_at = case when refusal is null then t.last_checked_at else now() end,
      error_type = case when refusal is null then t.error_type else 'refused' end,
      error_message = coalesce(refusal, t.error_message)
  where t.id = tracking.id
  returning t.* into tracking;
  if refusal is not null and not was_refused then
    perform mux_private.record_event('refused', tracking, tracking.status, null, null, 'refused', refusal);
  end if;
end
$$;
comment on function mux_private.back_off is 'Makes a row due after pause_seconds. With a refusal, also records why the database refused the verdict.';

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
-- looked at once more.
create or replace function mux_private.contradicts(item jsonb, tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  if (tracking.status = 'ready' and tracking.mux_asset_id = item ->> 'asset_id' and item #>> '{observation,subject}' = 'asset'
      and item #>> '{observation,status}' = 'ready') is not true then
    return false;
  -- A page comes again; an event that comes while Mux is asked comes only once.
  elsif tracking.recheck_at <= now() or (tracking.recheck_at is not null and item #>> '{observation,source}' = 'sweep') then
    return false;
  end if;
  if mux_private.is_unplayable(tracking) then
    return item ->> 'playback_id' is not null and not mux_private.was_deleted(tracking.mux_asset_id);
  end if;
  return not coalesce(
      item #> '{observation,playback_ids}' @> jsonb_build_array(jsonb_build_object('id', tracking.mux_playback_id)), false)
    and mux_private.plays(tracking);
end
$$;
comment on function mux_private.contradicts is
  'Whether a fact says that a ready row''s asset no longer lists the playback id that its lesson plays, or that an unplayable one can be played again.';

-- A row that is being looked at is due again: the answer may be older than this fact.
create or replace function mux_private.recheck(tracking_id uuid, item jsonb) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  tracking public.mux_asset_tracking;
  was_due boolean;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.id = tracking_id for no key update skip locked;
  if not found or not mux_private.can_write_without_waiting(tracking) then
    return jsonb_build_object('outcome', 'busy', 'reason', 'recheck', 'tracking_id', tracking_id,
                              'upload_id', item ->> 'upload_id', 'asset_id', item ->> 'asset_id');
  elsif not mux_private.contradicts(item, tracking) then
    return mux_private.outcome('unchanged', tracking, item ->> 'reason');
  end if;
  was_due := tracking.recheck_at is not null;
  update public.mux_asset_tracking t set recheck_at = now() where t.id = tracking.id returning t.* into tracking;
  if not was_due then
    perform mux_private.record_event(
      'rechecked', tracking, tracking.status, null, null, 'playback_ids_changed', null, item -> 'observation');
  end if;
  return mux_private.outcome('waiting', tracking, 'recheck');
end
$$;
comment on function mux_private.recheck is 'Has a ready row looked at once more, since a fact contradicts it; busy where it is locked.';

create or replace function mux_private.mark_unplayable(
  tracking public.mux_asset_tracking, lesson_status text, error_type text, message text, reason text, observation jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  is_news boolean := not mux_private.is_unplayable(tracking) or tracking.error_type <> mark_unplayable.error_type;
begin
  update public.mux_asset_tracking t
  set error_type = mark_unplayable.error_type, error_message = message, recheck_at = null,
      missing_since = null, missing_count = 0,
      updated_at = case when is_news then now() else t.updated_at end
  where t.id = tracking.id
  returning t.* into tracking;
  if is_news then
    perform mux_private.record_event(
      'unplayable', tracking, tracking.status, lesson_status, lesson_status, reason, message, observation);
  end if;
  return mux_private.outcome(
    case when is_news and mux_private.plays(tracking) then 'unplayable' else 'unchanged' end,
    tracking, mark_unplayable.error_type, message);
end
$$;
comment on function mux_private.mark_unplayable is
  'Keeps in a ready row why its video can no longer be played. Row and lesson stay as they are. The row is locked by the caller.';

-- Only a look that began after the row was made due settles it, so the lease must still be the one
-- that was given. A lesson that holds other ids than its row, or another status, keeps them.
create or replace function mux_private.settle_recheck(
  tracking public.mux_asset_tracking, lesson_status text, item jsonb, claim jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  was public.mux_asset_tracking := tracking;
  verdict text := claim ->> 'verdict';
  wanted_id text := claim ->> 'playback_id';
  missing boolean := (claim ->> 'missing')::boolean;
  is_news boolean;
  does_play boolean;
  found_id text;
begin
  if (tracking.recheck_at = (claim ->> 'leased_until')::timestamptz and tracking.mux_asset_id = item ->> 'asset_id') is not true then
    return mux_private.outcome('unchanged', tracking, claim ->> 'reason');
  elsif not mux_private.can_write_without_waiting(tracking) then
    return mux_private.outcome('busy', tracking);
  end if;
  update public.mux_asset_tracking t
  set check_count = t.check_count + 1, last_checked_at = now(),
      recheck_at = case verdict when 'wait' then now() + make_interval(secs => mux_private.pause_of(claim)) end,
      missing_since = case when verdict <> 'wait' or missing = false then null when missing then coalesce(t.missing_since, now()) else t.missing_since end,
      missing_count = case when verdict <> 'wait' or missing = false then 0 when missing then t.missing_count + 1 else t.missing_count end
  where t.id = was.id
  returning t.* into tracking;
  if verdict = 'wait' then
    return mux_private.outcome('waiting', tracking, claim ->> 'reason');
  elsif verdict = 'fail' then
    return mux_private.mark_unplayable(
      tracking, lesson_status, claim ->> 'reason', claim ->> 'message', claim ->> 'reason', item -> 'observation');
  elsif (verdict = 'publish' and mux_private.is_mux_id(wanted_id)) is not true then
    raise exception 'no such verdict: %', coalesce(verdict, 'null') using errcode = 'invalid_parameter_value';
  end if;

  is_news := mux_private.is_unplayable(was) or was.mux_playback_id is distinct from wanted_id;
  if not is_news then
    return mux_private.outcome('unchanged', tracking, claim ->> 'reason');
  end if;
  does_play := mux_private.plays(was);
  if does_play and was.mux_playback_id <> wanted_id then
    update public.lessons l set mux_playback_id = wanted_id, updated_at = now()
    where l.id = was.lesson_id
    returning l.mux_playback_id into found_id;
    if found_id is distinct from wanted_id then
      raise exception 'lesson should play as % now and plays as %', wanted_id, coalesce(found_id, 'nothing')
        using errcode = 'triggered_data_change_violation';
    end if;
  end if;
  update public.mux_asset_tracking t
  set mux_playback_id = wanted_id, error_type = null, error_message = null, updated_at = now()
  where t.id = was.id
  returning t.* into tracking;
  perform mux_private.note_video(
    tracking.lesson_id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), tracking.mux_asset_id, wanted_id, lesson_status = 'published');
  perform mux_private.record_event(
    'updated', tracking, was.status, lesson_status, lesson_status, 'playback_ids_changed', null, item -> 'observation');
  return mux_private.outcome(case when does_play then 'updated' else 'unchanged' end, tracking, 'playback_ids_changed');
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
  item jsonb, tracking_id uuid, lesson_id uuid, claim jsonb
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  creator_id uuid;
  lesson_status text;
  lesson_asset_id text;
  lesson_playback_id text;
  tracking public.mux_asset_tracking;
  verdict text := item ->> 'verdict';
  reason text := item ->> 'reason';
  message text := item ->> 'message';
  obstacle text;
  untouched jsonb := jsonb_build_object('tracking_id', tracking_id, 'lesson_id', lesson_id,
                                        'upload_id', item ->> 'upload_id', 'asset_id', item ->> 'asset_id');
  for_log jsonb := '{}';
begin
  if verdict = 'recheck' then
    return mux_private.recheck(tracking_id, item);
  end if;
  -- Always lesson first, then tracking row: the app's delete takes them in that order too. To
  -- wait changes no lesson and needs no lock on it.
  if verdict <> 'wait' or coalesce(claim ->> 'verdict', 'wait') <> 'wait' then
    select l.creator_id, l.status::text, left(l.mux_asset_id, 300), left(l.mux_playback_id, 300)
    into creator_id, lesson_status, lesson_asset_id, lesson_playback_id
    from public.lessons l where l.id = lesson_id for no key update skip locked;
    if not found then
      if exists (select 1 from public.lessons l where l.id = lesson_id) then
        perform mux_private.back_off(tracking_id, 5);
        return untouched || mux_private.busy(tracking_id);
      end if;
      return untouched || '{"outcome": "unmatched"}';
    end if;
  end if;

  select t.* into tracking
  from public.mux_asset_tracking t where t.id = tracking_id for no key update skip locked;
  if not found then
    return untouched || coalesce(mux_private.busy(tracking_id), '{"outcome": "unmatched"}');
  end if;

  if tracking.status = 'ready' and claim is not null then
    return mux_private.settle_recheck(tracking, lesson_status, item, claim);
  end if;
  -- What was claimed may have changed since: then its own verdict no longer stands.
  if tracking.status <> 'processing' or tracking.tracked_at is distinct from (claim ->> 'tracked_at')::timestamptz then
    claim := null;
  end if;
  if not mux_private.tracks(tracking, item ->> 'upload_id', item ->> 'asset_id', claim) then
    return untouched || '{"outcome": "unmatched"}';
  end if;
  if claim is not null then
    verdict := claim ->> 'verdict';
    reason := claim ->> 'reason';
    message := claim ->> 'message';
  elsif tracking.error_type = 'refused' and tracking.status = 'processing' and tracking.next_check_at > now() then
    return mux_private.outcome('waiting', tracking, 'refused');
  end if;

  if (verdict in ('publish', 'fail', 'wait')) is not true then
    raise exception 'no such verdict: %', coalesce(verdict, 'null') using errcode = 'invalid_parameter_value';
  end if;

  -- Row and audit are hers to read, so nothing is written there of the video of another. (Waiting
  -- has not read the lesson, and most of it learns nothing.)
  if tracking.status <> 'ready'
     and (verdict <> 'wait' or tracking.mux_asset_id is distinct from coalesce(item ->> 'asset_id', tracking.mux_asset_id))
     and mux_private.is_of_another(
       tracking, coalesce(creator_id, (select l.creator_id from public.lessons l where l.id = lesson_id)),
       item ->> 'upload_id', item ->> 'asset_id', item -> 'lesson_references') then
    for_log := jsonb_build_object('asset_id', left(item ->> 'asset_id', 300));
    item := item - '{asset_id,playback_id,observation}'::text[];
    if verdict <> 'wait' then
      verdict := 'fail';
      reason := 'lesson_mismatch';
      message := 'The video belongs to a lesson of another instructor. Upload a video of your own.';
    end if;
  end if;

  if verdict = 'publish' and tracking.status <> 'ready' then
    obstacle := case
      when mux_private.was_deleted(item ->> 'asset_id') then 'asset_deleted'
      when mux_private.names_newer(tracking, lesson_asset_id, lesson_playback_id, item ->> 'upload_id', item ->> 'asset_id') then 'names_newer'
    end;
    if obstacle is not null then
      verdict := 'wait';
      reason := obstacle;
      item := item || jsonb_build_object('reason', obstacle);
      claim := claim || jsonb_build_object('reason', obstacle);
    end if;
  end if;

  if tracking.status = 'ready' or (tracking.status = 'error' and verdict <> 'publish') then
    return mux_private.outcome('unchanged', tracking, reason);
  end if;
  if not mux_private.can_write_without_waiting(tracking) then
    return untouched || '{"outcome": "busy"}';
  end if;
  return case verdict
    when 'publish' then mux_private.publish(tracking, lesson_status, item)
    when 'fail' then mux_private.fail(tracking, reason, message, item)
    else mux_private.wait(tracking, claim, item)
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

-- A row that takes no update at all cannot be made to back off either: its lease does that.
create or replace function mux_private.record_refusal(
  item jsonb, tracking_id uuid, lesson_id uuid, pause_seconds double precision, code text, problem text,
  raised_by text default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  begin
    perform mux_private.back_off(
      tracking_id, pause_seconds,
      left(format('%s: %s', code, problem), 500) || coalesce(' (raised by ' || raised_by || ')', ''));
  exception
    when serialization_failure or deadlock_detected or lock_not_available then raise;
    when assert_failure or others then
      raise log 'the refusal of tracking row % could not be recorded: % %', tracking_id, sqlstate, sqlerrm;
  end;
  return jsonb_build_object(
    'outcome', 'refused', 'tracking_id', tracking_id, 'lesson_id', lesson_id,
    'upload_id', item ->> 'upload_id', 'asset_id', item ->> 'asset_id',
    'sqlstate', code, 'message', left(problem, 500), 'raised_by', raised_by);
end
$$;
comment on function mux_private.record_refusal is 'Makes a row back off whose verdict the database refused, records why, and returns the outcome refused.';

-- Read without a lock: most of what a page of Mux's list says concerns no row, or one that has
-- settled, knows it already or backs off, and such a row is not even locked, since a lock is a write.
-- A user may track one upload for all of their lessons: of unclaimed rows a fact takes a hundred,
-- and the others are settled when they fall due.
create or replace function mux_private.rows_about(verdicts jsonb)
returns table (item jsonb, tracking_id uuid, lesson_id uuid, claim jsonb, nothing_to_do jsonb)
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select case when t.contradicted then f.item || '{"verdict": "recheck"}' else f.item end, t.id, t.lesson_id, t.claim,
    case
      when t.id is null then jsonb_build_object('outcome', 'unmatched', 'upload_id', f.upload_id, 'asset_id', f.asset_id)
      when t.claim is not null or t.contradicted then null
      when t.status = 'ready' or (t.status = 'error' and f.verdict <> 'publish')
        then mux_private.outcome('unchanged', t.tracking, f.reason)
      when t.status = 'processing' and (t.tracking).error_type = 'refused' and (t.tracking).next_check_at > now()
        then mux_private.outcome('waiting', t.tracking, 'refused')
      when t.status = 'processing' and f.verdict = 'wait' and t.mux_asset_id is not distinct from coalesce(f.asset_id, t.mux_asset_id)
        then mux_private.outcome('waiting', t.tracking, f.reason)
    end
  from (
    select i.ordinality as place, i.value as item, i.value ->> 'verdict' as verdict, i.value ->> 'reason' as reason,
      i.value ->> 'upload_id' as upload_id, i.value ->> 'asset_id' as asset_id,
      case when jsonb_typeof(i.value -> 'claimed') = 'array' then i.value -> 'claimed' else '[]' end as claimed
    from jsonb_array_elements(verdicts) with ordinality i
  ) f
  left join lateral (
    select t.id, t.lesson_id, t.status, t.mux_asset_id, t.tracking, r.claim,
      case when t.status = 'ready' and r.claim is null then mux_private.contradicts(f.item, t.tracking) else false end as contradicted
    from (
      select distinct on (a.id) a.id, a.claim
      from (
        select case when c ->> 'id' ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then (c ->> 'id')::uuid end as id, c as claim
        from jsonb_array_elements(f.claimed) c
        union all
        (select o.id, null
         from public.mux_asset_tracking o
         where o.upload_id in (nullif(f.upload_id, 'migrated'), f.asset_id) and mux_private.is_mux_id(o.upload_id)
         order by o.status = 'ready', o.lesson_id limit 100)
        union all
        (select o.id, null
         from public.mux_asset_tracking o
         where o.mux_asset_id = f.asset_id and mux_private.is_mux_id(f.asset_id) and (f.upload_id is null or o.upload_id = 'migrated')
         order by o.status = 'ready', o.lesson_id limit 100)
      ) a
      order by a.id, a.claim is null
    ) r
    cross join lateral (
      select o.id, o.lesson_id, o.status, o.mux_asset_id, o as tracking
      from public.mux_asset_tracking o where o.id = r.id limit 1
    ) t
    where r.claim is null or mux_private.tracks(t.tracking, f.upload_id, f.asset_id, r.claim)
  ) t on true
  order by f.place, t.lesson_id;
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
      outcomes := outcomes || mux_private.settle_row(found.item, found.tracking_id, found.lesson_id, found.claim);
    exception
      -- Not for locked rows, which settle_row skips as busy: for locks that the app's triggers take.
      when serialization_failure or deadlock_detected or lock_not_available then raise;
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        outcomes := outcomes || mux_private.record_refusal(
          found.item, found.tracking_id, found.lesson_id, coalesce(mux_private.pause_of(found.claim), 60), code, problem,
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
      found.item, found.tracking_id, found.lesson_id, greatest(mux_private.pause_of(found.claim), 300), code, problem);
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
      and p.proname in ('is_unplayable', 'plays', 'contradicts', 'recheck', 'mark_unplayable', 'settle_recheck', 'busy', 'tracks', 'rows_about',
                        'names_newer', 'outcome', 'pause_of', 'can_write_without_waiting', 'publish', 'fail', 'wait',
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
