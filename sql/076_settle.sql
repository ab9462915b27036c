-- What it does: makes worker_settle, which settles verdicts, and worker_record_refusal, for a verdict
--   that cannot be settled within the statement timeout.
-- Needs: 074.
-- Locks: none. (See 072.)
-- Undo: down/076_settle.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- The context of an error names the functions that were running, the innermost first.
create or replace function mux_private.raised_by(p_context text, p_constraint_name text, p_table_name text) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  functions text[] := array(
    select coalesce(f.named[1], f.named[2])
    from regexp_matches(
      p_context, '^(?:PL/pgSQL function (?:public\.)?([^()\n]*\([^()\n]*\))|SQL function "([^"\n]*)")', 'gn'
    ) with ordinality f (named, place)
    where coalesce(f.named[1], f.named[2]) !~ '^(mux_private\.|worker_)'
    order by f.place);
  triggers text := (
    select string_agg(format('trigger %s on %s', t.tgname, t.tgrelid::regclass), ' or ' order by t.tgrelid, t.tgname)
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid in (mux_private.lessons_table(), 'public.mux_asset_tracking'::regclass) and not t.tgisinternal
      and quote_ident(p.proname) || '()' in (select regexp_replace(f, '^.*\.', '') from unnest(functions) f));
begin
  return nullif(left(concat_ws(', ',
    'constraint ' || nullif(p_constraint_name, '') || ' on ' || p_table_name, 'function ' || functions[1], triggers), 300), '');
end
$$;
comment on function mux_private.raised_by is
  'What of the app raised an error: the constraint, the innermost function that is not ours, and its trigger. Null where it was none of them.';

-- A row that takes no update at all, or is locked, backs off all the same, since that is written in the
-- schedule.
create or replace function mux_private.record_refusal(
  p_fact mux_private.fact, p_tracking_id uuid, p_lesson_id mux_private.lesson.id%type, p_pause_seconds double precision, p_code text, p_problem text,
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
    'outcome', 'refused', 'tracking_id', p_tracking_id, 'lesson_id', p_lesson_id::text,
    'upload_id', p_fact.upload_id, 'asset_id', p_fact.asset_id,
    'sqlstate', p_code, 'message', left(p_problem, 500), 'raised_by', p_raised_by);
end
$$;
comment on function mux_private.record_refusal is 'Makes a row back off whose verdict the database refused, records why, and returns the outcome refused.';

-- "others" does not include assert_failure and query_canceled; the second is meant to pass.
-- A connection keeps its plans. A plan that was made while the tables were small would read all of a
-- table that has grown since, until Postgres analyzes it. So everything here goes by index. (Without
-- jit: before Postgres 18 a disabled scan has so high a cost that it would be compiled.)
create or replace function public.worker_settle(
  verdicts jsonb default null,
  environment_id text default null,
  leader text default null,
  lead_seconds double precision default 15
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
  -- A deferred constraint of the app would fail at commit, for all rows; now it fails for its own row.
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
          found.fact, found.tracking_id, found.lesson_id, greatest(coalesce(mux_private.pause_of(found.claim), 60), 5), code, problem,
          mux_private.raised_by(context, constraint_name, table_name));
    end;
  end loop;
  -- At the end: another worker's settle may have to write what this locks. Then it waits for this
  -- commit, and the two never wait for each other.
  perform mux_private.learn(verdicts);
  outcomes := outcomes || mux_private.mark_deleted(verdicts);
  -- Skipped where the row is locked: that worker, or the next call, writes the same.
  update mux_private.worker_state s
  set environment_id = coalesce(worker_settle.environment_id, s.environment_id),
      environment_seen_at = case
        when worker_settle.environment_id is not null and worker_settle.environment_id is distinct from s.environment_id
        then now() else s.environment_seen_at end,
      leads_until = case
        when s.leader = worker_settle.leader then greatest(s.leads_until, now() + make_interval(secs => lead_seconds))
        else s.leads_until end
  from (
    select w.only_row from mux_private.worker_state w
    where (worker_settle.environment_id is not null and w.environment_id is distinct from worker_settle.environment_id)
       or (w.leader = worker_settle.leader and w.leads_until < now() + make_interval(secs => lead_seconds * 2 / 3))
    for no key update skip locked
  ) free
  where s.only_row = free.only_row;
  return to_jsonb(outcomes);
end
$$;
comment on function public.worker_settle is
  'For the worker: settles at most 100 verdicts, each against the claimed rows and at most 100 others that track its upload, and says what each did. Settling twice changes nothing the second time. environment_id: the Mux environment in which one of these ids was found. leader: the worker whose lease this prolongs, if it is the leader, to lead_seconds from now.';

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

insert into mux_private.applied_files (name) values ('076_settle') on conflict do nothing;

commit;
