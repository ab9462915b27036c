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

-- The ids of these entries are below those that the triggers write, since the uploads began earlier.
-- Where a lesson has a row, the ids in its columns count as older than the row's upload.
with entries as (
  select l.id as lesson_id, l.owner, e.*, l.is_published as was_published, t.created_at
  from public.mux_asset_tracking t
  join mux_private.lessons_after(null, null) l on l.id = t.lesson_id
  cross join lateral (
    select 1 as step, mux_private.named_id(held.id) as mux_id, case when left(held.id, 5) <> 'temp_' then held.id end as asset_id,
      case when left(held.id, 5) <> 'temp_' and mux_private.is_mux_id(l.playback_id) then l.playback_id end as playback_id,
      'stood there' as how, null::uuid as tracking_id
    from (values (l.asset_id), (case when left(l.playback_id, 5) = 'temp_' then l.playback_id end)) held (id)
    where mux_private.as_written(mux_private.named_id(held.id))
          is distinct from mux_private.as_written(mux_private.key_of(t.upload_id, t.mux_asset_id))
    union all
    select 2, mux_private.key_of(t.upload_id, t.mux_asset_id),
      case when mux_private.is_mux_id(t.mux_asset_id) then t.mux_asset_id end,
      case when t.status = 'ready' and mux_private.is_mux_id(t.mux_playback_id) then t.mux_playback_id end, 'tracked', t.id
  ) e
  where mux_private.is_mux_id(e.mux_id)
    and not exists (select from mux_private.applied_files f where f.name = '058_earlier_uploads')
    and not exists (select from mux_private.upload_history h where h.lesson_id = l.id and h.how = 'tracked')
)
insert into mux_private.upload_history (
  id, lesson_id, owner, mux_id, asset_id, playback_id, how, tracking_id, is_known, was_published, heard_at)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h)
    - row_number() over (order by e.created_at desc, e.lesson_id desc, e.step desc),
  e.lesson_id, e.owner, e.mux_id, e.asset_id, e.playback_id, e.how, e.tracking_id, e.playback_id is not null,
  e.was_published, e.created_at
from entries e
order by e.created_at, e.lesson_id, e.step
on conflict (lesson_id, mux_id_written) do nothing;

-- The ids in lessons that are not tracked. The app's placeholders contain the id of an upload or of an
-- asset, and other users can read them: a user who copies one later must not be the first to track
-- it. Where lessons of several instructors hold an id, it is not known whose it is: it is disputed.
with held as materialized (
  select l.owner, mux_private.named_id(h.id) as mux_id,
    left(h.id, 5) <> 'temp_' and mux_private.is_mux_id(l.playback_id) as is_known
  from mux_private.lessons_after(null, null) l cross join lateral (values (l.asset_id), (l.playback_id)) h (id)
  where (h.id is not distinct from l.asset_id or left(h.id, 5) = 'temp_')
    and not exists (select from public.mux_asset_tracking t where t.lesson_id = l.id)
    and not exists (select from mux_private.applied_files f where f.name = '058_earlier_uploads')
), holders as (
  select h.mux_id, (array_agg(h.owner))[1] as owner, count(distinct coalesce(h.owner, '')) > 1 as are_several,
    coalesce(bool_or(h.is_known), false) as is_known
  from held h where h.mux_id is not null
  group by h.mux_id
)
insert into mux_private.upload_history (id, owner, mux_id, how, is_known)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h) - row_number() over (order by o.mux_id),
  case when not o.are_several then o.owner end, o.mux_id, case when o.are_several then 'disputed' else 'stood there' end,
  o.is_known
from holders o
where not exists (
  select from mux_private.upload_history h
  where h.id < 1 and (h.mux_id_written = mux_private.as_written(o.mux_id) or h.asset_id_written = mux_private.as_written(o.mux_id)));
analyze mux_private.upload_history;

-- Each time that the file is applied, since a row without an entry is not looked at.
insert into mux_private.schedule (tracking_id, owner, tracked_at)
select t.id, l.owner, coalesce(t.tracked_at, t.updated_at)
from public.mux_asset_tracking t join mux_private.lessons_after(null, null) l on l.id = t.lesson_id
where t.status = 'processing'
on conflict do nothing;
analyze mux_private.schedule;

insert into mux_private.applied_files (name) values ('058_earlier_uploads') on conflict do nothing;

commit;
