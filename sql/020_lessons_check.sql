-- What it does: the first part of the adapter, which is 020, 022 and 024: no other file knows the
--   app's table of lessons and its columns. It says what they are called, and checks that the table
--   can be served; if it cannot, it names what does not fit.
--   Printed by: mux-worker sql
-- Needs: 010.
-- Locks: none. It reads the table.
-- Undo: down/020_lessons_check.sql

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

insert into mux_private.applied_files (name) values ('020_lessons_check') on conflict do nothing;

commit;
