-- What it does: makes worker_adopt, which begins to track what lessons name, or restores what the app
--   overwrote.
-- Needs: 052, 081.
-- Locks: none. (The functions lock lesson, tracking row and schedule, in this order.)
-- Undo: down/082_adopt.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.begin_to_track(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_upload_id text, p_asset_id text
) returns public.mux_asset_tracking
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  perform mux_private.enter_upload(
    p_lesson.id, mux_private.key_of(p_upload_id, p_asset_id), p_tracking.id, case when p_upload_id = 'migrated' then p_asset_id end);
  insert into public.mux_asset_tracking as t (lesson_id, upload_id, temp_asset_id, mux_asset_id)
  values (p_lesson.id, p_upload_id, case when left(p_lesson.asset_id, 5) = 'temp_' then p_lesson.asset_id end, p_asset_id)
  on conflict (lesson_id) do update
  set upload_id = excluded.upload_id, temp_asset_id = coalesce(excluded.temp_asset_id, t.temp_asset_id),
      mux_asset_id = excluded.mux_asset_id, mux_playback_id = null, status = 'processing', tracked_at = now(),
      updated_at = now()
  where t.id = p_tracking.id
  returning t.* into tracking;
  return tracking;
end
$$;
comment on function mux_private.begin_to_track is 'Begins to track an upload or asset for a lesson, as its newest. Returns no row if the app has just begun to track another.';

create or replace function mux_private.look_once_more(p_tracking public.mux_asset_tracking) returns public.mux_asset_tracking
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  update public.mux_asset_tracking t
  set status = 'processing', updated_at = now(),
      tracked_at = case when t.status = 'processing' then t.tracked_at else now() end
  where t.id = p_tracking.id
  returning t.* into p_tracking;
  return p_tracking;
end
$$;
comment on function mux_private.look_once_more is 'Has a row looked at as if its upload had just begun, unless it waits already.';

-- The rows of a backfill stand behind all others.
create or replace function mux_private.schedule_adopted(
  p_tracking public.mux_asset_tracking, p_backfill timestamptz, p_lease_seconds double precision
) returns timestamptz
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  leased_until timestamptz;
begin
  update mux_private.schedule s
  set next_check_at = now() + make_interval(secs => coalesce(p_lease_seconds, 0)), is_backlog = p_backfill is not null
  where s.tracking_id = p_tracking.id
  returning s.next_check_at into leased_until;
  perform mux_private.note_backfill(p_tracking.lesson_id, mux_private.key_of(p_tracking.upload_id, p_tracking.mux_asset_id), p_backfill);
  return leased_until;
end
$$;
comment on function mux_private.schedule_adopted is 'Leases an adopted row for a number of seconds, or makes it due at once. Returns until when.';

create or replace function mux_private.adopt(
  p_item jsonb, p_holders jsonb, p_backfill timestamptz, p_lease_seconds double precision
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  item mux_private.adoption_item := mux_private.adoption_item_of(p_item, p_backfill);
  key mux_private.lesson.id%type := mux_private.lesson_key(p_item ->> 'lesson_id');
  lesson mux_private.lesson := mux_private.lock_lesson(key, true);
  tracking public.mux_asset_tracking;
  adoption mux_private.adoption;
  answer jsonb := jsonb_build_object('lesson_id', p_item ->> 'lesson_id');
  restored jsonb;
  leased_until timestamptz;
begin
  if lesson.id is null then
    return answer || case
      when (mux_private.lesson(key)).id is not null then '{"outcome": "busy"}'
      else '{"outcome": "left_alone", "reason": "deleted"}' end::jsonb;
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id for no key update skip locked;
  if not found and exists (select 1 from public.mux_asset_tracking t where t.lesson_id = lesson.id) then
    return answer || '{"outcome": "busy"}';
  end if;

  adoption := mux_private.adoption_of(item, lesson, tracking, p_holders);
  answer := answer || jsonb_build_object(
    'outcome', adoption.outcome, 'reason', adoption.reason, 'upload_id', adoption.upload_id, 'asset_id', adoption.asset_id,
    'is_draft', lesson.is_draft);
  if adoption.passes_over is not null then
    perform mux_private.pass_over(lesson.id, adoption.passes_over);
    if adoption.outcome = 'disputed' then
      perform mux_private.make_due(tracking.id);
    end if;
  end if;
  if item.upload_id is not null and item.asset_id is not null then
    perform mux_private.learn(jsonb_build_array(jsonb_build_object('upload_id', item.upload_id, 'asset_id', item.asset_id)));
  end if;
  case adoption.outcome
    when 'adopted' then tracking := mux_private.begin_to_track(lesson, tracking, adoption.upload_id, adoption.asset_id);
    when 'look' then tracking := mux_private.look_once_more(tracking);
    when 'tracked' then
      restored := mux_private.try_to_restore(lesson, tracking);
      if restored is null and item.id is not null then
        perform mux_private.make_due(tracking.id);
      end if;
      perform mux_private.note_backfill(lesson.id, mux_private.key_of(tracking.upload_id, tracking.mux_asset_id), p_backfill);
      return answer || jsonb_build_object('restored', restored);
    when 'unchanged' then return coalesce(mux_private.try_to_restore(lesson, tracking), answer);
    when 'disputed' then
      if tracking.id is not null then  -- else the next adoption tracks the lesson's newest upload again
        restored := mux_private.try_to_restore(lesson, tracking);
      end if;
      return answer || jsonb_build_object('restored', restored);
    else return answer;
  end case;
  if tracking.id is null then  -- so that what was entered into the history is undone
    raise exception 'the app has just begun to track another upload' using errcode = 'lock_not_available';
  elsif not item.by_hand then
    restored := mux_private.try_to_restore(lesson, tracking);
  end if;
  leased_until := mux_private.schedule_adopted(tracking, p_backfill, p_lease_seconds);
  answer := answer || jsonb_build_object('outcome', 'adopted', 'restored', restored);
  if p_lease_seconds is not null then
    answer := answer || jsonb_build_object('claim', jsonb_build_object(
      'id', tracking.id, 'lesson_id', lesson.id::text, 'lesson_status', lesson.status, 'upload_id', tracking.upload_id,
      'asset_id', tracking.mux_asset_id, 'tracked_at', tracking.tracked_at, 'due_at', now(), 'leased_until', leased_until,
      'age_seconds', extract(epoch from now() - tracking.tracked_at), 'check_count', 0, 'missing_seconds', null, 'missing_count', 0));
  end if;
  return answer;
end
$$;
comment on function mux_private.adopt is 'Begins to track what one lesson names, if that is the newest, or gives it back what it can play; what cannot be locked at once is busy.';

create or replace function mux_private.planned_adoption(
  p_item jsonb, p_holders jsonb, p_backfill timestamptz
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  lesson mux_private.lesson := mux_private.lesson(mux_private.lesson_key(p_item ->> 'lesson_id'));
  tracking public.mux_asset_tracking;
  adoption mux_private.adoption;
  restores boolean;
begin
  if lesson.id is null then
    return jsonb_build_object('lesson_id', p_item ->> 'lesson_id', 'outcome', 'left_alone', 'reason', 'deleted');
  end if;
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = lesson.id;
  adoption := mux_private.adoption_of(mux_private.adoption_item_of(p_item, p_backfill), lesson, tracking, p_holders);
  restores := adoption.outcome = 'unchanged' and (mux_private.video_to_restore(lesson, tracking)).playback_id is not null;
  return jsonb_build_object(
    'lesson_id', p_item ->> 'lesson_id', 'reason', adoption.reason, 'upload_id', adoption.upload_id, 'asset_id', adoption.asset_id,
    'outcome', case when restores then 'restored' when adoption.outcome = 'look' then 'adopted' else adoption.outcome end,
    'is_draft', lesson.is_draft);
end
$$;
comment on function mux_private.planned_adoption is 'What adopt would do for one lesson. Locks and writes nothing.';

-- By index, as worker_settle does: see there.
create or replace function public.worker_adopt(
  adoptions jsonb default null, dry_run boolean default false, backfill timestamptz default null,
  lease_seconds double precision default null
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  item jsonb;
  outcomes jsonb[] := '{}';
  holders jsonb;
  problem text;
  code text;
  context text;
  constraint_name text;
  table_name text;
begin
  if adoptions is null or jsonb_typeof(adoptions) <> 'array' or jsonb_array_length(adoptions) > 100
     or lease_seconds not between 1 and 3600 or dry_run is null then
    raise sqlstate 'PT400' using message = 'worker_adopt needs adoptions, an array of at most 100';
  end if;
  holders := mux_private.holders(array(
    select n.mux_id
    from jsonb_array_elements(adoptions) i
    cross join lateral mux_private.lesson(mux_private.lesson_key(i ->> 'lesson_id')) l
    left join public.mux_asset_tracking t on t.lesson_id = l.id
    cross join lateral unnest(case
      when i ->> 'is_trusted' = 'true' then array[i ->> 'upload_id', i ->> 'asset_id']
      else array[mux_private.named_in(l, t)] end) n (mux_id)));
  if dry_run then
    return (
      select coalesce(jsonb_agg(mux_private.planned_adoption(i.value, holders, backfill) order by i.ordinality), '[]')
      from jsonb_array_elements(adoptions) with ordinality i);
  end if;
  set constraints all immediate;
  -- A row that the app inserts at the same moment cannot be skipped, only waited for: 300 ms for the
  -- first such row of a call, and 20 ms for each other.
  perform set_config('lock_timeout', '300ms', true);
  for item in select i.value from jsonb_array_elements(adoptions) with ordinality i order by i.ordinality
  loop
    begin
      outcomes := outcomes || mux_private.adopt(item, holders, backfill, lease_seconds);
    exception
      when serialization_failure or deadlock_detected then raise;
      when lock_not_available then
        outcomes := outcomes || jsonb_build_object('outcome', 'busy', 'lesson_id', item ->> 'lesson_id');
        perform set_config('lock_timeout', '20ms', true);
      when assert_failure or others then
        get stacked diagnostics code = returned_sqlstate, problem = message_text, context = pg_exception_context,
          constraint_name = constraint_name, table_name = table_name;
        outcomes := outcomes || mux_private.refusal(item ->> 'lesson_id', code, problem, context, constraint_name, table_name);
    end;
  end loop;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_adopt is
  'For the worker: begins to track what at most 100 lessons name, in the order given, or gives them back what they can play. Item: {lesson_id}, and where Mux was asked {id: what the lesson named, upload_id, asset_id: what that is, or is_missing}; is_trusted: the lesson is given this asset, which names it; takes_drafts: also a draft that could be played; retries_failed: a failed row is looked at once more; by_hand: an operator wants it published. dry_run: says what would be done, and does nothing. backfill: the run whose rows these are; they stand behind all others, and what the run has adopted before is tracked already, also if it failed. Outcomes: adopted (with a claim where there are lease_seconds, else due at once), restored, ask (Mux, for upload_id or asset_id), tracked (already), unchanged, disputed (lesson_mismatch, several_instructors), left_alone (names_nothing, unreadable_id, has_video, older, not_found, deleted), busy, refused.';

insert into mux_private.applied_files (name) values ('082_adopt') on conflict do nothing;

commit;
