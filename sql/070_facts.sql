-- What it does: makes the types of a fact and of a claim, which are read from the JSON of a call, and
--   the outcome of settling one row.
-- Needs: 030.
-- Locks: none.
-- Undo: down/070_facts.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- What Mux said of an upload or asset, and what follows from it, read once from the JSON of a call.
do $$
begin
  if to_regtype('mux_private.fact') is null then
    create type mux_private.fact as (
      place bigint, verdict text, reason text, message text, upload_id text, asset_id text, playback_id text,
      source text, subject text, status text, observation jsonb, lesson_references jsonb);
  end if;
end
$$;
comment on type mux_private.fact is 'A verdict about an upload or asset, with the observation from which it follows.';

create or replace function mux_private.fact_of(p_item jsonb, p_place bigint default 1) returns mux_private.fact
language plpgsql immutable set search_path = public, extensions, pg_temp as $$
declare
  observation jsonb := nullif(p_item -> 'observation', 'null');
begin
  return row(
    p_place, p_item ->> 'verdict', p_item ->> 'reason', p_item ->> 'message', p_item ->> 'upload_id', p_item ->> 'asset_id',
    p_item ->> 'playback_id', observation ->> 'source', observation ->> 'subject', observation ->> 'status', observation,
    case when jsonb_typeof(p_item -> 'lesson_references') = 'array' then p_item -> 'lesson_references' end)::mux_private.fact;
end
$$;
comment on function mux_private.fact_of is 'The fact in an item of worker_settle.';

create or replace function mux_private.with_verdict(p_fact mux_private.fact, p_verdict text) returns mux_private.fact
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  p_fact.verdict := p_verdict;
  return p_fact;
end
$$;
comment on function mux_private.with_verdict is 'A fact with another verdict.';

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
comment on function mux_private.pause_of is 'The seconds after which a claimed row is due again; null if they are no number, or too many.';

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
comment on function mux_private.claim_of is 'The claim in an item of worker_settle. Raises if it has another form.';

create or replace function mux_private.number_of(p_value jsonb) returns double precision
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case when jsonb_typeof(p_value) = 'number' then (p_value #>> '{}')::double precision end;
end
$$;
comment on function mux_private.number_of is 'The number in a value; null where it is none.';

create or replace function mux_private.outcome(
  p_name text, p_tracking public.mux_asset_tracking, p_reason text default null, p_message text default null
) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return jsonb_build_object(
    'outcome', p_name, 'tracking_id', p_tracking.id, 'lesson_id', p_tracking.lesson_id::text, 'upload_id', left(p_tracking.upload_id, 300),
    'asset_id', left(p_tracking.mux_asset_id, 300), 'playback_id', p_tracking.mux_playback_id, 'reason', p_reason, 'message', p_message,
    'age_seconds', extract(epoch from now() - coalesce(p_tracking.tracked_at, p_tracking.updated_at)));
end
$$;
comment on function mux_private.outcome is 'What settling did to one row, for the worker''s log.';

insert into mux_private.applied_files (name) values ('070_facts') on conflict do nothing;

commit;
