-- What it does: enters into the upload history and the schedule, once, what was tracked before the
--   triggers were made. The triggers enter what is tracked meanwhile.
-- Needs: 052, 056.
-- Locks: none. It reads mux_asset_tracking and the app's table of lessons. With a large table, apply
--   it in a quiet hour: until it commits, a request that tracks another upload for a lesson that has
--   a row waits.
-- Undo: down/058_earlier_uploads.sql (keeps what was entered)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
-- The planner knows nothing of tables that were filled a moment ago, and whatever it guesses, a loop
-- over one table for each row of another takes hours.
set local enable_nestloop = off;
set local jit = off;
set local work_mem = '64MB';

-- For a million rows: a function of language sql becomes a part of the statement, the functions of 050
-- would be called for each row. A test holds what is entered against them.
create function pg_temp.is_id(p_id text) returns boolean
language sql immutable
return p_id !~ '[^A-Za-z0-9_-]' and length(p_id) between 1 and 255 and left(p_id, 5) <> 'temp_' and p_id <> 'migrated';

-- The ids in the columns of each lesson: its asset's, which may be null, and that in a placeholder of
-- its playback id. Lessons are read once, and not at all where the file was applied before.
create temporary table held_ids on commit drop as
select l.id as lesson_id, l.owner, l.is_published, h.place,
  case when s.id not in ('', 'undefined', 'null', 'NaN', 'playback', 'none') and pg_temp.is_id(s.id) then s.id end as mux_id,
  case when h.is_real then h.id end as asset_id,
  case when h.is_real and pg_temp.is_id(l.playback_id) then l.playback_id end as playback_id
from mux_private.lessons_after(null, null) l
cross join lateral (values
  (1, l.asset_id, left(l.asset_id, 5) <> 'temp_'),
  (2, case when left(l.playback_id, 5) = 'temp_' then l.playback_id end, false)
) h (place, id, is_real)
cross join lateral (
  select case when h.is_real then h.id else regexp_replace(h.id, '^(temp_(playback_)?)+', '') end as id
  offset 0  -- so that it is evaluated once
) s
where (h.place = 1 or h.id is not null)
  and not exists (select from mux_private.applied_files f where f.name = '058_earlier_uploads');

-- The ids of these entries are below those that the triggers write, since the uploads began earlier.
-- Where a lesson has a row, the ids in its columns count as older than the row's upload.
with tracked as materialized (
  select t.lesson_id, t.id, k.key, regexp_replace(left(k.key, 300), '[^A-Za-z0-9]', '_', 'g') as key_written,
    case when pg_temp.is_id(t.mux_asset_id) then t.mux_asset_id end as asset_id,
    case when t.status = 'ready' and pg_temp.is_id(t.mux_playback_id) then t.mux_playback_id end as playback_id,
    coalesce(t.created_at, t.updated_at, now()) as created_at
  from public.mux_asset_tracking t
  cross join lateral (select case when t.upload_id = 'migrated' then t.mux_asset_id else t.upload_id end as key) k
  where not exists (select from mux_private.applied_files f where f.name = '058_earlier_uploads')
    and not exists (select from mux_private.upload_history h where h.lesson_id = t.lesson_id and h.how = 'tracked')
), entries as (
  select 1 as step, h.lesson_id, h.owner, h.is_published, h.mux_id, h.asset_id, h.playback_id, 'stood there' as how,
    null::uuid as tracking_id, t.created_at
  from held_ids h join tracked t on t.lesson_id = h.lesson_id
  where h.mux_id is not null and regexp_replace(h.mux_id, '[^A-Za-z0-9]', '_', 'g') is distinct from t.key_written
  union all
  select 2, h.lesson_id, h.owner, h.is_published, t.key, t.asset_id, t.playback_id, 'tracked', t.id, t.created_at
  from held_ids h join tracked t on t.lesson_id = h.lesson_id
  where h.place = 1 and pg_temp.is_id(t.key)
), numbered as (
  select e.*, row_number() over (order by e.created_at, e.lesson_id, e.step) - count(*) over () - 1 as number from entries e
)
insert into mux_private.upload_history (
  id, lesson_id, owner, mux_id, asset_id, playback_id, how, tracking_id, is_known, was_published, heard_at)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h) + n.number,
  n.lesson_id, n.owner, n.mux_id, n.asset_id, n.playback_id, n.how, n.tracking_id, n.playback_id is not null,
  n.is_published, n.created_at
from numbered n
order by n.created_at, n.lesson_id, n.step
on conflict (lesson_id, mux_id_written) do nothing;

-- The ids in lessons that are not tracked. The app's placeholders contain the id of an upload or of an
-- asset, and other users can read them: a user who copies one later must not be the first to track
-- it. Where lessons of several instructors hold an id, it is not known whose it is: it is disputed.
with holders as materialized (
  select h.mux_id, regexp_replace(h.mux_id, '[^A-Za-z0-9]', '_', 'g') as mux_id_written, min(h.owner) as owner,
    min(coalesce(h.owner, '')) <> max(coalesce(h.owner, '')) as are_several, bool_or(h.playback_id is not null) as is_known
  from held_ids h
  where h.mux_id is not null and not exists (select from public.mux_asset_tracking t where t.lesson_id = h.lesson_id)
  group by h.mux_id
)
insert into mux_private.upload_history (id, owner, mux_id, how, is_known)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h) - row_number() over (order by o.mux_id),
  case when not o.are_several then o.owner end, o.mux_id, case when o.are_several then 'disputed' else 'stood there' end,
  o.is_known
from holders o
where not exists (select from mux_private.upload_history h where h.id < 1 and h.mux_id_written = o.mux_id_written)
  and not exists (select from mux_private.upload_history h where h.id < 1 and h.asset_id_written = o.mux_id_written);
-- It is this session's own:
-- squawk-ignore ban-drop-function
drop function pg_temp.is_id;
analyze mux_private.upload_history;

-- Each time that the file is applied, since a row without an entry is not looked at.
with missing as materialized (
  select t.id, t.lesson_id, coalesce(t.tracked_at, t.updated_at) as tracked_at
  from public.mux_asset_tracking t
  where t.status = 'processing' and not exists (select from mux_private.schedule s where s.tracking_id = t.id)
)
insert into mux_private.schedule (tracking_id, owner, tracked_at)
select m.id, l.owner, m.tracked_at
from missing m
join mux_private.lessons(array(select o.lesson_id from missing o)) l on l.id = m.lesson_id
on conflict do nothing;
analyze mux_private.schedule;

insert into mux_private.applied_files (name) values ('058_earlier_uploads') on conflict do nothing;

commit;
