-- What it does: makes the functions that read ids, placeholders and the upload history: which upload
--   of a lesson is the newest, and whose a video is.
-- Needs: 034.
-- Locks: none.
-- Undo: down/050_names.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.is_mux_id(p_id text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return p_id !~ '[^A-Za-z0-9_-]' and length(p_id) between 1 and 255 and p_id !~ '^temp_' and p_id <> 'migrated';
end
$$;
comment on function mux_private.is_mux_id is 'Whether a text can be the id of an upload or asset in Mux.';

create or replace function mux_private.is_temporary(p_id text) returns boolean
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return left(coalesce(p_id, ''), 5) = 'temp_';
end
$$;
comment on function mux_private.is_temporary is 'Whether an id is one of the app''s placeholders.';

create or replace function mux_private.as_written(p_id text) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
  return regexp_replace(left(p_id, 300), '[^A-Za-z0-9]', '_', 'g');
end
$$;
comment on function mux_private.as_written is 'An id as a placeholder of the app writes it.';

-- What JavaScript writes for a missing id is no id.
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

-- Security definer, as all that read the history: no role but the owner may read the table.
create or replace function mux_private.newest_entry(p_lesson_id mux_private.lesson.id%type) returns mux_private.upload_history
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

create or replace function mux_private.entry_of(p_lesson_id mux_private.lesson.id%type, p_id text) returns mux_private.upload_history
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  entry mux_private.upload_history;
begin
  select h.* into entry from mux_private.upload_history h
  where h.lesson_id = p_lesson_id and (h.how in ('tracked', 'stood there') or h.how = 'passed over' and h.heard_at > now() - interval '1 hour')
    and (h.mux_id_written = mux_private.as_written(p_id) or h.asset_id_written = mux_private.as_written(p_id))
  order by h.how = 'tracked' desc, h.place desc limit 1;
  return entry;
end
$$;
comment on function mux_private.entry_of is 'What the history of a lesson knows of an id, as an upload''s or as an asset''s.';

-- The only place that decides whether an id is older. A trigger on mux_asset_tracking calls it,
-- whatever statement writes the id.
create or replace function mux_private.is_superseded(
  p_lesson_id mux_private.lesson.id%type, p_upload_id text, p_asset_id text, p_current_upload_id text
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

-- The first entry of a video says whose it is, also after row and lesson are gone. A lesson that
-- changes hands keeps the upload that its tracking row entered. A lesson's id alone proves nothing,
-- since a user can choose it.
create or replace function mux_private.is_of_another(
  p_tracking public.mux_asset_tracking, p_owner text, p_upload_id text, p_asset_id text, p_references jsonb default '[]'
) returns boolean
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  ids text[] := array[mux_private.as_written(p_upload_id), mux_private.as_written(p_asset_id)];
  first_entry mux_private.upload_history;
begin
  select h.* into first_entry from (
    (select * from mux_private.upload_history u where u.mux_id_written = ids[1] and u.how in ('tracked', 'stood there') order by u.id limit 1)
    union all
    (select * from mux_private.upload_history m where m.mux_id_written = ids[2] and m.how in ('tracked', 'stood there') order by m.id limit 1)
    union all
    (select * from mux_private.upload_history a where a.asset_id_written = ids[2] and a.how in ('tracked', 'stood there') order by a.id limit 1)
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
      on h.lesson_id = mux_private.lesson_key(r)
    where h.lesson_id is distinct from p_tracking.lesson_id and lower(r) is distinct from lower(p_owner)
      and h.owner is distinct from p_owner and h.how in ('tracked', 'stood there')
      and (h.mux_id_written = any (ids) or h.asset_id_written = ids[2])
  );
end
$$;
comment on function mux_private.is_of_another is
  'Whether a video belongs to another instructor, who tracked it first or in whose lesson its id stood first, or names a lesson of theirs that had it.';

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

create or replace function mux_private.can_play(p_asset_id text, p_playback_id text) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return coalesce(mux_private.is_mux_id(p_asset_id) and mux_private.is_mux_id(p_playback_id), false)
    and not mux_private.was_deleted(p_asset_id);
end
$$;
comment on function mux_private.can_play is 'Whether a lesson that holds these ids plays a video: they are ids of Mux, and it was not deleted.';

create or replace function mux_private.newest_playable(p_lesson_id mux_private.lesson.id%type) returns mux_private.upload_history
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  entry mux_private.upload_history;
  tracking public.mux_asset_tracking;
  lesson_owner text := mux_private.owner_of(p_lesson_id);
begin
  select t.* into tracking from public.mux_asset_tracking t where t.lesson_id = p_lesson_id;
  select h.* into entry from mux_private.upload_history h
  where h.lesson_id = p_lesson_id and mux_private.is_mux_id(h.asset_id) and mux_private.is_mux_id(h.playback_id)
    and not h.is_deleted and not mux_private.is_of_another(tracking, lesson_owner, null, h.asset_id)
    and not exists (
      -- A lesson keeps withdrawn ids, so they may have been noted once more, as what stood there.
      select from mux_private.upload_history w
      where w.lesson_id = p_lesson_id and w.is_withdrawn and (w.asset_id, w.playback_id) = (h.asset_id, h.playback_id))
  order by h.place desc limit 1;
  return entry;
end
$$;
comment on function mux_private.newest_playable is 'The newest video of a lesson that it has played, that was not deleted, whose playback id was not withdrawn, and that is no other instructor''s.';

create or replace function mux_private.first_instructors(p_ids text[]) returns table (mux_id text, owner text)
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
begin
  return query
  select distinct on (w.mux_id) w.mux_id, h.owner
  from (select i as mux_id, mux_private.as_written(i) as written from unnest(p_ids) i offset 0) w
  cross join lateral (
    select u.id, u.owner from mux_private.upload_history u
    where u.mux_id_written = w.written and u.how in ('tracked', 'stood there')
    union all
    select a.id, a.owner from mux_private.upload_history a
    where a.asset_id_written = w.written and a.how in ('tracked', 'stood there')
  ) h
  order by w.mux_id, h.id;
end
$$;
comment on function mux_private.first_instructors is 'For each of these ids that the upload history knows, as an upload or an asset, the instructor whose it is.';

-- Four megabytes are read in a few milliseconds.
create or replace function mux_private.lessons_are_searchable() returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return mux_private.lessons_are_indexed() or (
    select sum(pg_catalog.pg_relation_size(r.relid)) < 4 * 1024 * 1024
    from (
      select mux_private.lessons_table() as relid
      union all select p.relid from pg_catalog.pg_partition_tree(mux_private.lessons_table()) p where p.isleaf) r);
end
$$;
comment on function mux_private.lessons_are_searchable() is 'Whether lessons are found quickly by the ids that they hold: by the indexes of sql/optional, or because there are few.';

insert into mux_private.applied_files (name) values ('050_names') on conflict do nothing;

commit;
