-- What it does: makes the functions that write into the upload history what Mux says.
-- Needs: 050.
-- Locks: none.
-- Undo: down/054_history.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Security definer, all of them: no role but the owner may write the history.
--
-- Facts are about ids, whichever row tracks them now: what an upload became is kept for every lesson
-- that ever tracked it. An entry that is locked is skipped: the other request writes the same, or the
-- next fact does.
create or replace function mux_private.learn(p_verdicts jsonb) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  with facts as materialized (
    select i ->> 'upload_id' as upload_id, case when mux_private.is_mux_id(i ->> 'asset_id') then i ->> 'asset_id' end as asset_id,
      coalesce(i #>> '{observation,status}' not in ('missing', 'rejected', 'fault'), false) as is_known,
      array[mux_private.as_written(i ->> 'upload_id'), mux_private.as_written(i ->> 'asset_id')] as written
    from jsonb_array_elements(p_verdicts) i
  ), news as materialized (
    select distinct on (o.id) o.id, f.asset_id, f.is_known
    from facts f
    cross join lateral (
      select h.id, h.asset_id, h.is_known from mux_private.upload_history h
      where h.mux_id_written = any (f.written) and h.mux_id in (f.upload_id, f.asset_id)) o
    where (o.asset_id is null and f.asset_id is not null) or (f.is_known and not o.is_known)
    order by o.id, f.asset_id is null, f.is_known desc
  ), free as materialized (
    select h.id from mux_private.upload_history h
    where h.id = any (array(select n.id from news n)) order by h.id for no key update skip locked
  )
  update mux_private.upload_history h
  set asset_id = coalesce(h.asset_id, n.asset_id), is_known = h.is_known or n.is_known
  from news n
  where h.id = n.id and h.id = any (array(select f.id from free f));
end
$$;
comment on function mux_private.learn is 'Keeps what uploads became, and which ids Mux has known, for every lesson whose history has them.';

create or replace function mux_private.note_video(
  p_lesson_id mux_private.lesson.id%type, p_key text, p_asset_id text, p_playback_id text, p_was_published boolean
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h
  set asset_id = p_asset_id, playback_id = p_playback_id, was_published = p_was_published, is_known = true,
      is_deleted = false, is_withdrawn = false
  where h.lesson_id = p_lesson_id and h.mux_id_written = mux_private.as_written(p_key);
end
$$;
comment on function mux_private.note_video is 'Keeps by which ids a lesson plays an upload.';

create or replace function mux_private.note_withdrawn(p_lesson_id mux_private.lesson.id%type, p_key text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set is_withdrawn = true
  where h.lesson_id = p_lesson_id and h.mux_id_written = mux_private.as_written(p_key);
end
$$;
comment on function mux_private.note_withdrawn is 'Keeps that the playback id of an upload was withdrawn, so that its lesson is not given it again.';

-- What is locked is skipped: an instructor who holds a copy of an id keeps no other entry from being
-- marked. A deletion is reported only once, so that its event has to come again.
create or replace function mux_private.mark_deleted(p_verdicts jsonb) returns jsonb[]
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  deletion record;
  entries bigint[];
  free bigint[];
  outcomes jsonb[] := '{}';
begin
  for deletion in
    select i ->> 'upload_id' as upload_id, i ->> 'asset_id' as asset_id
    from jsonb_array_elements(p_verdicts) i where i ->> 'verdict' = 'mark_deleted'
  loop
    entries := array(
      select h.id from mux_private.upload_history h
      where not h.is_deleted
        and (h.asset_id_written = mux_private.as_written(deletion.asset_id) or h.mux_id_written = mux_private.as_written(deletion.asset_id)
             or (h.asset_id is null and h.mux_id_written = mux_private.as_written(deletion.upload_id))));
    free := array(
      select h.id from mux_private.upload_history h where h.id = any (entries) order by h.id for no key update skip locked);
    update mux_private.upload_history h set is_deleted = true, asset_id = coalesce(h.asset_id, deletion.asset_id)
    where h.id = any (free);
    if cardinality(free) < cardinality(entries) then
      outcomes := outcomes || jsonb_build_object(
        'outcome', 'busy', 'reason', 'mark_deleted', 'upload_id', deletion.upload_id, 'asset_id', deletion.asset_id);
    end if;
  end loop;
  return outcomes;
end
$$;
comment on function mux_private.mark_deleted is
  'Keeps which assets Mux has deleted, for every lesson that had them. Returns the outcome busy for each of which an entry is locked.';

-- For an hour: then Mux may know the id, and it may be decided whose a placeholder is.
create or replace function mux_private.pass_over(p_lesson_id mux_private.lesson.id%type, p_id text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  insert into mux_private.upload_history as h (lesson_id, owner, mux_id, how)
  select l.id, l.owner, p_id, 'passed over' from mux_private.lesson(p_lesson_id) l where l.id is not null
  on conflict (lesson_id, mux_id_written) do update set heard_at = now() where h.how = 'passed over';
end
$$;
comment on function mux_private.pass_over is 'Keeps that a lesson names an id that Mux does not know, or that is another instructor''s, so that it holds up nothing.';

create or replace function mux_private.note_restored(p_entry_id bigint) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set restored_at = now() where h.id = p_entry_id;
end
$$;
comment on function mux_private.note_restored is 'Keeps that a lesson was published again with a video that it had.';

create or replace function mux_private.note_backfill(p_lesson_id mux_private.lesson.id%type, p_key text, p_backfill timestamptz) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  if p_backfill is not null then
    update mux_private.upload_history h set adopted_in = p_backfill
    where h.lesson_id = p_lesson_id and h.mux_id_written = mux_private.as_written(p_key);
  end if;
end
$$;
comment on function mux_private.note_backfill is 'Keeps in which backfill an upload was adopted, or found to be tracked; nothing where there is none.';

insert into mux_private.applied_files (name) values ('054_history') on conflict do nothing;

commit;
