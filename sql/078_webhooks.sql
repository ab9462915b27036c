-- What it does: makes what Mux's webhooks need beside worker_settle: worker_take_note, for events
--   that settle nothing by themselves, and worker_note_events, by which all workers know that
--   webhooks arrive.
-- Needs: 076.
-- Locks: none. (The first function locks the rows that an event is about, for a moment.)
-- Undo: down/078_webhooks.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Waits a moment for a row that another transaction is settling: the next scan finds a verdict again,
-- but a deletion is reported only once.
create or replace function mux_private.note_fact(
  p_fact mux_private.fact, p_tracking_id uuid, p_lesson_id mux_private.lesson.id%type
) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
  was_deleted boolean := p_fact.verdict = 'mark_deleted';
  lesson_status text;
  is_news boolean;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.id = p_tracking_id for no key update;
  if not found or not mux_private.tracks(tracking, p_fact.upload_id, p_fact.asset_id, false)
     or (was_deleted and tracking.mux_asset_id is distinct from p_fact.asset_id
         and (tracking.status = 'ready' or tracking.mux_asset_id is not null)) then
    return jsonb_build_object('outcome', 'unmatched', 'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id);
  end if;
  is_news := was_deleted and not exists (
    select 1 from public.mux_asset_events e
    where e.lesson_id = p_lesson_id and e.event = 'unplayable' and e.reason = 'asset_deleted' and e.asset_id = p_fact.asset_id);
  if is_news then
    lesson_status := (mux_private.lesson(p_lesson_id)).status;
    if tracking.status = 'ready' then
      return mux_private.mark_unplayable(tracking, lesson_status, 'asset_deleted', p_fact.message, p_fact.observation);
    end if;
    tracking.mux_asset_id := p_fact.asset_id;
    perform mux_private.record_event(
      'unplayable', tracking, tracking.status, lesson_status, lesson_status, 'asset_deleted', p_fact.message, p_fact.observation);
  end if;
  if tracking.status = 'processing' then
    perform mux_private.make_due(tracking.id);
    return mux_private.outcome('waiting', tracking, p_fact.reason);
  end if;
  return mux_private.outcome('unchanged', tracking, p_fact.reason);
end
$$;
comment on function mux_private.note_fact is 'Makes a row that still waits due at once, and keeps in the audit, once, that its asset was deleted; a ready row keeps it as well.';

create or replace function public.worker_take_note(facts jsonb default null) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  found record;
  outcomes jsonb[] := '{}';
begin
  if facts is null or jsonb_typeof(facts) <> 'array' or jsonb_array_length(facts) > 100 then
    raise sqlstate 'PT400' using message = 'worker_take_note needs facts, an array of at most 100';
  end if;
  -- Instructors who keep their rows locked delay their own facts, and those of others for a moment only.
  perform set_config('lock_timeout', '300ms', true);
  perform mux_private.mark_deleted(f ->> 'upload_id', f ->> 'asset_id') from jsonb_array_elements(facts) f where f ->> 'verdict' = 'mark_deleted';
  for found in
    select distinct on (r.tracking_id, case when r.tracking_id is null then (r.fact).place end) r.*
    from mux_private.rows_about(facts) r
    order by r.tracking_id, case when r.tracking_id is null then (r.fact).place end, (r.fact).verdict = 'mark_deleted' desc
  loop
    begin
      outcomes := outcomes || case
        when found.tracking_id is null then found.nothing_to_do
        else mux_private.note_fact(found.fact, found.tracking_id, found.lesson_id) end;
    exception when lock_not_available then
      outcomes := outcomes || jsonb_build_object(
        'outcome', 'busy', 'tracking_id', found.tracking_id, 'lesson_id', found.lesson_id::text,
        'upload_id', (found.fact).upload_id, 'asset_id', (found.fact).asset_id);
      perform set_config('lock_timeout', '20ms', true);
    end;
  end loop;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_take_note is
  'For the worker: takes note of at most 100 facts that are no verdicts: that an upload failed without a reason (verdict: look) or that an asset was deleted (verdict: mark_deleted). Rows that wait are due at once; a deletion is kept in the audit, once, and called unplayable where the lesson plays the video. What cannot be locked in a moment is busy: the caller has to send it again.';

-- An event of an environment that holds none of our ids is no evidence about our uploads.
create or replace function public.worker_note_events(
  environment_id text default null, has_matched boolean default false
) returns text
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  recorded text := (select s.environment_id from mux_private.worker_state s);
begin
  if has_matched or worker_note_events.environment_id = recorded then
    update mux_private.worker_state s set events_at = now()
    where s.only_row and (s.events_at is null or s.events_at < now() - interval '1 s');
  end if;
  return recorded;
end
$$;
comment on function public.worker_note_events is
  'For the worker: a webhook of this Mux environment has just reported an upload or asset, perhaps about a row of ours. If it is the environment in which our ids were last found, or a row matched, the scan leaves new uploads to the webhooks for ten minutes. Returns the recorded environment.';

insert into mux_private.applied_files (name) values ('078_webhooks') on conflict do nothing;

commit;
