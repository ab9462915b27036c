-- What it does: makes worker_untracked, by which the adoption finds lessons, a part of the table at a
--   time.
-- Needs: 050, 071.
-- Locks: none. Applied again: its own table, access exclusive for a moment.
-- Undo: down/086_untracked.sql (drops its table)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.adoption_walk (
  only_row boolean primary key default true constraint there_is_one_row check (only_row),
  after text,
  rows_after text,
  stays bigint not null default 0
);
comment on table mux_private.adoption_walk is 'Where the next pass of the adoption continues. One row.';
comment on column mux_private.adoption_walk.only_row is 'Always true.';
comment on column mux_private.adoption_walk.after is 'The last lesson that was searched for temporary ids; null at the beginning.';
comment on column mux_private.adoption_walk.rows_after is 'The last lesson whose real ids were compared with its tracking row; null at the beginning.';
comment on column mux_private.adoption_walk.stays is 'How many passes in a row looked at the lessons after it.';
alter table mux_private.adoption_walk enable row level security;
insert into mux_private.adoption_walk default values on conflict do nothing;

create or replace function mux_private.wants_adoption(p_lesson_id mux_private.lesson.id%type, p_asset_id text, p_playback_id text) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  tracking public.mux_asset_tracking;
begin
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = p_lesson_id;
  return tracking.id is null or tracking.status = 'ready'
    or mux_private.names_newer(tracking, p_asset_id, p_playback_id, null, null)
    or (not mux_private.can_play(p_asset_id, p_playback_id)
        and (mux_private.newest_playable(p_lesson_id)).id is not null);
end
$$;
comment on function mux_private.wants_adoption is 'Whether what a lesson''s columns name may have to be adopted, or its video restored.';

-- Needed after a restore of the schema public alone, for example.
create or replace function mux_private.mend_schedule(p_lesson_ids mux_private.lesson_keys.lesson_ids%type) returns void
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  insert into mux_private.schedule (tracking_id, owner, tracked_at)
  select t.id, mux_private.owner_of(t.lesson_id), coalesce(t.tracked_at, t.updated_at)
  from public.mux_asset_tracking t
  where t.lesson_id = any (p_lesson_ids) and t.status = 'processing'
    and not exists (select from mux_private.schedule s where s.tracking_id = t.id)
  on conflict do nothing;
  delete from mux_private.schedule s
  where s.tracking_id = any (array(
    select o.tracking_id from mux_private.schedule o
    where not exists (
      select from public.mux_asset_tracking t
      where t.id = o.tracking_id and (t.status = 'processing' or (t.status = 'ready' and o.is_recheck)))
    order by o.next_check_at limit 1000 for no key update skip locked));
end
$$;
comment on function mux_private.mend_schedule is 'Enters rows of these lessons that wait and are not in the schedule, and drops rows of the schedule that belong to no waiting row.';

-- One instructor may name a thousand uploads that Mux does not know. So in each part of the table
-- instructors take turns. The walk stays at a part while that has more than a pass can look at, but
-- not longer than all of it would take.
--
-- With the index of sql/optional only lessons with temporary ids are read, else the next lessons of
-- all. Real ids are compared by the tracking row: a form that was left open saves those of an older
-- video, and an app may write a newer one.
create or replace function public.worker_untracked(walk integer default 2000, at_most integer default 50) returns jsonb
language plpgsql set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  position mux_private.adoption_walk;
  ids mux_private.lesson_keys.lesson_ids%type;
  rows_ids mux_private.lesson_keys.lesson_ids%type;
  candidates mux_private.lesson_keys.lesson_ids%type;
  row_candidates mux_private.lesson_keys.lesson_ids%type;
begin
  if (walk between 1 and 10000 and at_most between 1 and 100) is not true then
    raise sqlstate 'PT400' using message = 'worker_untracked needs walk (1 to 10000) and at_most (1 to 100)';
  end if;
  select w.* into position from mux_private.adoption_walk w for no key update skip locked;
  if not found then return '[]'; end if;

  ids := array(select l.id from mux_private.waiting_lessons_after(mux_private.lesson_key(position.after), walk) l);
  candidates := array(
    select l.id from mux_private.lessons(ids) l
    where (left(l.asset_id, 5) = 'temp_' or left(l.playback_id, 5) = 'temp_')
      and mux_private.named_by(l.asset_id, l.playback_id) is not null
      and mux_private.wants_adoption(l.id, l.asset_id, l.playback_id)
    order by row_number() over (partition by l.owner order by l.id), l.id limit at_most);
  rows_ids := array(
    select t.lesson_id from public.mux_asset_tracking t
    where (position.rows_after is null or t.lesson_id > mux_private.lesson_key(position.rows_after))
      and length(t.lesson_id::text) <= 300
    order by t.lesson_id limit walk);
  perform mux_private.mend_schedule(rows_ids);
  row_candidates := array(
    select l.id from public.mux_asset_tracking t join mux_private.lessons(rows_ids) l on l.id = t.lesson_id
    where left(l.asset_id, 5) <> 'temp_' and l.asset_id <> ''
      and (l.asset_id, l.playback_id) is distinct from (t.mux_asset_id, t.mux_playback_id)
      and mux_private.wants_adoption(l.id, l.asset_id, l.playback_id)
    order by l.id limit at_most);

  update mux_private.adoption_walk w
  set after = case
        when cardinality(candidates) = at_most and w.stays < walk / at_most then w.after
        when cardinality(ids) = walk then ids[walk]::text end,
      stays = case when cardinality(candidates) = at_most and w.stays < walk / at_most then w.stays + 1 else 0 end,
      rows_after = case
        when cardinality(row_candidates) = at_most then row_candidates[at_most]::text when cardinality(rows_ids) = walk then rows_ids[walk]::text end
  where w.only_row;
  return to_jsonb(array(select c::text from (select distinct c from unnest(candidates || row_candidates) c order by c) c (c)));
end
$$;
comment on function public.worker_untracked is
  'For the worker: some of the lessons whose columns may name what is not tracked, or which do not play what they could; a part of the table a call, one call at a time.';

insert into mux_private.applied_files (name) values ('086_untracked') on conflict do nothing;

commit;
