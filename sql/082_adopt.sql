-- What it does: makes worker_adopt, which begins to track what a lesson names, or restores what the
--   app overwrote.
-- Needs: 076, 080.
-- Locks: none. (See 080.)
-- Undo: down/082_adopt.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- It depends on what the lesson names, which upload of it is the newest, and whose that is.
-- An id that the history does not know was written since, so it is the newest; where the lesson has
-- a history, or names an asset, Mux is asked first what the id is.
create or replace function mux_private.adopt(p_item jsonb, p_rivals jsonb, p_lease_seconds double precision) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  lesson mux_private.lesson;
  tracking public.mux_asset_tracking;
  answer jsonb := jsonb_build_object('lesson_id', p_item ->> 'lesson_id');
  by_hand boolean := coalesce(p_item ->> 'by_hand' = 'true', false);
  upload_id text := case when mux_private.is_mux_id(p_item ->> 'upload_id') then p_item ->> 'upload_id' end;
  asset_id text := case when mux_private.is_mux_id(p_item ->> 'asset_id') then p_item ->> 'asset_id' end;
  named text;
  is_real boolean;
  is_current boolean;
  entry mux_private.upload_history;
  newest mux_private.upload_history;
  restored jsonb;
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  lesson := mux_private.lock_lesson(mux_private.lesson_key(p_item ->> 'lesson_id'), true);
  if lesson.id is null then
    return answer || jsonb_build_object('outcome', case
      when (mux_private.lesson(mux_private.lesson_key(p_item ->> 'lesson_id'))).id is not null then 'busy' else 'gone' end);
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update skip locked;
  if not found and exists (select 1 from public.mux_asset_tracking t where t.lesson_id = lesson.id) then
    return answer || '{"outcome": "busy"}';
  end if;

  named := coalesce(
    mux_private.named_by(lesson.asset_id, lesson.playback_id),
    case when mux_private.is_mux_id(tracking.upload_id) is not true and tracking.upload_id <> 'migrated'
      then coalesce(mux_private.named_id(tracking.upload_id), mux_private.named_id(tracking.temp_asset_id)) end);
  if p_item ->> 'trusted' = 'true' then
    named := coalesce(upload_id, asset_id);
  elsif p_item ? 'id' and mux_private.as_written(p_item ->> 'id') is distinct from mux_private.as_written(named) then
    upload_id := null;  -- Mux was asked for what the lesson or its row named before
    asset_id := null;
  end if;
  is_real := coalesce(named = lesson.asset_id, false);
  if mux_private.as_written(named) in (select mux_private.as_written(m) from jsonb_array_elements_text(coalesce(p_item -> 'missing', '[]')) m)
     and (is_real or tracking.id is not null or (mux_private.newest_entry(lesson.id)).id is not null) then
    perform mux_private.pass_over(lesson.id, named);
  end if;
  if upload_id is not null and asset_id is not null then
    perform mux_private.learn(jsonb_build_array(jsonb_build_object('upload_id', upload_id, 'asset_id', asset_id)));
  end if;
  newest := mux_private.newest_entry(lesson.id);
  entry := mux_private.entry_of(lesson.id, named);
  if entry.id is null then
    entry := mux_private.entry_of(lesson.id, upload_id);
  end if;
  is_current := tracking.id is not null and coalesce(
    mux_private.as_written(named) in (mux_private.as_written(tracking.upload_id), mux_private.as_written(tracking.mux_asset_id))
    or lesson.asset_id = tracking.temp_asset_id or entry.id = newest.id, false);

  if named is null and (tracking.id is null or not by_hand) then
    return answer || '{"outcome": "left_alone", "reason": "names_nothing"}';
  end if;
  if named is not null and entry.id is null and not is_current then
    if tracking.id is null and lesson.is_draft and is_real and mux_private.is_mux_id(lesson.playback_id) and not by_hand then
      return answer || '{"outcome": "left_alone", "reason": "has_video"}';
    elsif upload_id is null and asset_id is null and (is_real or newest.id is not null) and p_item ->> 'disputed' is distinct from 'true' then
      return answer || jsonb_build_object('outcome', 'ask', 'id', named, 'kind', case when is_real then 'asset' else 'either' end);
    elsif p_item ->> 'disputed' = 'true' or mux_private.is_of_another(tracking, lesson.owner, coalesce(upload_id, named), coalesce(asset_id, named))
          or (p_rivals ? named and (p_rivals -> named ->> 'is_disputed' = 'true'
                                    or p_rivals -> named ->> 'owner' is distinct from lesson.owner)) then
      if newest.id is not null then
        perform mux_private.pass_over(lesson.id, named);
        perform mux_private.make_due(tracking.id);
      end if;
      return answer || jsonb_build_object(
        'outcome', 'disputed', 'reason', 'lesson_mismatch', 'restored', mux_private.restore(lesson, tracking));
    end if;
    tracking := mux_private.begin_to_track(
      lesson, tracking, coalesce(upload_id, case when asset_id is null then named else 'migrated' end), asset_id);
  elsif not is_current and by_hand and is_real then
    return answer || '{"outcome": "older"}';
  elsif tracking.id is null and newest.id is null then
    return answer || '{"outcome": "left_alone", "reason": "not_found"}';
  elsif tracking.id is null then
    tracking := mux_private.begin_to_track(
      lesson, tracking, case when newest.mux_id = newest.asset_id then 'migrated' else newest.mux_id end, newest.asset_id);
  elsif by_hand and is_real and tracking.status = 'ready' and lesson.asset_id is distinct from tracking.mux_asset_id then
    return answer || '{"outcome": "older"}';
  elsif by_hand then
    update public.mux_asset_tracking t
    set status = 'processing', updated_at = now(),
        tracked_at = case when t.status = 'processing' then t.tracked_at else now() end
    where t.id = tracking.id
    returning t.* into tracking;
  else
    restored := mux_private.restore(lesson, tracking);
    if restored is null and p_item ? 'id' then
      perform mux_private.make_due(tracking.id);
    end if;
    return coalesce(restored, jsonb_build_object(
      'outcome', case when tracking.status = 'processing' then 'tracked' else 'unchanged' end)) || answer;
  end if;

  if tracking.id is null then  -- the app has just begun to track it
    return answer || '{"outcome": "changed"}';
  end if;
  if not by_hand then
    begin
      restored := mux_private.restore(lesson, tracking);
    exception  -- the older video is no reason to leave the newest one untracked
      when serialization_failure or deadlock_detected or lock_not_available then raise;
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        restored := answer || jsonb_build_object(
          'outcome', 'refused', 'sqlstate', code, 'message', left(problem, 500),
          'raised_by', mux_private.raised_by(context, constraint_name, table_name));
    end;
  end if;
  return answer || jsonb_build_object(
    'outcome', 'adopted', 'upload_id', tracking.upload_id, 'asset_id', tracking.mux_asset_id, 'restored', restored,
    'claim', jsonb_build_object(
      'id', tracking.id, 'lesson_id', lesson.id::text, 'lesson_status', lesson.status, 'upload_id', tracking.upload_id,
      'asset_id', tracking.mux_asset_id, 'tracked_at', tracking.tracked_at, 'due_at', now(),
      'leased_until', mux_private.lease_adopted(tracking.id, p_lease_seconds),
      'age_seconds', extract(epoch from now() - tracking.tracked_at), 'check_count', 0, 'missing_seconds', null, 'missing_count', 0));
end
$$;
comment on function mux_private.adopt is 'Begins to track what one lesson names, if that is the newest, or gives it back what it can play; what cannot be locked at once is busy.';

-- By index, as worker_settle does: see there.
create or replace function public.worker_adopt(
  adoptions jsonb default null, lease_seconds double precision default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  item jsonb;
  outcomes jsonb[] := '{}';
  named text[];
  rivals jsonb := '{}';
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  if adoptions is null or jsonb_typeof(adoptions) <> 'array' or jsonb_array_length(adoptions) > 100
     or lease_seconds not between 1 and 3600 then
    raise sqlstate 'PT400' using message = 'worker_adopt needs adoptions, an array of at most 100';
  end if;
  set constraints all immediate;
  -- A backfill has compared the lessons of a whole chunk.
  named := array(
    select mux_private.named_by(l.asset_id, l.playback_id)
    from jsonb_array_elements(adoptions) i cross join lateral mux_private.lesson(mux_private.lesson_key(i ->> 'lesson_id')) l
    where not i ? 'compared' or i ->> 'by_hand' = 'true');
  if cardinality(named) > 0 then
    rivals := public.worker_rivals(named);
  end if;
  -- A row that the app inserts at the same moment cannot be skipped, only waited for: 300 ms for the
  -- first such row of a call, and 20 ms for each other.
  perform set_config('lock_timeout', '300ms', true);
  for item in select i.value from jsonb_array_elements(adoptions) with ordinality i order by i.ordinality
  loop
    begin
      outcomes := outcomes || mux_private.adopt(item, rivals, lease_seconds);
    exception
      when serialization_failure or deadlock_detected then raise;
      when lock_not_available then
        outcomes := outcomes || jsonb_build_object('outcome', 'busy', 'lesson_id', item ->> 'lesson_id');
        perform set_config('lock_timeout', '20ms', true);
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        outcomes := outcomes || jsonb_build_object(
          'outcome', 'refused', 'lesson_id', item ->> 'lesson_id', 'sqlstate', code, 'message', left(problem, 500),
          'raised_by', mux_private.raised_by(context, constraint_name, table_name));
    end;
  end loop;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_adopt is
  'For the worker: begins to track what at most 100 lessons name, in the order given, or gives them back what they can play. Item: {lesson_id}, and where Mux was asked {id: what the lesson named, upload_id, asset_id: what that is, missing: the ids that Mux does not know}; compared: the lessons that hold the same id were compared before, and disputed: what came of that; trusted: an asset names the lesson; by_hand: an operator wants it published. Outcomes: adopted (with a claim, leased for lease_seconds, else due at once), restored, ask (Mux, for id), tracked, unchanged, older, disputed, left_alone (with a reason), busy, changed, gone, refused.';

insert into mux_private.applied_files (name) values ('082_adopt') on conflict do nothing;

commit;
