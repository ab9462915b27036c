-- What it does: keeps a tracking row true to its current upload. A new upload id, whoever writes
--   it, clears what the old upload left behind and starts the clocks anew; who tracked an upload
--   first is remembered, since only that instructor may have its video.
-- Needs: 003.
-- Locks: mux_asset_tracking, share row exclusive (triggers) while its rows are compared once with
--   what was noted before it. Before that it reads mux_asset_tracking and lessons, without a lock.
-- Undo: down/004_new_upload.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.first_trackers (
  kind text not null constraint an_upload_or_an_asset check (kind in ('upload', 'asset')),
  mux_id text not null,
  creator_id uuid,
  lesson_id uuid not null,
  tracked_at timestamptz not null default now(),
  primary key (mux_id, kind)
);
comment on table mux_private.first_trackers is 'Which instructor tracked an upload first (or an asset, where its upload is not known), or held its placeholder before anybody tracked it. Outlives the tracking row.';
comment on column mux_private.first_trackers.kind is 'upload, or asset for rows whose upload id is ''migrated''.';
comment on column mux_private.first_trackers.mux_id is 'The upload''s or asset''s id.';
comment on column mux_private.first_trackers.creator_id is 'The instructor: lessons.creator_id at that time.';
comment on column mux_private.first_trackers.lesson_id is 'The lesson it was tracked for.';
comment on column mux_private.first_trackers.tracked_at is 'When.';

create or replace function mux_private.is_mux_id(id text) returns boolean
language sql immutable set search_path = ''
return id !~ '[^A-Za-z0-9_-]' and length(id) between 1 and 255 and id !~ '^temp_' and id <> 'migrated';
comment on function mux_private.is_mux_id(text) is 'Whether a text can be the id of an upload or asset in Mux.';

-- Where the owner's rights may be at work, pg_temp is named last: unnamed it comes first, and there
-- whoever has a connection may make a type text of her own.
--
-- Each value that equals the old one was left behind by the old upload; one that differs was
-- brought by the statement that brought the new id.
create or replace function mux_private.start_upload_anew() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.upload_id is distinct from old.upload_id then
    if new.status = old.status then new.status := 'processing'; end if;
    if new.temp_asset_id = old.temp_asset_id then new.temp_asset_id := null; end if;
    if new.upload_id <> 'migrated' then
      if new.mux_asset_id = old.mux_asset_id then new.mux_asset_id := null; end if;
      if new.mux_playback_id = old.mux_playback_id then new.mux_playback_id := null; end if;
    end if;
  elsif new.status = 'processing' and old.status = 'ready' and new.tracked_at = old.tracked_at then
    new.status := 'ready';  -- the same upload saved once more: it is ready all the same
    return new;
  end if;
  if new.error_type = old.error_type then new.error_type := null; end if;
  if new.error_message = old.error_message then new.error_message := null; end if;
  new.recheck_at := null;
  if new.check_count = old.check_count then new.check_count := 0; end if;
  if new.last_checked_at = old.last_checked_at then new.last_checked_at := null; end if;
  if new.settled_at = old.settled_at then new.settled_at := null; end if;
  if new.tracked_at = old.tracked_at then new.tracked_at := now(); end if;
  -- A new upload is due from its beginning on; another look at the same one is due a moment later,
  -- by which it is told from the uploads that webhooks may still tell of.
  if new.next_check_at = old.next_check_at then
    new.next_check_at := now() + case when new.upload_id = old.upload_id then interval '1 microsecond' else interval '0' end;
  end if;
  if new.missing_since is not distinct from old.missing_since then
    new.missing_since := null;
    new.missing_count := 0;
  end if;
  return new;
end
$$;
comment on function mux_private.start_upload_anew() is 'Trigger: clears what an earlier upload, or an earlier failure of this one, left behind.';

-- Security definer: whoever tracks an upload may neither read nor write the list of first trackers.
create or replace function mux_private.note_upload() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  kind text := case when new.upload_id = 'migrated' then 'asset' else 'upload' end;
  mux_id text := case when new.upload_id = 'migrated' then new.mux_asset_id else new.upload_id end;
  began boolean := tg_op = 'INSERT' or new.tracked_at is distinct from old.tracked_at;
begin
  if mux_private.is_mux_id(mux_id) then
    insert into mux_private.first_trackers (kind, mux_id, creator_id, lesson_id)
    select kind, mux_id, l.creator_id, l.id from public.lessons l where l.id = new.lesson_id
    on conflict do nothing;
  end if;
  if began then
    perform mux_private.record_event(
      'tracked', new, case when tg_op = 'UPDATE' then old.status end
    );
  end if;
  return null;
end
$$;
comment on function mux_private.note_upload() is 'Trigger: remembers who tracked an upload first, and writes the audit row ''tracked''.';

revoke execute on function mux_private.is_mux_id(text) from public, anon, authenticated;
revoke execute on function mux_private.start_upload_anew() from public, anon, authenticated;
revoke execute on function mux_private.note_upload() from public, anon, authenticated;
grant execute on function mux_private.is_mux_id(text) to service_role;

-- Rows from before this file: the oldest row of an upload tracked it first. Most are noted before
-- the triggers are made, while nobody waits; what was tracked meanwhile, afterwards.
create or replace procedure mux_private.note_earlier_uploads()
language sql set search_path = public, extensions, pg_temp
begin atomic
  with unknown as materialized (  -- of all questions, is_mux_id takes the longest: it comes last
    select t.lesson_id, t.created_at, tracked.kind, tracked.mux_id
    from public.mux_asset_tracking t
    cross join lateral (values (
      case when t.upload_id = 'migrated' then 'asset' else 'upload' end,
      case when t.upload_id = 'migrated' then t.mux_asset_id else t.upload_id end
    )) tracked (kind, mux_id)
    where not exists (
      select from mux_private.first_trackers f where f.mux_id = tracked.mux_id and f.kind = tracked.kind)
  )
  insert into mux_private.first_trackers (kind, mux_id, creator_id, lesson_id, tracked_at)
  select u.kind, u.mux_id, l.creator_id, l.id, u.created_at
  from unknown u join public.lessons l on l.id = u.lesson_id
  where mux_private.is_mux_id(u.mux_id)
  order by u.created_at, l.id
  on conflict do nothing;
end;
call mux_private.note_earlier_uploads();

-- What nobody has tracked yet: the app's placeholders contain an id, of an upload or of an asset, and
-- are to be read by everybody, so whoever copies one later must not be the first to track it. Where
-- lessons of several instructors hold an id, nobody knows whose it is.
with placeholders as materialized (
  select l.id as lesson_id, l.creator_id, regexp_replace(left(held.id, 300), '^temp_(playback_)?', '') as mux_id
  from public.lessons l cross join lateral (values (l.mux_asset_id), (l.mux_playback_id)) held (id)
  where left(held.id, 5) = 'temp_'
), of_one as (
  select distinct on (p.mux_id) p.mux_id, p.creator_id, p.lesson_id
  from placeholders p
  where not exists (select from mux_private.first_trackers f where f.mux_id = p.mux_id)
    and not exists (select from placeholders o where o.mux_id = p.mux_id and o.creator_id is distinct from p.creator_id)
    and not exists (select from public.lessons l where left(l.mux_asset_id, 300) = p.mux_id and l.creator_id is distinct from p.creator_id)
  order by p.mux_id, p.lesson_id
)
insert into mux_private.first_trackers (kind, mux_id, creator_id, lesson_id)
select k.kind, o.mux_id, o.creator_id, o.lesson_id
from of_one o cross join (values ('upload'), ('asset')) k (kind)
where o.mux_id not in ('undefined', 'null', 'NaN', 'playback', 'none') and mux_private.is_mux_id(o.mux_id)
on conflict do nothing;
analyze mux_private.first_trackers;

create or replace trigger start_upload_anew
  before update on public.mux_asset_tracking for each row
  when (new.upload_id is distinct from old.upload_id
        or (new.status = 'processing' and old.status <> 'processing'))
  execute function mux_private.start_upload_anew();

create or replace trigger note_new_upload
  after insert on public.mux_asset_tracking for each row
  execute function mux_private.note_upload();

create or replace trigger note_changed_upload
  after update on public.mux_asset_tracking for each row
  when (new.upload_id is distinct from old.upload_id
        or new.tracked_at is distinct from old.tracked_at
        or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
  execute function mux_private.note_upload();

call mux_private.note_earlier_uploads();
-- It was for this file alone:
-- squawk-ignore ban-drop-function
drop procedure mux_private.note_earlier_uploads();

-- After the triggers, so that tables are locked in the order in which these lock them.
alter table mux_private.first_trackers enable row level security;
revoke all on mux_private.first_trackers from public, anon, authenticated, service_role;

insert into mux_private.applied_files (name) values ('004_new_upload') on conflict do nothing;

commit;
