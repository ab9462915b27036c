-- What it does: the adapter. No other file knows the app's table of lessons and its columns: they
--   read and write lessons by the functions made here. First it checks that the table can be
--   served, and names what does not fit. Last it grants the service role what the worker reads and
--   writes of the table.
--   Printed by: mux-worker sql
-- Needs: 010. (A function that it makes writes the table of 034.)
-- Locks: none. It reads the table.
-- Undo: down/020_lessons.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create or replace function mux_private.lesson_options() returns jsonb
language sql immutable set search_path = public, extensions, pg_temp
return jsonb_build_object(
  'schema', 'public', 'table', 'lessons', 'key', 'id', 'key_type', null,
  'owner', 'creator_id', 'parents', jsonb_build_array(),
  'status', 'status', 'draft', 'draft', 'published', 'published',
  'asset', 'mux_asset_id', 'playback', 'mux_playback_id', 'updated', 'updated_at', 'title', 'title');
comment on function mux_private.lesson_options() is
  'What the app''s table of lessons and its columns are called: the options of "mux-worker sql". A column that is null was given as none; a word that is null is the value null.';

create or replace function mux_private.lessons_table() returns regclass
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return to_regclass('public.lessons');
end
$$;
comment on function mux_private.lessons_table() is 'The app''s table of lessons; null where it does not exist.';

-- What types and check constraints allow is tried by evaluating them: a cast cuts what is too long,
-- and raises for what is no value.
create or replace function mux_private.lessons_refuse(p_word text, p_with_ids boolean) returns text[]
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  options constant jsonb := mux_private.lesson_options();
  lessons constant regclass := mux_private.lessons_table();
  mux_id constant text := repeat('Mux0', 16);  -- of 64 characters; Mux's own have about 45
  tried record;
  fits boolean;
  written text[] := '{}';
  written_row text[] := '{}';
  problems text[] := '{}';
begin
  for tried in
    select t.option, a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type,
      case t.option when 'status' then p_word when 'updated' then now()::text else mux_id end as value,
      case when t.option = 'status' then coalesce(p_word, 'null') else 'a Mux id of 64 characters' end as in_words,
      a.attnotnull as is_not_null, array(select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = a.atttypid order by e.enumsortorder)
        || case a.atttypid when 'boolean'::regtype then array['true', 'false'] end as words
    from (values ('status', true), ('asset', p_with_ids), ('playback', p_with_ids), ('updated', p_with_ids)) t (option, is_written)
    join pg_catalog.pg_attribute a on a.attrelid = lessons and a.attname = options ->> t.option and not a.attisdropped
    where t.is_written
  loop
    begin
      execute format('select %1$L::%2$s::text is not distinct from %1$L', tried.value, tried.type) into fits;
    exception when others then
      fits := false;
    end;
    if tried.option <> 'updated' and (not fits or tried.value is null and tried.is_not_null) then
      problems := problems || (
        format('column %s is %s%s and cannot hold %s', tried.name, tried.type,
               case when tried.value is null and tried.is_not_null then ' not null' else '' end, tried.in_words)
        || coalesce(format(' (its words are %s)', nullif(array_to_string(tried.words, ', '), '')), ''));
    end if;
    written := written || tried.name;
    written_row := written_row || format(
      '%L::%s as %I', case when tried.value = mux_id then left(mux_id, 44) else tried.value end, tried.type, tried.name);
  end loop;
  if problems <> '{}' then
    return problems;
  end if;

  for tried in  -- the constraints that read nothing but what is written; of a draft the ids are the app's
    select c.conname as name, pg_get_expr(c.conbin, c.conrelid) as expression,
      case when c.reads = array[options ->> 'status'] then format('%s %s', options ->> 'status', coalesce(p_word, 'null'))
        else 'a published lesson with Mux ids' end as in_words
    from (
      select c.*, array(
        select coalesce(a.attname::text, '*')
        from unnest(c.conkey) k left join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k) as reads
      from pg_catalog.pg_constraint c
      where c.conrelid = lessons and c.contype = 'c' and to_jsonb(c) ->> 'conenforced' is distinct from 'false'
    ) c
    where c.reads <@ written
    order by c.conname
  loop
    begin
      execute format('select (%s) is not false from (select %s) l', tried.expression, array_to_string(written_row, ', ')) into fits;
    exception when others then
      fits := true;  -- not to be judged from here
    end;
    if not fits then
      problems := problems || format('check constraint %s does not allow %s', tried.name, tried.in_words);
    end if;
  end loop;
  return problems;
end
$$;
comment on function mux_private.lessons_refuse is
  'Why lessons cannot hold a word as their status, and Mux ids beside it: the types of their columns, and the check constraints that read no other. Empty if they can.';

create or replace function mux_private.lessons_problems() returns text[]
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  options constant jsonb := mux_private.lesson_options();
  lessons pg_catalog.pg_class;
  wanted record;
  words text[];
  problems text[] := '{}';
begin
  select c.* into lessons from pg_catalog.pg_class c where c.oid = mux_private.lessons_table();
  if lessons.oid is null then
    return array['it does not exist'];
  elsif lessons.relkind not in ('r', 'p') then
    return array[format('it is a %s and should be a table',
      case lessons.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'foreign table' end)];
  elsif exists (
    select from pg_catalog.pg_partitioned_table p join pg_catalog.pg_attribute a on a.attrelid = p.partrelid and a.attname = options ->> 'key'
    where p.partrelid = lessons.oid and p.partattrs::text <> a.attnum::text
  ) then
    return array[format('it is partitioned by %s and should be by its key %s, or not at all', pg_get_partkeydef(lessons.oid), options ->> 'key')];
  end if;

  for wanted in
    select w.*, format_type(a.atttypid, a.atttypmod) as found, a.attgenerated <> '' as is_generated, base.*
    from (values
      ('key', false, '{uuid,bigint,integer,text}'::text[]),
      ('owner', false, '{uuid,text,bigint,integer}'), ('status', true, null),
      ('asset', true, '{text}'), ('playback', true, '{text}'),
      ('updated', true, '{timestamp with time zone,timestamp without time zone}')
    ) w (option, is_written, types)
    left join pg_catalog.pg_attribute a on a.attrelid = lessons.oid and a.attname = options ->> w.option and not a.attisdropped
    left join lateral (  -- of a domain, what it is made of
      with recursive types as (
        select t.* from pg_catalog.pg_type t where t.oid = a.atttypid
        union all
        select t.* from types d join pg_catalog.pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
      )
      select case format_type(t.oid, null) when 'character varying' then 'text' else format_type(t.oid, null) end as base,
        t.typtype = 'e' or t.typcategory = 'S' or t.oid = 'boolean'::regtype as has_words
      from types t where t.typtype <> 'd'
    ) base on true
    where options ->> w.option is not null
    order by options ->> w.option
  loop
    if wanted.found is null then
      problems := problems || format('column %s is missing', options ->> wanted.option);
    elsif wanted.option = 'status' and not wanted.has_words then
      problems := problems || format('column %s is %s and should be text, an enum or boolean', options ->> wanted.option, wanted.found);
    elsif wanted.base <> all (wanted.types) then
      problems := problems || format('column %s is %s and should be %s', options ->> wanted.option, wanted.found,
        regexp_replace(array_to_string(wanted.types, ', '), ', ([^,]*)$', ' or \1'));
    elsif wanted.is_generated and wanted.is_written then
      problems := problems || format('column %s is generated and cannot be written', options ->> wanted.option);
    end if;
  end loop;

  if not exists (
    select 1 from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = lessons.oid and i.indisunique and i.indisvalid and i.indimmediate
      and i.indnkeyatts = 1 and i.indpred is null and a.attname = options ->> 'key'
  ) then
    problems := problems || format('column %s is no primary key', options ->> 'key');
  end if;
  if problems <> '{}' then
    return problems;
  end if;

  problems := mux_private.lessons_refuse('draft', false) || mux_private.lessons_refuse('published', true);
  -- Where nothing restricts the words, the rows tell: a thousand pages at most, taken at random.
  if problems = '{}' and mux_private.lessons_refuse('neither', false) = '{}'
     and has_table_privilege(lessons.oid, 'select') then
    select array_agg(distinct left(s.word, 30)) into words
    from (
      select coalesce(l.status::text, 'null') as word
      from public.lessons l tablesample system (least(100, 100000.0 / greatest((
        select sum(c.relpages) from pg_catalog.pg_class c
        where c.oid = lessons.oid or c.oid in (select p.relid from pg_partition_tree(lessons.oid) p)), 1)))
      limit 100000
    ) s;
    if not words && array['draft', 'published'] then
      problems := array[format('none of its rows has the status %s or %s: they have %s',
        'draft', 'published', array_to_string(words[1:3], ', '))];
    end if;
  end if;
  return problems;
end
$$;
comment on function mux_private.lessons_problems() is
  'What the worker cannot serve about the app''s table of lessons as it is now, one sentence each; empty if it can. For the install and the doctor.';

-- If something does not fit, nothing of this file is applied.
do $$
declare
  problems text[] := mux_private.lessons_problems();
begin
  if not (select pg_has_role(current_user, c.relowner, 'usage') from pg_class c where c.oid = mux_private.lessons_table()) then
    problems := problems || format('%s does not own it, so it may neither refer to it nor grant on it', current_user);
  end if;
  if problems <> '{}' then
    raise exception '% does not fit: %', 'public.lessons', array_to_string(problems, '; ')
      using hint = 'Change the table, or print this file for the table as it is: "mux-worker sql --inspect" proposes the options. Apply the files as the owner of the table.';
  end if;
end
$$;

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

create or replace function mux_private.lessons_after(p_after mux_private.lesson.id%type, p_most integer) returns setof mux_private.lesson
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  first mux_private.lesson.id%type := coalesce(p_after, (select l.id from public.lessons l order by l.id limit 1));
begin
  return query
  select (row(l.id, l.creator_id::text, left(l.status::text, 300), left(l.mux_asset_id::text, 300), left(l.mux_playback_id::text, 300),
    coalesce(l.status::text = 'draft', false), coalesce(l.status::text = 'published', false))::mux_private.lesson).*
  from public.lessons l where l.id >= first and l.id is distinct from p_after
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
    and l.id >= first and l.id is distinct from p_after
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

-- Read after it is locked, parents included: what was committed meanwhile counts.
create or replace function mux_private.lock_lesson(p_lesson_id mux_private.lesson.id%type, p_skip_locked boolean) returns mux_private.lesson
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  if p_skip_locked then
    perform from public.lessons l where l.id = p_lesson_id for no key update of l skip locked;
  else
    perform from public.lessons l where l.id = p_lesson_id for no key update of l;
  end if;
  if not found then
    return null;
  end if;
  return mux_private.lesson(p_lesson_id);
end
$$;
comment on function mux_private.lock_lesson is
  'Locks a lesson until the end of the transaction, and reads it; null where there is none, or where it is locked and p_skip_locked.';

-- Security definer: the user who deletes a lesson may not write the history. (034 makes the trigger.)
create or replace function mux_private.close_upload_history() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set lesson_id = null where h.lesson_id = old.id;
  return null;
end
$$;
comment on function mux_private.close_upload_history is 'Trigger: closes the upload history of a lesson that is deleted.';

create or replace function mux_private.write_video(
  p_lesson_id mux_private.lesson.id%type, p_publish boolean, p_asset_id text, p_playback_id text
) returns text
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  wanted_status text := case when p_publish then 'published' else (mux_private.lesson(p_lesson_id)).status end;
  found_status text;
  found_asset_id text;
  found_playback_id text;
begin
  if p_publish then
    update public.lessons l
    set status = 'published', mux_asset_id = p_asset_id, mux_playback_id = p_playback_id, updated_at = now()
    where l.id = p_lesson_id
    returning l.status::text, l.mux_asset_id, l.mux_playback_id into found_status, found_asset_id, found_playback_id;
  else
    update public.lessons l
    set mux_asset_id = p_asset_id, mux_playback_id = p_playback_id, updated_at = now()
    where l.id = p_lesson_id
    returning l.status::text, l.mux_asset_id, l.mux_playback_id into found_status, found_asset_id, found_playback_id;
  end if;
  -- A trigger of the app may swallow an update, or turn it into another, without an error.
  if not found then
    raise exception 'lesson should have its video now and is not updated' using errcode = 'triggered_data_change_violation';
  elsif found_status is distinct from wanted_status then
    raise exception 'lesson should be % now and is %', coalesce(wanted_status, 'null'), coalesce(found_status, 'null')
      using errcode = 'triggered_data_change_violation';
  elsif (found_asset_id, found_playback_id) is distinct from (p_asset_id, p_playback_id) then
    raise exception 'lesson should play as % now and plays as %', p_playback_id, coalesce(found_playback_id, 'nothing')
      using errcode = 'triggered_data_change_violation';
  end if;
  return found_status;
end
$$;
comment on function mux_private.write_video is
  'Writes a video into a lesson that the caller has locked, publishes it if p_publish, and returns its status afterwards.';

-- Each is called once: an error that depends on the types or rights of the table, or of its parents,
-- comes now.
do $$
begin
  perform mux_private.lesson(null);
  perform mux_private.lessons_after(null, 1);
  perform mux_private.lessons_holding(array['none'], 1);
  perform mux_private.owner_of(null);
  perform mux_private.lesson_title(null);
end
$$;

grant select (id, creator_id, status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to service_role;
grant update (status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to service_role;
do $$
begin
  if exists (
    select from pg_attribute a
    where a.attrelid = mux_private.lessons_table() and a.attname = 'title' and not a.attisdropped
  ) then
    grant select (title) on public.lessons to service_role;
  end if;
end
$$;

insert into mux_private.applied_files (name) values ('020_lessons') on conflict do nothing;

commit;
