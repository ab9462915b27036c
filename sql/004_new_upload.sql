-- What it does: keeps a tracking row true to its newest upload, and fills the upload history, which
--   says which upload of a lesson is the newest and whose a video is. A new upload id clears what
--   the old upload left behind and restarts the clocks; an older one changes nothing.
-- Needs: 003.
-- Locks: mux_asset_tracking, share row exclusive for a moment (triggers). After that, in a
--   transaction of its own, it reads mux_asset_tracking and lessons once, which no request waits for.
-- Undo: down/004_new_upload.sql

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

create or replace function mux_private.as_written(p_id text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return regexp_replace(left(p_id, 300), '[^A-Za-z0-9]', '_', 'g');
end
$$;
comment on function mux_private.as_written is 'An id as a placeholder of the app writes it.';

-- What JavaScript writes where it has no id is none.
create or replace function mux_private.named_id(p_value text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
  named text := regexp_replace(left(p_value, 300), '^(temp_(playback_)?)+', '');
begin
  return case
    when named not in ('', 'undefined', 'null', 'NaN', 'playback', 'none') and mux_private.is_mux_id(named) then named
  end;
end
$$;
comment on function mux_private.named_id is 'The id in a placeholder, or the real id that stands there; null where there can be none.';

create or replace function mux_private.named_by(p_asset_id text, p_playback_id text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return coalesce(
    mux_private.named_id(p_asset_id),
    case when left(p_playback_id, 5) = 'temp_' then mux_private.named_id(p_playback_id) end);
end
$$;
comment on function mux_private.named_by is 'The upload or asset that a lesson''s columns name; null where they name none.';

create or replace function mux_private.key_of(p_upload_id text, p_asset_id text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return case when p_upload_id = 'migrated' then p_asset_id else p_upload_id end;
end
$$;
comment on function mux_private.key_of is 'The id by which a tracking row''s video is known: its upload, or its asset where the upload is not known.';

-- Security definer: no other role may read or write the history but through functions. One place
-- decides whether an id is older; all that brings an id to a tracking row meets it in a trigger.
create or replace function mux_private.newest_entry(p_lesson_id uuid) returns mux_private.upload_history
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  entry mux_private.upload_history;
begin
  select h.* into entry from mux_private.upload_history h
  where h.lesson_id = p_lesson_id and h.how = 'tracked'
  order by h.place desc limit 1;
  return entry;
end
$$;
comment on function mux_private.newest_entry is 'The newest upload that was tracked for a lesson.';

create or replace function mux_private.entry_of(p_lesson_id uuid, p_id text) returns mux_private.upload_history
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  entry mux_private.upload_history;
begin
  select h.* into entry from mux_private.upload_history h
  where h.lesson_id = p_lesson_id and (h.how <> 'passed over' or h.heard_at > now() - interval '1 hour')
    and (h.mux_id_written = mux_private.as_written(p_id) or h.asset_id_written = mux_private.as_written(p_id))
  order by h.how = 'tracked' desc, h.place desc limit 1;
  return entry;
end
$$;
comment on function mux_private.entry_of is 'What the history of a lesson knows of an id, as an upload''s or as an asset''s.';

create or replace function mux_private.is_superseded(
  p_lesson_id uuid, p_upload_id text, p_asset_id text, p_current_upload_id text
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  key text := mux_private.key_of(p_upload_id, p_asset_id);
  newest mux_private.upload_history := mux_private.newest_entry(p_lesson_id);
  entry mux_private.upload_history := mux_private.entry_of(p_lesson_id, key);
begin
  if newest.mux_id = key then
    return false;
  end if;
  -- The script of the app that writes 'migrated' knows nothing of the upload: it replaces none.
  return p_upload_id = 'migrated' and p_current_upload_id <> 'migrated' or coalesce(entry.how = 'tracked', false);
end
$$;
comment on function mux_private.is_superseded is 'Whether an id that is brought to a lesson''s tracking row is older than what the row tracks.';

create or replace function mux_private.note_columns(p_lesson_id uuid, p_key text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  delete from mux_private.upload_history h where h.lesson_id = p_lesson_id and h.how = 'passed over';
  insert into mux_private.upload_history (lesson_id, owner, mux_id, asset_id, playback_id, how, is_known, was_published)
  select l.id, l.creator_id, named.id, named.asset_id, named.playback_id, 'stood there', named.playback_id is not null,
    l.status::text = 'published'
  from public.lessons l
  cross join lateral (
    select mux_private.named_id(held.id) as id,
      case when left(held.id, 5) <> 'temp_' then held.id end as asset_id,
      case when left(held.id, 5) <> 'temp_' and mux_private.is_mux_id(l.mux_playback_id) then l.mux_playback_id end as playback_id
    from (values
      (l.mux_asset_id), (case when left(l.mux_playback_id, 5) = 'temp_' then l.mux_playback_id end)) held (id)
  ) named
  where l.id = p_lesson_id and named.id is not null
    and mux_private.as_written(named.id) is distinct from mux_private.as_written(p_key)
  on conflict (lesson_id, mux_id_written) do nothing;
end
$$;
comment on function mux_private.note_columns is 'Notes the ids that stand in a lesson''s columns when another upload begins to be tracked: they are older.';

-- A placeholder can be read by everybody: in whose lesson an id stands has it before who tracks it
-- first. Only where an index finds the lesson; else the instructor should track before the form is saved.
create or replace function mux_private.note_holders(p_key text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  if to_regclass('public.idx_lessons_temporary_ids') is null or exists (
    select from mux_private.upload_history h
    where h.mux_id_written = mux_private.as_written(p_key)
       or h.asset_id_written = mux_private.as_written(p_key)
  ) then
    return;
  end if;
  insert into mux_private.upload_history (owner, mux_id, how)
  select (array_agg(l.creator_id))[1], p_key, 'stood there'
  from public.lessons l
  where (left(l.mux_asset_id, 5) = 'temp_' or left(l.mux_playback_id, 5) = 'temp_')
    and (l.mux_asset_id = 'temp_' || mux_private.as_written(p_key) or l.mux_playback_id = 'temp_playback_' || mux_private.as_written(p_key))
  having count(distinct coalesce(l.creator_id, '00000000-0000-0000-0000-000000000000')) = 1;
end
$$;
comment on function mux_private.note_holders is 'Notes the instructor whose lesson holds the placeholder of an upload that another lesson is the first to track.';

create or replace function mux_private.enter_upload(
  p_lesson_id uuid, p_key text, p_tracking_id uuid, p_asset_id text default null
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  perform mux_private.note_holders(p_key);
  perform mux_private.note_columns(p_lesson_id, p_key);
  insert into mux_private.upload_history as h (lesson_id, owner, mux_id, asset_id, how, tracking_id)
  select l.id, l.creator_id, p_key, p_asset_id, 'tracked', p_tracking_id
  from public.lessons l where l.id = p_lesson_id and mux_private.is_mux_id(p_key)
  on conflict (lesson_id, mux_id_written) do update
  set mux_id = excluded.mux_id, how = 'tracked', tracking_id = coalesce(excluded.tracking_id, h.tracking_id),
      asset_id = coalesce(h.asset_id, excluded.asset_id),
      place = case
        when h.place >= (mux_private.newest_entry(p_lesson_id)).place then h.place else excluded.place end;
end
$$;
comment on function mux_private.enter_upload is 'Enters the upload that a lesson begins to track: it is the newest from now on.';

-- Where the owner's rights may be at work, pg_temp is named last: unnamed it comes first, and there
-- a user with a connection may make a type text of their own.
--
-- Security definer: it reads the history. Each value that equals the old one was left behind by the
-- old upload; one that differs was brought by the statement that brought the new id.
create or replace function mux_private.start_upload_anew() returns trigger
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
comment on function mux_private.start_upload_anew() is 'Trigger: keeps a row at its upload where an older one is brought; else clears what an earlier upload, or an earlier failure of this one, left behind.';

-- Security definer: who tracks an upload may neither read nor write the history.
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

-- Facts are about ids, whichever row tracks them now: what an upload became is kept for every lesson
-- that ever tracked it. A row that another request holds is learning the same, or the next fact tells it.
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

create or replace function mux_private.mark_deleted(p_upload_id text, p_asset_id text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
declare
  entries bigint[] := array(
    select h.id from mux_private.upload_history h
    where not h.is_deleted
      and (h.asset_id_written = mux_private.as_written(p_asset_id) or h.mux_id_written = mux_private.as_written(p_asset_id)
           or (h.asset_id is null and h.mux_id_written = mux_private.as_written(p_upload_id))));
begin
  update mux_private.upload_history h set is_deleted = true, asset_id = coalesce(h.asset_id, p_asset_id)
  where h.id = any (entries);
exception when lock_not_available then
  -- An instructor who holds a copy of the id locked does not keep other entries from being marked.
  perform set_config('lock_timeout', '20ms', true);
  update mux_private.upload_history h set is_deleted = true, asset_id = coalesce(h.asset_id, p_asset_id)
  where h.id = any (array(
    select o.id from mux_private.upload_history o where o.id = any (entries) for no key update skip locked));
end
$$;
comment on function mux_private.mark_deleted is 'Keeps that Mux has deleted an asset, for every lesson that had it.';

create or replace function mux_private.was_deleted(p_asset_id text) returns boolean
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
begin
  return exists (
    select from mux_private.upload_history h where h.asset_id_written = mux_private.as_written(p_asset_id) and h.is_deleted)
    or exists (
    select from mux_private.upload_history h where h.mux_id_written = mux_private.as_written(p_asset_id) and h.is_deleted);
end
$$;
comment on function mux_private.was_deleted is 'Whether Mux has said that an asset was deleted: a late event may still call it ready.';

create or replace function mux_private.note_video(
  p_lesson_id uuid, p_key text, p_asset_id text, p_playback_id text, p_was_published boolean
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h
  set asset_id = p_asset_id, playback_id = p_playback_id, was_published = p_was_published, is_known = true,
      is_deleted = false
  where h.lesson_id = p_lesson_id and h.mux_id_written = mux_private.as_written(p_key);
end
$$;
comment on function mux_private.note_video is 'Keeps by which ids a lesson plays an upload.';

-- For an hour: Mux may know the id later, and whose a placeholder is may be decided.
create or replace function mux_private.pass_over(p_lesson_id uuid, p_id text) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  insert into mux_private.upload_history as h (lesson_id, owner, mux_id, how)
  select l.id, l.creator_id, p_id, 'passed over' from public.lessons l where l.id = p_lesson_id
  on conflict (lesson_id, mux_id_written) do update set heard_at = now() where h.how = 'passed over';
end
$$;
comment on function mux_private.pass_over is 'Keeps that a lesson names an id that Mux does not know, or that is another instructor''s, so that it holds up nothing.';

-- The first entry of a video says whose it is, also after row and lesson are gone. A lesson that
-- changes hands keeps the upload that its tracking row entered; a lesson's id alone proves nothing,
-- since it can be chosen.
create or replace function mux_private.is_of_another(
  p_tracking public.mux_asset_tracking, p_owner uuid, p_upload_id text, p_asset_id text, p_references jsonb default '[]'
) returns boolean
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  ids text[] := array[mux_private.as_written(p_upload_id), mux_private.as_written(p_asset_id)];
  first_entry mux_private.upload_history;
begin
  select h.* into first_entry from (
    (select * from mux_private.upload_history u where u.mux_id_written = ids[1] and u.how <> 'passed over' order by u.id limit 1)
    union all
    (select * from mux_private.upload_history m where m.mux_id_written = ids[2] and m.how <> 'passed over' order by m.id limit 1)
    union all
    (select * from mux_private.upload_history a where a.asset_id_written = ids[2] and a.how <> 'passed over' order by a.id limit 1)
  ) h
  order by h.id limit 1;
  if first_entry.id is not null and first_entry.owner is distinct from p_owner
     and (p_tracking.id is null or first_entry.tracking_id is distinct from p_tracking.id) then
    return true;
  end if;
  if p_references is null or p_references = '[]' then
    return false;
  end if;
  return exists (
    select
    from jsonb_array_elements_text(p_references) r
    join mux_private.upload_history h
      on h.lesson_id = case when r ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' then r::uuid end
    where h.lesson_id is distinct from p_tracking.lesson_id and lower(r) is distinct from p_owner::text
      and h.owner is distinct from p_owner and h.how <> 'passed over'
      and (h.mux_id_written = any (ids) or h.asset_id_written = ids[2])
  );
end
$$;
comment on function mux_private.is_of_another is
  'Whether a video belongs to another instructor, who tracked it first or in whose lesson its id stood first, or names a lesson of theirs that had it.';

-- Counted in the audit, which also knows of rows that were deleted since.
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

do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'mux_private'::regnamespace
      and p.proname in ('as_written', 'fact_of', 'named_id', 'named_by', 'key_of', 'newest_entry', 'entry_of', 'is_superseded',
                        'note_columns', 'note_holders', 'enter_upload', 'start_upload_anew', 'note_upload', 'learn', 'mark_deleted', 'was_deleted',
                        'note_video', 'pass_over', 'is_of_another', 'limit_uploads')
  loop
    execute format('revoke execute on function %s from public, anon, authenticated', part);
    if (select p.prorettype <> 'trigger'::regtype from pg_proc p where p.oid = part) then
      execute format('grant execute on function %s to service_role', part);
    end if;
  end loop;
end
$$;

create or replace trigger start_upload_anew
  before update on public.mux_asset_tracking for each row
  when (new.upload_id is distinct from old.upload_id
        or (new.status = 'processing' and old.status <> 'processing')
        or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
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

-- A signed-in user is limited also where a function does it with the owner's rights.
create or replace trigger limit_new_uploads
  after insert on public.mux_asset_tracking for each row
  when (auth.uid() is not null or not pg_has_role(current_user, 'service_role', 'member'))
  execute function mux_private.limit_uploads();

create or replace trigger limit_changed_uploads
  after update on public.mux_asset_tracking for each row
  when ((new.upload_id is distinct from old.upload_id
         or (new.upload_id = 'migrated' and new.mux_asset_id is distinct from old.mux_asset_id))
        and (auth.uid() is not null or not pg_has_role(current_user, 'service_role', 'member')))
  execute function mux_private.limit_uploads();

commit;

-- What was tracked before, entered once, without a lock: from here on the triggers enter what is
-- new. Its ids are below theirs, since it was heard of earlier.
begin;
set local lock_timeout = '5s';

-- Of a lesson that has a row, what its columns name counts as older.
with entries as (
  select l.id as lesson_id, l.creator_id, e.*, l.status::text = 'published' as was_published, t.created_at
  from public.mux_asset_tracking t
  join public.lessons l on l.id = t.lesson_id
  cross join lateral (
    select 1 as step, mux_private.named_id(held.id) as mux_id, case when left(held.id, 5) <> 'temp_' then held.id end as asset_id,
      case when left(held.id, 5) <> 'temp_' and mux_private.is_mux_id(l.mux_playback_id) then l.mux_playback_id end as playback_id,
      'stood there' as how, null::uuid as tracking_id
    from (values (l.mux_asset_id), (case when left(l.mux_playback_id, 5) = 'temp_' then l.mux_playback_id end)) held (id)
    where mux_private.as_written(mux_private.named_id(held.id))
          is distinct from mux_private.as_written(mux_private.key_of(t.upload_id, t.mux_asset_id))
    union all
    select 2, mux_private.key_of(t.upload_id, t.mux_asset_id),
      case when mux_private.is_mux_id(t.mux_asset_id) then t.mux_asset_id end,
      case when t.status = 'ready' and mux_private.is_mux_id(t.mux_playback_id) then t.mux_playback_id end, 'tracked', t.id
  ) e
  where mux_private.is_mux_id(e.mux_id)
    and not exists (select from mux_private.applied_files f where f.name = '004_new_upload')
    and not exists (select from mux_private.upload_history h where h.lesson_id = l.id and h.how = 'tracked')
)
insert into mux_private.upload_history (
  id, lesson_id, owner, mux_id, asset_id, playback_id, how, tracking_id, is_known, was_published, heard_at)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h)
    - row_number() over (order by e.created_at desc, e.lesson_id desc, e.step desc),
  e.lesson_id, e.creator_id, e.mux_id, e.asset_id, e.playback_id, e.how, e.tracking_id, e.playback_id is not null,
  e.was_published, e.created_at
from entries e
order by e.created_at, e.lesson_id, e.step
on conflict (lesson_id, mux_id_written) do nothing;

-- What stands in lessons that are not tracked: the app's placeholders contain an id, of an upload
-- or of an asset, and can be read by everybody, so who copies one later must not be the first to
-- track it. Where lessons of several instructors hold an id, it is not known whose it is.
with held as materialized (
  select l.creator_id, mux_private.named_id(h.id) as mux_id,
    left(h.id, 5) <> 'temp_' and mux_private.is_mux_id(l.mux_playback_id) as is_known
  from public.lessons l cross join lateral (values (l.mux_asset_id), (l.mux_playback_id)) h (id)
  where (h.id is not distinct from l.mux_asset_id or left(h.id, 5) = 'temp_')
    and not exists (select from public.mux_asset_tracking t where t.lesson_id = l.id)
    and not exists (select from mux_private.applied_files f where f.name = '004_new_upload')
), of_one as (
  select h.mux_id, (array_agg(h.creator_id))[1] as owner, coalesce(bool_or(h.is_known), false) as is_known
  from held h where h.mux_id is not null
  group by h.mux_id
  having count(distinct coalesce(h.creator_id, '00000000-0000-0000-0000-000000000000')) = 1
)
insert into mux_private.upload_history (id, owner, mux_id, how, is_known)
overriding system value
select (select least(min(h.id), 1) from mux_private.upload_history h) - row_number() over (order by o.mux_id),
  o.owner, o.mux_id, 'stood there', o.is_known
from of_one o
where not exists (
  select from mux_private.upload_history h
  where h.id < 1 and (h.mux_id_written = mux_private.as_written(o.mux_id) or h.asset_id_written = mux_private.as_written(o.mux_id)));
analyze mux_private.upload_history;

insert into mux_private.applied_files (name) values ('004_new_upload') on conflict do nothing;

commit;
