-- What it does: the second part of the adapter: the types for lessons and their keys, and the
--   functions that read lessons.
--   Printed by: mux-worker sql
-- Needs: 020.
-- Locks: none.
-- Undo: down/022_lessons_read.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- What is read of a lesson is kept as texts: a connection that keeps the plan of an expression over a
-- row of lessons fails once the app has changed a column's type. Only the key has the app's type:
-- "mux_private.lesson.id%type" in functions, "like mux_private.lesson_key" in tables.
do $$
declare
  key_type constant text := (
    with recursive types as (
      select t.* from pg_type t join pg_attribute a on a.atttypid = t.oid
      where a.attrelid = mux_private.lessons_table() and a.attname = 'id'
      union all
      select t.* from types d join pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
    )
    select case format_type(t.oid, null) when 'character varying' then 'text' else format_type(t.oid, null) end
    from types t where t.typtype <> 'd');
begin
  if to_regtype('mux_private.lesson') is null then
    execute format(
      'create type mux_private.lesson as (id %s, owner text, status text, asset_id text, playback_id text, is_draft boolean, is_published boolean)',
      key_type);
    execute format('create type mux_private.lesson_key as (lesson_id %s)', key_type);
    execute format('create type mux_private.lesson_keys as (lesson_ids %s[])', key_type);
  elsif (
    select a.atttypid <> key_type::regtype
    from pg_attribute a where a.attrelid = 'mux_private.lesson'::regclass and a.attname = 'id'
  ) then
    raise exception 'column % of % is % now, and was another when the files were first applied', 'id', 'public.lessons', key_type
      using hint = 'Undo the files of sql/ (the last one first), then apply them again.';
  end if;
end
$$;
comment on type mux_private.lesson is
  'What is read of a lesson. is_draft, is_published: whether its status is the one word or the other. Texts are cut to 300 characters, the owner is not.';
comment on type mux_private.lesson_key is 'The key of a lesson, for the columns of tables: "like mux_private.lesson_key".';
comment on type mux_private.lesson_keys is 'Keys of lessons, for parameters: "mux_private.lesson_keys.lesson_ids%type".';

create or replace function mux_private.lesson_key(p_text text) returns mux_private.lesson.id%type
language plpgsql immutable set search_path = public, extensions, pg_temp as $$
declare
  key mux_private.lesson.id%type;
begin
  if length(p_text) not between 1 and 300 then
    return null;
  end if;
  key := p_text;
  return case when lower(key::text) = lower(p_text) then key end;
exception when invalid_text_representation or numeric_value_out_of_range then
  return null;
end
$$;
comment on function mux_private.lesson_key is 'A text as the key of a lesson; null where it can be none.';

-- Security definer: the app's own policies may hide the lesson from the caller.
create or replace function mux_private.owner_of(p_lesson_id mux_private.lesson.id%type) returns text
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
begin
  return (select l.creator_id::text from public.lessons l where l.id = p_lesson_id);
end
$$;
comment on function mux_private.owner_of is 'The owner of a lesson as text; null where there is none.';

create or replace function mux_private.is_owner(p_lesson_id mux_private.lesson.id%type, p_user text) returns boolean
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
begin
  return coalesce(mux_private.owner_of(p_lesson_id) = p_user, false);
end
$$;
comment on function mux_private.is_owner is 'For policies: whether a lesson is this user''s, also where the app''s own policies hide it.';

create or replace function mux_private.lesson(p_lesson_id mux_private.lesson.id%type) returns mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  lesson mux_private.lesson;
begin
  select l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false)
  into lesson
  from public.lessons l where l.id = p_lesson_id;
  return lesson;
end
$$;
comment on function mux_private.lesson is 'A lesson by its key; all null where there is none.';

-- By the cast a key that is a varchar or a domain becomes what mux_private.lesson has.
create or replace function mux_private.lessons(p_lesson_ids mux_private.lesson_keys.lesson_ids%type) returns setof mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return query
  select (row(l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false))::mux_private.lesson).*
  from public.lessons l where l.id = any (p_lesson_ids)
  order by l.id;
end
$$;
comment on function mux_private.lessons is 'Lessons by their keys, in the order of their keys.';

-- Where keys are texts, an instructor may choose one that lesson_key does not take: a walk that stopped
-- there would begin again.
create or replace function mux_private.lessons_after(p_after mux_private.lesson.id%type, p_most integer) returns setof mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  first mux_private.lesson.id%type := coalesce(p_after, (select l.id from public.lessons l order by l.id limit 1));
begin
  return query
  select (row(l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false))::mux_private.lesson).*
  from public.lessons l
  where l.id >= first and l.id is distinct from p_after and length(l.id::text) <= 300
  order by l.id limit p_most;
end
$$;
comment on function mux_private.lessons_after is 'The next lessons in the order of their keys, after one of them or from the beginning.';

-- Without an index, to search for them might read the whole table.
create or replace function mux_private.waiting_lessons_after(p_after mux_private.lesson.id%type, p_most integer) returns setof mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  first mux_private.lesson.id%type := coalesce(p_after, (select l.id from public.lessons l order by l.id limit 1));
begin
  if to_regclass('public.idx_lessons_temporary_ids') is null then
    return query select l.* from mux_private.lessons_after(p_after, p_most) l;
    return;
  end if;
  return query
  select (row(l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false))::mux_private.lesson).*
  from public.lessons l
  where (left(l.mux_asset_id, 5) = 'temp_' or left(l.mux_playback_id, 5) = 'temp_')
    and l.id >= first and l.id is distinct from p_after and length(l.id::text) <= 300
  order by l.id limit p_most;
end
$$;
comment on function mux_private.waiting_lessons_after is
  'The next lessons with temporary ids in the order of their keys. Without the index of sql/optional: the next lessons of all.';

create or replace function mux_private.lessons_are_indexed() returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select count(*) = 2 from pg_catalog.pg_index i
    where i.indisvalid and i.indexrelid in (
      to_regclass('public.idx_lessons_mux_asset_id'),
      to_regclass('public.idx_lessons_mux_playback_id')));
end
$$;
comment on function mux_private.lessons_are_indexed() is 'Whether lessons are found by the ids that they hold without reading them all: by the indexes of sql/optional.';

-- Planned at each call: for a few ids by the indexes of sql/optional, else in one pass that looks each
-- id up in a hash of them.
create or replace function mux_private.lessons_holding(p_mux_ids text[], p_most integer) returns setof mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp set plan_cache_mode = force_custom_plan as $$
begin
  return query
  select (row(l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false))::mux_private.lesson).*
  from public.lessons l
  where left(l.mux_asset_id, 300) = any (p_mux_ids) or left(l.mux_playback_id, 300) = any (p_mux_ids)
  limit p_most;
end
$$;
comment on function mux_private.lessons_holding is 'Lessons whose asset or playback column holds one of these texts, up to a limit, in no order.';

-- The title is only shown. Where lessons have no such column, its name is resolved one level further
-- out, as null.
create or replace function mux_private.lesson_title(p_lesson_id mux_private.lesson.id%type) returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select (select left(title::text, 200) from public.lessons l where l.id = p_lesson_id)
    from (values (null::text)) absent (title));
end
$$;
comment on function mux_private.lesson_title is 'The beginning of a lesson''s title; null where lessons have none.';

create or replace function mux_private.lessons_matching(p_lesson_ids mux_private.lesson_keys.lesson_ids%type, p_search text)
returns mux_private.lesson_keys.lesson_ids%type
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return array(
    select o.id
    from (values (null::text)) absent (title)
    cross join lateral (
      select l.id as id, l.creator_id::text as owner, left(title::text, 200) as title
      from public.lessons l where l.id = any (p_lesson_ids)) o
    where strpos(lower(o.title), lower(p_search)) > 0 or starts_with(o.owner, p_search) or o.id::text = p_search
    order by o.id);
end
$$;
comment on function mux_private.lessons_matching is
  'Of these lessons, those with a text in their title, with an owner whose id begins with it, or with it as their key.';

-- Each is called once: an error that depends on the types or rights of the table, or of its parents,
-- comes now. With a limit of 0 a search reads nothing.
do $$
begin
  perform mux_private.lesson(null);
  perform mux_private.lessons_after(null, 1);
  perform mux_private.lessons_holding(array['none'], 0);
  perform mux_private.owner_of(null);
  perform mux_private.lesson_title(null);
  perform mux_private.lessons_matching('{}', 'none');
end
$$;

insert into mux_private.applied_files (name) values ('022_lessons_read') on conflict do nothing;

commit;
