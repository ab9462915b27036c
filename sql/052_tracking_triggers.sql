-- What it does: makes the triggers that keep a tracking row at its newest upload, and enter it into
--   the upload history and the audit. A new upload id clears what the old upload left behind and
--   restarts the clocks; an older one changes nothing. A lesson begins at most 50 uploads an hour.
-- Needs: 032, 050.
-- Locks: mux_asset_tracking, share row exclusive for a moment (triggers).
-- Undo: down/052_tracking_triggers.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.note_columns(p_lesson_id mux_private.lesson.id%type, p_key text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  delete from mux_private.upload_history h where h.lesson_id = p_lesson_id and h.how = 'passed over';
  insert into mux_private.upload_history (
    lesson_id, owner, mux_id, asset_id, playback_id, how, is_known, is_deleted, was_published)
  select l.id, l.owner, named.id, named.asset_id, named.playback_id, 'stood there', named.playback_id is not null,
    mux_private.was_deleted(named.asset_id), l.is_published
  from mux_private.lesson(p_lesson_id) l
  cross join lateral (
    select mux_private.named_id(held.id) as id,
      case when left(held.id, 5) <> 'temp_' then held.id end as asset_id,
      case when left(held.id, 5) <> 'temp_' and mux_private.is_mux_id(l.playback_id) then l.playback_id end as playback_id
    from (values
      (l.asset_id), (case when left(l.playback_id, 5) = 'temp_' then l.playback_id end)) held (id)
  ) named
  where l.id is not null and named.id is not null
    and mux_private.as_written(named.id) is distinct from mux_private.as_written(p_key)
  on conflict (lesson_id, mux_id_written) do nothing;
end
$$;
comment on function mux_private.note_columns is 'Notes the ids that stand in a lesson''s columns when another upload begins to be tracked: they are older.';

-- Other users can read and copy a placeholder. So an upload belongs to the instructor in whose lesson
-- its placeholder stands, even if another is the first to track it. Only with the indexes of
-- sql/optional: without them the app should track an upload before it saves the placeholder.
create or replace function mux_private.note_holders(p_key text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  placeholder text := 'temp_' || mux_private.as_written(p_key);
  playback_placeholder text := 'temp_playback_' || mux_private.as_written(p_key);
begin
  if not mux_private.lessons_are_indexed() or exists (
    select from mux_private.upload_history h
    where h.how in ('tracked', 'stood there')
      and (h.mux_id_written = mux_private.as_written(p_key) or h.asset_id_written = mux_private.as_written(p_key))
  ) then
    return;
  end if;
  insert into mux_private.upload_history (owner, mux_id, how)
  select (array_agg(l.owner))[1], p_key, 'stood there'
  from (
    select h.*, count(*) over () as held from mux_private.lessons_holding(array[placeholder, playback_placeholder], 1000) h) l
  where l.held < 1000  -- else these may be all copies, and the lesson that was copied is not among them
    and (l.asset_id = placeholder or l.playback_id = playback_placeholder)
  having count(distinct coalesce(l.owner, '')) = 1;
end
$$;
comment on function mux_private.note_holders is 'Notes the instructor whose lesson holds the placeholder of an upload that another lesson is the first to track.';

create or replace function mux_private.enter_upload(
  p_lesson_id mux_private.lesson.id%type, p_key text, p_tracking_id uuid, p_asset_id text default null
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  perform mux_private.note_holders(p_key);
  perform mux_private.note_columns(p_lesson_id, p_key);
  insert into mux_private.upload_history as h (lesson_id, owner, mux_id, asset_id, how, tracking_id)
  select l.id, l.owner, p_key, p_asset_id, 'tracked', p_tracking_id
  from mux_private.lesson(p_lesson_id) l where l.id is not null and mux_private.is_mux_id(p_key)
  on conflict (lesson_id, mux_id_written) do update
  set mux_id = excluded.mux_id, how = 'tracked', tracking_id = coalesce(excluded.tracking_id, h.tracking_id),
      asset_id = coalesce(h.asset_id, excluded.asset_id),
      place = case
        when h.place >= (mux_private.newest_entry(p_lesson_id)).place then h.place else excluded.place end;
end
$$;
comment on function mux_private.enter_upload is 'Enters the upload that a lesson begins to track: it is the newest from now on.';

-- Security definer: it reads the history. Each value that equals the old one was left behind by the
-- old upload; one that differs was brought by the statement that brought the new id.
--
-- In the search_path of all these functions pg_temp comes last: if it is not named it comes first, and
-- there a user with a connection can make a type "text" of their own.
create or replace function mux_private.start_new_upload() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  if mux_private.key_of(new.upload_id, new.mux_asset_id) is distinct from mux_private.key_of(old.upload_id, old.mux_asset_id)
     and mux_private.is_superseded(old.lesson_id, new.upload_id, new.mux_asset_id, old.upload_id) then
    return old;
  end if;
  if new.upload_id is distinct from old.upload_id then
    if new.status = old.status then new.status := 'processing'; end if;
    if new.temp_asset_id = old.temp_asset_id then new.temp_asset_id := null; end if;
    if new.upload_id <> 'migrated' then
      if new.mux_asset_id = old.mux_asset_id then new.mux_asset_id := null; end if;
      if new.mux_playback_id = old.mux_playback_id then new.mux_playback_id := null; end if;
    end if;
  elsif new.status = 'processing' and old.status = 'ready' and new.tracked_at is not distinct from old.tracked_at
        and new.mux_asset_id is not distinct from old.mux_asset_id then
    new.status := 'ready';  -- the same upload saved once more: it is ready all the same
    return new;
  elsif new.status <> 'processing' or old.status = 'processing' and new.upload_id <> 'migrated' then
    return new;
  end if;
  if new.error_type = old.error_type then new.error_type := null; end if;
  if new.error_message = old.error_message then new.error_message := null; end if;
  if new.duration_seconds = old.duration_seconds then new.duration_seconds := null; end if;
  if new.aspect_ratio = old.aspect_ratio then new.aspect_ratio := null; end if;
  if new.max_resolution = old.max_resolution then new.max_resolution := null; end if;
  if new.settled_at = old.settled_at then new.settled_at := null; end if;
  if new.tracked_at is not distinct from old.tracked_at then new.tracked_at := now(); end if;
  return new;
end
$$;
comment on function mux_private.start_new_upload() is 'Trigger: keeps a row at its upload where an older one is brought; else clears what an earlier upload, or an earlier failure of this one, left behind.';

-- Security definer: the user who tracks an upload may neither read nor write the history.
create or replace function mux_private.note_upload() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  key text := mux_private.key_of(new.upload_id, new.mux_asset_id);
begin
  if tg_op = 'UPDATE' and key is distinct from mux_private.key_of(old.upload_id, old.mux_asset_id)
     and (mux_private.newest_entry(new.lesson_id)).id is null then  -- tracked before this file was applied
    perform mux_private.enter_upload(
      new.lesson_id, mux_private.key_of(old.upload_id, old.mux_asset_id), new.id,
      case when mux_private.is_mux_id(old.mux_asset_id) then old.mux_asset_id end);
  end if;
  if tg_op = 'INSERT' or key is distinct from mux_private.key_of(old.upload_id, old.mux_asset_id) then
    perform mux_private.enter_upload(
      new.lesson_id, key, new.id, case when mux_private.is_mux_id(new.mux_asset_id) then new.mux_asset_id end);
  end if;
  if tg_op = 'INSERT' or new.tracked_at is distinct from old.tracked_at then
    perform mux_private.record_event(
      'tracked', new, case when tg_op = 'UPDATE' then old.status end
    );
  end if;
  return null;
end
$$;
comment on function mux_private.note_upload() is 'Trigger: enters an upload that begins to be tracked into the history, and writes the audit row ''tracked''.';

-- Security definer: the user sees only a part of the audit, in which the uploads are counted. It also
-- has those of rows that were deleted since.
create or replace function mux_private.limit_uploads() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  if (
    select count(*)
    from (
      select e.happened_at from public.mux_asset_events e
      where e.lesson_id = new.lesson_id and e.event = 'tracked'
      order by e.id desc limit 50) e
    where e.happened_at > now() - interval '1 hour'
  ) >= 50 then
    raise sqlstate 'PT429' using
      message = 'This lesson has begun 50 uploads in the last hour.',
      hint = 'Wait an hour, then upload the video again.';
  end if;
  return null;
end
$$;
comment on function mux_private.limit_uploads() is 'Trigger: refuses the 51st upload that a lesson begins in an hour.';

create or replace trigger start_new_upload
  before update on public.mux_asset_tracking for each row
  when (new.upload_id is distinct from old.upload_id
        or (new.status = 'processing' and old.status <> 'processing')
        or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
  execute function mux_private.start_new_upload();

create or replace trigger note_new_upload
  after insert on public.mux_asset_tracking for each row
  execute function mux_private.note_upload();

create or replace trigger note_changed_upload
  after update on public.mux_asset_tracking for each row
  when (new.upload_id is distinct from old.upload_id
        or new.tracked_at is distinct from old.tracked_at
        or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
  execute function mux_private.note_upload();

-- Signed-in users are limited also where a function writes with its owner's rights.
create or replace trigger limit_new_uploads
  after insert on public.mux_asset_tracking for each row
  when (auth.jwt() ->> 'sub' is not null
        or not pg_has_role(current_user, 'service_role', 'member') and current_user <> 'mux_worker')
  execute function mux_private.limit_uploads();

create or replace trigger limit_changed_uploads
  after update on public.mux_asset_tracking for each row
  when ((new.upload_id is distinct from old.upload_id
         or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
        and (auth.jwt() ->> 'sub' is not null
             or not pg_has_role(current_user, 'service_role', 'member') and current_user <> 'mux_worker'))
  execute function mux_private.limit_uploads();

insert into mux_private.applied_files (name) values ('052_tracking_triggers') on conflict do nothing;

commit;
