-- What it does: makes the functions that find the rows that a fact is about, and what has to be done
--   with each.
-- Needs: 036, 050, 056, 070.
-- Locks: none.
-- Undo: down/071_match.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A row with a real upload id tracks that upload, and its asset only where the fact names no upload.
-- An app may have stored an asset's id there: Mux's ids are random, so it is compared with both. A
-- 'migrated' row tracks its asset. A fact without ids is about the claimed rows alone. What cannot be
-- an id, such as an empty text, is the id of nothing.
create or replace function mux_private.tracks(
  p_tracking public.mux_asset_tracking, p_upload_id text, p_asset_id text, p_is_claimed boolean
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  upload text := case when mux_private.is_mux_id(p_upload_id) then p_upload_id end;
  asset text := case when mux_private.is_mux_id(p_asset_id) then p_asset_id end;
begin
  return case
    when p_upload_id is null and p_asset_id is null then p_is_claimed
    when p_tracking.upload_id = 'migrated' then coalesce(p_tracking.mux_asset_id = asset, false)
    when upload is not null then p_tracking.upload_id = upload or coalesce(p_tracking.upload_id = asset, false)
    else coalesce(asset in (p_tracking.mux_asset_id, p_tracking.upload_id), false)
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

-- The reason says that no scan would soon find it out, so that an event has to come again: a deletion
-- is reported only once, a row that has failed or has its video is not scanned, and one that was left to
-- webhooks stays so where its schedule is locked, too.
create or replace function mux_private.busy(p_tracking_id uuid, p_verdict text) returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_strip_nulls(jsonb_build_object(
      'outcome', 'busy', 'reason', case
        when p_verdict = 'mark_deleted' then 'mark_deleted'
        when t.status = 'error' then 'not_scanned'
        when t.status = 'ready' and p_verdict = 'recheck' then 'recheck'
        when t.status = 'processing' and exists (
          select from mux_private.schedule s where s.tracking_id = t.id and s.next_check_at > now() + interval '5 s')
          then 'not_due'
      end))
    from public.mux_asset_tracking t where t.id = p_tracking_id);
end
$$;
comment on function mux_private.busy is 'The outcome for a row that is locked, or whose lesson is; null where there is no such row.';

create or replace function mux_private.is_backing_off(p_tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return p_tracking.status = 'processing' and coalesce(p_tracking.error_type = 'refused', false) and exists (
    select from mux_private.schedule s where s.tracking_id = p_tracking.id and s.next_check_at > now());
end
$$;
comment on function mux_private.is_backing_off is 'Whether the database refused the last verdict about a row, and its pause is not over.';

create or replace function mux_private.is_unplayable(p_tracking public.mux_asset_tracking) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return p_tracking.status = 'ready' and coalesce(p_tracking.error_type in ('playback_ids_withdrawn', 'asset_deleted'), false);
end
$$;
comment on function mux_private.is_unplayable is 'Whether a row is ready and its video can no longer be played.';

create or replace function mux_private.plays(p_tracking public.mux_asset_tracking) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return exists (
    select from mux_private.lesson(p_tracking.lesson_id) l
    where l.asset_id = p_tracking.mux_asset_id and l.playback_id = p_tracking.mux_playback_id);
end
$$;
comment on function mux_private.plays is 'Whether a lesson still holds the ids of its tracking row.';

-- Events come late and out of order, so what contradicts a row proves nothing: it only has the row
-- looked at once more. A page comes again; an event that comes while Mux is asked comes only once.
-- The lesson need not play the video: a form may have overwritten its ids, which are restored later.
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
    p_fact.observation -> 'playback_ids' @> jsonb_build_array(jsonb_build_object('id', p_tracking.mux_playback_id)), false);
end
$$;
comment on function mux_private.contradicts is
  'Whether a fact says that a ready row''s asset no longer lists the playback id that the row has, or that an unplayable one can be played again.';

-- Read without a lock: most of what a page of Mux's list says concerns no row, or one that has
-- settled, knows it already or backs off, and such a row is not even locked, since a lock is a write.
-- A user may track one upload for all of their lessons: of unclaimed rows a fact takes a hundred,
-- and the others are settled when they fall due. Of several facts about one row the one that says
-- most is settled, a deletion before all others: what was written in this transaction cannot be
-- written again without waiting for a lesson that is being deleted.
create or replace function mux_private.rows_about(p_verdicts jsonb)
returns table (fact mux_private.fact, tracking_id uuid, lesson_id mux_private.lesson.id%type, claim jsonb, nothing_to_do jsonb)
language plpgsql stable set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select w.fact, w.id, w.lesson_id, w.claim,
    case
      when w.id is null then jsonb_build_object('outcome', 'unmatched', 'upload_id', (w.fact).upload_id, 'asset_id', (w.fact).asset_id)
      when w.place_of_row > 1 then mux_private.outcome('unchanged', w.tracking, (w.fact).reason)
      when w.claim is not null or (w.fact).verdict = 'mark_deleted' or w.contradicted then null
      when (w.tracking).status = 'ready' or ((w.tracking).status = 'error' and (w.fact).verdict <> 'publish')
        then mux_private.outcome('unchanged', w.tracking, (w.fact).reason)
      when (w.fact).verdict = 'recheck' then null
      when mux_private.is_backing_off(w.tracking) then mux_private.outcome('waiting', w.tracking, 'refused')
      when (w.fact).verdict = 'wait' and (w.tracking).mux_asset_id is not distinct from coalesce((w.fact).asset_id, (w.tracking).mux_asset_id)
        and not ((w.fact).source is not distinct from 'webhook' and mux_private.put_off_until(w.tracking) is not null)
        then mux_private.outcome('waiting', w.tracking, (w.fact).reason)
    end
  from (
    select t.id, t.lesson_id, t.claim, t.tracking, t.contradicted,
      case when t.contradicted then mux_private.with_verdict(f.fact, 'recheck') else f.fact end as fact,
      case when t.id is not null then row_number() over (
        partition by t.id
        order by
          case when (f.fact).verdict = 'mark_deleted' then 1 when t.contradicted then 2 else 3 end,
          case coalesce(t.claim ->> 'verdict', (f.fact).verdict) when 'publish' then 1 when 'fail' then 2 when 'recheck' then 3 else 4 end,
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

insert into mux_private.applied_files (name) values ('071_match') on conflict do nothing;

commit;
